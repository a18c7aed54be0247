//! Text of the report word by word: a short word stays whole on its line, and a long one (a path, a URI, a hash)
//! is broken where it has a joint, and nowhere else.

use maud::{Markup, html};

/// Longer than this, a word may not fit into a column.
const LONG: usize = 24;
/// So many digits of a hash stay together.
const GROUP: usize = 16;

/// What stands between backticks is something to type.
pub(super) fn words(text: &str) -> Markup {
    html! {
        @for (number, part) in text.split('`').enumerate() {
            @if number % 2 == 0 { (spaced(part)) } @else { code { (spaced(part)) } }
        }
    }
}

fn spaced(text: &str) -> Markup {
    html! {
        @for (number, word) in text.split(' ').enumerate() {
            @if number > 0 { " " }
            (one(word))
        }
    }
}

fn one(word: &str) -> Markup {
    let long = word.chars().count() > LONG;
    html! {
        @if long {
            @for (number, part) in parts(word).iter().enumerate() {
                @if number > 0 { wbr; }
                (part)
            }
        // A hyphen is where a browser breaks a word.
        } @else if word.contains('-') {
            span.whole { (word) }
        } @else {
            (word)
        }
    }
}

/// A long word, cut behind its joints.
fn parts(word: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut begin, mut run) = (0, 0);
    for (at, c) in word.char_indices() {
        let end = at + c.len_utf8();
        run = if c.is_ascii_hexdigit() { run + 1 } else { 0 };
        let joint = matches!(c, '/' | ';' | ':' | '_' | ',' | '=' | '&' | '?' | '%');
        if joint || run == GROUP {
            // Before the sign of an escape, behind the others.
            let cut = if c == '%' { at } else { end };
            if cut > begin && cut < word.len() {
                parts.push(&word[begin..cut]);
                begin = cut;
            }
            run = 0;
        }
    }
    parts.push(&word[begin..]);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_word_has_its_joints_and_nothing_is_lost() {
        let uri = "pkcs11:token=lfi;object=c3;id=%6B%73";
        assert_eq!(
            parts(uri),
            [
                "pkcs11:", "token=", "lfi;", "object=", "c3;", "id=", "%6B", "%73"
            ]
        );
        let hash = format!("sha256:{}", "0a".repeat(32));
        let cut = parts(&hash);
        assert_eq!(
            (cut.concat(), cut.len(), cut[1].len()),
            (hash.clone(), 5, 16)
        );
        for word in ["", "é/é/é", "////", "a", "%%"] {
            assert_eq!(parts(word).concat(), word);
        }
        assert_eq!(
            words("see `cert show` <b>").0,
            "see <code>cert show</code> &lt;b&gt;"
        );
        assert_eq!(
            words("as --active").0,
            "as <span class=\"whole\">--active</span>"
        );
    }
}
