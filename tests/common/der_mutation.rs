//! Valid DER with one thing changed in its tree, so that the lengths around the change still fit: what
//! a parser meets only past its first check.

use proptest::prelude::*;
use proptest::sample::Index;

const OCTET_STRING: u8 = 0x04;
const CONSTRUCTED: u8 = 0x20;

/// What happens to one element.
#[derive(Clone, Debug)]
pub enum Edit {
    Remove,
    Repeat,
    Empty,
    Tag(u8),
    Content(Vec<u8>),
}

/// One to four edits, each of an element anywhere in the tree.
pub fn edits() -> impl Strategy<Value = Vec<(Index, Edit)>> {
    let edit = prop_oneof![
        Just(Edit::Remove),
        Just(Edit::Repeat),
        Just(Edit::Empty),
        any::<u8>().prop_map(Edit::Tag),
        proptest::collection::vec(any::<u8>(), 0..40).prop_map(Edit::Content),
    ];
    proptest::collection::vec((any::<Index>(), edit), 1..5)
}

/// The DER with the edits made.
pub fn edited(der: &[u8], edits: &[(Index, Edit)]) -> Vec<u8> {
    let mut tree = parse(der).expect("valid DER to begin with");
    for (at, edit) in edits {
        let count = count(&tree);
        if count == 0 {
            break;
        }
        let mut left = at.index(count);
        apply(&mut tree, &mut left, edit);
    }
    encode(&tree)
}

#[derive(Clone)]
struct Element {
    tag: u8,
    content: Content,
}

#[derive(Clone)]
enum Content {
    Bytes(Vec<u8>),
    Elements(Vec<Element>),
}

/// The elements that the bytes are made of; `None` where they are not whole elements.
fn parse(mut der: &[u8]) -> Option<Vec<Element>> {
    let mut elements = Vec::new();
    while let [tag, length, rest @ ..] = der {
        let long = usize::from(length & 0x7f);
        let (length, rest) = if length & 0x80 == 0 {
            (long, rest)
        } else {
            let (digits, rest) = rest.split_at_checked(long).filter(|_| long <= 4)?;
            let length = digits
                .iter()
                .fold(0, |sum, digit| sum << 8 | usize::from(*digit));
            (length, rest)
        };
        let (content, rest) = rest.split_at_checked(length)?;
        // An extension's value is DER in an octet string.
        let nested = (tag & CONSTRUCTED != 0 || *tag == OCTET_STRING)
            .then(|| parse(content))
            .flatten();
        let content = match nested {
            Some(elements) => Content::Elements(elements),
            None => Content::Bytes(content.to_vec()),
        };
        elements.push(Element { tag: *tag, content });
        der = rest;
    }
    der.is_empty().then_some(elements)
}

fn encode(elements: &[Element]) -> Vec<u8> {
    let mut der = Vec::new();
    for element in elements {
        let content = match &element.content {
            Content::Bytes(bytes) => bytes.clone(),
            Content::Elements(elements) => encode(elements),
        };
        der.push(element.tag);
        match content.len() {
            short @ 0..0x80 => der.push(short as u8),
            long => {
                let digits = long.to_be_bytes();
                let zeros = digits.iter().take_while(|digit| **digit == 0).count();
                der.push(0x80 | (digits.len() - zeros) as u8);
                der.extend_from_slice(&digits[zeros..]);
            }
        }
        der.extend(content);
    }
    der
}

fn count(elements: &[Element]) -> usize {
    let below = |element: &Element| match &element.content {
        Content::Bytes(_) => 0,
        Content::Elements(elements) => count(elements),
    };
    elements.iter().map(|element| 1 + below(element)).sum()
}

/// Edits the element that `left` counts down to; says whether it was here.
fn apply(elements: &mut Vec<Element>, left: &mut usize, edit: &Edit) -> bool {
    for at in 0..elements.len() {
        if *left == 0 {
            match edit {
                Edit::Remove => {
                    elements.remove(at);
                }
                Edit::Repeat => elements.insert(at, elements[at].clone()),
                Edit::Empty => elements[at].content = Content::Bytes(Vec::new()),
                Edit::Tag(tag) => elements[at].tag = *tag,
                Edit::Content(bytes) => elements[at].content = Content::Bytes(bytes.clone()),
            }
            return true;
        }
        *left -= 1;
        if let Content::Elements(below) = &mut elements[at].content
            && apply(below, left, edit)
        {
            return true;
        }
    }
    false
}
