//! Validates a PIN before it is sent, because each wrong PIN brings the token nearer to its lock.
//!
//! Vendors define the form of a PIN (`user:password`, `0001password`, an API key), so any text that can be typed at a
//! keyboard is accepted. Other characters come from an editor, a word processor or a wrong file. No message holds the PIN
//! or a part of it.

use secrecy::SecretString;
use serde_json::Value;

use super::source_error::PinSourceError;

/// The longest accepted PIN in bytes; vendors' forms (`user:password`, an API key) are much shorter.
pub(super) const MAX_PIN_LENGTH: usize = 4096;
/// The number of bytes that are read from a source: the longest PIN, a line end, and one byte to detect a longer one.
pub(super) const MAX_READ: usize = MAX_PIN_LENGTH + 3;

/// A probable mistake in the PIN. It is logged as a warning before the PIN is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PinAnomaly {
    /// The PIN begins with a blank.
    BlankAtStart,
    /// The PIN ends with a blank.
    BlankAtEnd,
    /// The PIN begins and ends with a blank.
    BlanksAround,
    /// Quotation marks surround the PIN.
    Quoted,
}

impl PinAnomaly {
    fn of(text: &str) -> Option<Self> {
        let quoted = ['"', '\'', '`'].into_iter().any(|mark| {
            text.strip_prefix(mark)
                .is_some_and(|rest| rest.ends_with(mark))
        });
        match (text.starts_with(' '), text.ends_with(' ')) {
            (true, true) => Some(Self::BlanksAround),
            (true, false) => Some(Self::BlankAtStart),
            (false, true) => Some(Self::BlankAtEnd),
            (false, false) => quoted.then_some(Self::Quoted),
        }
    }

    /// A predicate for a sentence that begins with "the PIN".
    pub fn predicate(self) -> &'static str {
        match self {
            Self::BlankAtStart => "begins with a blank",
            Self::BlankAtEnd => "ends with a blank",
            Self::BlanksAround => "begins and ends with a blank",
            Self::Quoted => "stands in quotation marks",
        }
    }
}

/// The PIN in the bytes that a source gave; one trailing line end is removed.
pub(super) fn parse_pin(
    bytes: &[u8],
) -> Result<(SecretString, Option<PinAnomaly>), PinSourceError> {
    let bytes = match bytes {
        [before @ .., b'\r', b'\n'] | [before @ .., b'\n'] => before,
        all => all,
    };
    if bytes.is_empty() {
        return Err(PinSourceError::Empty);
    }
    if bytes.len() > MAX_PIN_LENGTH {
        return Err(PinSourceError::TooLong(MAX_PIN_LENGTH));
    }
    if let Some(encoding) = detect_wide_encoding(bytes) {
        return Err(PinSourceError::Encoding(encoding));
    }
    let text = str::from_utf8(bytes).map_err(|error| PinSourceError::NotUtf8 {
        byte: error.valid_up_to() + 1,
    })?;
    if let Some(format) = detect_other_format(text) {
        return Err(PinSourceError::NotAPin(format));
    }
    if let Some((_, rest)) = text.split_once('\n') {
        return Err(PinSourceError::LineBreak {
            and_nothing: rest.trim().is_empty(),
        });
    }
    let last = text.chars().count();
    for (at, c) in (1..).zip(text.chars()) {
        if let Some(kind) = non_keyboard_character(c) {
            return Err(PinSourceError::Character { kind, at, last });
        }
    }
    if text.trim_matches(' ').is_empty() {
        return Err(PinSourceError::OnlyBlanks);
    }
    Ok((SecretString::from(text), PinAnomaly::of(text)))
}

/// Detects UTF-16 and UTF-32, by the byte order mark or by the NUL bytes of ASCII text.
fn detect_wide_encoding(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0xFF, 0xFE, 0, 0, ..] | [0, 0, 0xFE, 0xFF, ..] => return Some("UTF-32"),
        [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] => return Some("UTF-16"),
        _ => {}
    }
    // A single last byte is the rest of a UTF-16 line end whose `\n` byte was removed.
    let (pairs, _) = bytes.as_chunks::<2>();
    let ascii = |byte: u8| byte != 0 && byte.is_ascii();
    let wide = !pairs.is_empty()
        && (pairs.iter().all(|[low, high]| *high == 0 && ascii(*low))
            || pairs.iter().all(|[high, low]| *high == 0 && ascii(*low)));
    wide.then_some("UTF-16")
}

/// Detects text in a format that no PIN has.
fn detect_other_format(text: &str) -> Option<&'static str> {
    let inner = text.trim();
    let starts_with = |prefix: &str| {
        inner
            .get(..prefix.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    };
    if starts_with("-----BEGIN ") {
        return Some("a PEM file");
    }
    if starts_with("#!") && text.contains('\n') {
        return Some("a script");
    }
    if starts_with("<!doctype") || starts_with("<html") || starts_with("<?xml") {
        return Some("a page of HTML or XML");
    }
    if starts_with("$ANSIBLE_VAULT;") || starts_with("ENC[") {
        return Some("a secret that is still encrypted");
    }
    if starts_with("pkcs11:") {
        return Some("a PKCS#11 URI");
    }
    let json = inner.starts_with(['{', '[']) && inner.ends_with(['}', ']']);
    if json
        && matches!(
            serde_json::from_str(inner),
            Ok(Value::Object(_) | Value::Array(_))
        )
    {
        return Some("JSON");
    }
    let is_enclosed = |open: &str, close: &str| {
        inner.len() > open.len() + close.len() && inner.starts_with(open) && inner.ends_with(close)
    };
    if is_enclosed("${", "}") || is_enclosed("{{", "}}") || is_enclosed("<%", "%>") {
        return Some("a placeholder that nothing has replaced");
    }
    if ["null", "(null)", "undefined", "<no value>"].contains(&inner) {
        return Some("what a program prints for a value that is missing");
    }
    is_assignment(inner).then_some("a setting (NAME=value), not its value alone")
}

/// Detects `HSM_PIN=...`, `export PIN=...` and `pin: ...` by the suffix of the name.
fn is_assignment(text: &str) -> bool {
    let line = text.lines().next().unwrap_or_default();
    let line = line.strip_prefix("export ").unwrap_or(line);
    let name = match (line.split_once('='), line.split_once(": ")) {
        // A trailing `=` is padding of base64.
        (Some((name, value)), _) if !value.trim_matches('=').is_empty() => name,
        (_, Some((name, _))) => name,
        _ => return false,
    };
    let name = name.trim_matches([' ', '"', '\'']).to_ascii_lowercase();
    let is_name_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    let suffixes = ["pin", "password", "passwd", "passphrase", "secret"];
    name.bytes().all(is_name_byte) && suffixes.iter().any(|suffix| name.ends_with(suffix))
}

/// The kind of a character that cannot be typed at a keyboard; `None` for all others.
fn non_keyboard_character(c: char) -> Option<&'static str> {
    Some(match c {
        '\0' => "a NUL (U+0000)",
        '\t' => "a tab",
        '\r' => "a carriage return",
        '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}' => "a line separator",
        '\u{feff}' => "a byte order mark (U+FEFF)",
        '\u{fffd}' => "a replacement character (U+FFFD)",
        '\u{a0}' | '\u{2007}' | '\u{202f}' => "a no-break space",
        '\u{1680}' | '\u{2000}'..='\u{200a}' | '\u{205f}' | '\u{3000}' => {
            "a space of another width"
        }
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            "an invisible mark of writing direction"
        }
        '\u{ad}'
        | '\u{34f}'
        | '\u{115f}'
        | '\u{1160}'
        | '\u{17b4}'
        | '\u{17b5}'
        | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200d}'
        | '\u{2060}'..='\u{206f}'
        | '\u{2800}'
        | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}'
        | '\u{13430}'..='\u{1345f}'
        | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}' => "an invisible character",
        '\u{2018}'..='\u{201f}' => "a typographic quotation mark",
        '\u{2010}'..='\u{2015}' => "a typographic dash",
        '\u{2020}'..='\u{2027}' | '\u{2030}'..='\u{205e}' => "a typographic sign",
        '\u{ff01}'..='\u{ff5e}' => "a character of full width",
        '\u{e000}'..='\u{f8ff}' | '\u{f0000}'..='\u{10ffff}' => "a character of private use",
        '\u{fdd0}'..='\u{fdef}' => "a code point that is no character",
        c if u32::from(c) & 0xfffe == 0xfffe => "a code point that is no character",
        c if c.is_control() => "a control character",
        _ => return None,
    })
}

#[cfg(test)]
#[path = "validation_tests.rs"]
mod tests;
