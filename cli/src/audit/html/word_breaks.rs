//! Line breaks in words of the report: a short word is not broken, a long one (a path, a URI, a hash) only after a
//! separator.

use maud::{Markup, html};

/// The longest word that is not broken, in characters.
const MAX_UNBROKEN: usize = 24;
/// How many hexadecimal digits stay together.
const HEX_GROUP: usize = 16;

/// A text as HTML. Parts between backticks become `<code>`.
pub(super) fn words(text: &str) -> Markup {
    html! {
        @for (number, part) in text.split('`').enumerate() {
            @if number % 2 == 0 { (breakable(part)) } @else { code { (breakable(part)) } }
        }
    }
}

fn breakable(text: &str) -> Markup {
    html! {
        @for (number, word) in text.split(' ').enumerate() {
            @if number > 0 { " " }
            (breakable_word(word))
        }
    }
}

fn breakable_word(word: &str) -> Markup {
    let is_long = word.chars().count() > MAX_UNBROKEN;
    html! {
        @if is_long {
            @for (number, part) in parts(word).iter().enumerate() {
                @if number > 0 { wbr; }
                (part)
            }
        // Browsers break a word at a hyphen.
        } @else if word.contains('-') {
            span.whole { (word) }
        } @else {
            (word)
        }
    }
}

/// The parts of a long word between which a line may break.
fn parts(word: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut begin, mut run) = (0, 0);
    for (at, c) in word.char_indices() {
        let end = at + c.len_utf8();
        run = if c.is_ascii_hexdigit() { run + 1 } else { 0 };
        let is_separator = matches!(c, '/' | ';' | ':' | '_' | ',' | '=' | '&' | '?' | '%');
        if is_separator || run == HEX_GROUP {
            // Before the % of a percent-encoded byte, after all other separators.
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
    fn a_long_word_is_broken_after_separators_and_no_character_is_lost() {
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
