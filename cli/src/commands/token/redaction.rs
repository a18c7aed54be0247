//! Leaves serial numbers and the names of users out of a report: serial numbers in PKCS#11 URIs, and the token's wherever else it
//! is, also in part (SoftHSM's slot descriptions end with half of it); the user whose home folder a path is in.

use serde_json::Value;

/// What takes the place of a serial number or a name.
const LEFT_OUT: &str = "(left-out)";
/// Fewer characters of a serial number in a row do not tell it.
const MIN_PART: usize = 6;
/// A part with fewer different characters does not tell it either: `000000` is in other numbers too.
const MIN_DIFFERENT: usize = 3;

/// What comes before the name of a user in a path.
const HOMES: &str = "/home/";
/// What comes before a serial number in a PKCS#11 URI.
const SERIAL: &str = "serial=";

/// Leaves out users' names and, unless they are wanted, serial numbers.
pub(super) struct Redaction {
    keeps_serial: bool,
    /// In small letters; empty where it is not known, is too short to be told from other numbers, or says nothing (zeros).
    serial: Vec<u8>,
}

impl Redaction {
    /// `serial`: the token's, as far as it is known.
    pub(super) fn new(serial: Option<&str>, keeps_serial: bool) -> Self {
        let serial = serial.filter(|_| !keeps_serial).unwrap_or_default();
        let serial = serial.trim().to_ascii_lowercase();
        let mut bytes = serial.bytes();
        let first = bytes.next();
        let is_telling = serial.len() >= MIN_PART && bytes.any(|byte| Some(byte) != first);
        Self {
            keeps_serial,
            serial: match is_telling {
                true => serial.into_bytes(),
                false => Vec::new(),
            },
        }
    }

    /// The value without them in its texts. Numbers stay as they are.
    pub(super) fn apply_to(&self, value: Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.apply(&text)),
            Value::Array(values) => values
                .into_iter()
                .map(|value| self.apply_to(value))
                .collect(),
            Value::Object(fields) => fields
                .into_iter()
                .map(|(name, value)| (name, self.apply_to(value)))
                .collect(),
            other => other,
        }
    }

    /// The text without them.
    pub(super) fn apply(&self, text: &str) -> String {
        let mut rest = text;
        let mut redacted = String::with_capacity(text.len());
        while let Some(first) = rest.chars().next() {
            let length =
                |value: &str, ends: fn(char) -> bool| value.find(ends).unwrap_or(value.len());
            let (kept, left_out) = if let Some(name) = rest.strip_prefix(HOMES) {
                (HOMES, length(name, ends_name))
            } else if let (Some(value), false) = (rest.strip_prefix(SERIAL), self.keeps_serial) {
                (SERIAL, length(value, ends_value))
            } else {
                ("", self.part_at(rest))
            };
            redacted.push_str(kept);
            rest = &rest[kept.len()..];
            if left_out > 0 {
                redacted.push_str(LEFT_OUT);
                rest = &rest[left_out..];
            } else if kept.is_empty() {
                redacted.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
        redacted
    }

    /// How many bytes at the beginning of `text` are the serial number, or enough of it in a row.
    fn part_at(&self, text: &str) -> usize {
        let text = text.as_bytes();
        let in_common = |offset: usize| {
            let pairs = self.serial[offset..].iter().zip(text);
            pairs
                .take_while(|(of_serial, byte)| **of_serial == byte.to_ascii_lowercase())
                .count()
        };
        let longest = (0..self.serial.len()).map(in_common).max().unwrap_or(0);
        let part = &text[..longest];
        let is_whole = longest > 0 && longest == self.serial.len();
        match is_whole || (longest >= MIN_PART && is_diverse(part)) {
            true => longest,
            false => 0,
        }
    }
}

fn is_diverse(part: &[u8]) -> bool {
    let is_first = |at: &usize| !part[..*at].contains(&part[*at]);
    (0..part.len()).filter(is_first).count() >= MIN_DIFFERENT
}

/// Whether a PKCS#11 URI's attribute, or the URI, ends here (RFC 7512, section 2.3). Other characters of a value are escaped.
fn ends_value(c: char) -> bool {
    !(c.is_ascii_alphanumeric() || "-._~%:[]@!$'()*+=&/".contains(c))
}

/// Whether the name of a home folder ends here.
fn ends_name(c: char) -> bool {
    c == '/' || c == '"' || c == '\'' || c.is_whitespace()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_number_is_left_out_wherever_it_is() {
        let redaction = Redaction::new(Some("8F3A5b7E1e5C6a2f"), false);
        for (text, expected) in [
            (
                "\"serial\": \"8f3a5b7e1e5c6a2f\"",
                "\"serial\": \"(left-out)\"",
            ),
            ("SoftHSM slot ID 0x1e5c6a2f", "SoftHSM slot ID 0x(left-out)"),
            (
                "pkcs11:token=a;serial=8f3a5b7e1e5c6a2f;object=c3 and serial=00%20x, too",
                "pkcs11:token=a;serial=(left-out);object=c3 and serial=(left-out), too",
            ),
            ("serial=", "serial="),
            ("8f3a5 ünd 6a2f", "8f3a5 ünd 6a2f"),
        ] {
            assert_eq!(redaction.apply(text), expected);
        }
    }

    #[test]
    fn other_numbers_than_the_serial_number_stay() {
        let redaction = Redaction::new(Some("0000000000000001"), false);
        for (text, expected) in [
            ("CKR_VENDOR_DEFINED + 0x80000067", None),
            ("0x00000130", None),
            ("it is 0000000000000001", Some("it is (left-out)")),
        ] {
            assert_eq!(redaction.apply(text), expected.unwrap_or(text));
        }
        // A serial number with characters that JSON escapes.
        let redaction = Redaction::new(Some("ab\"cd\\ef9"), false);
        let value = serde_json::json!({ "most": 1_000_000, "texts": ["of ab\"cd\\ef9"] });
        let redacted = serde_json::json!({ "most": 1_000_000, "texts": ["of (left-out)"] });
        assert_eq!(redaction.apply_to(value), redacted);
    }

    #[test]
    fn the_name_of_a_user_is_left_out_with_and_without_serial_numbers() {
        for (keeps_serial, serial) in [(false, "(left-out)"), (true, "12345678")] {
            let redaction = Redaction::new(Some("12345678"), keeps_serial);
            let text = "/home/alice/p11.so cannot be opened; PIN from file /home/alice pkcs11:serial=12345678";
            let expected = format!(
                "/home/(left-out)/p11.so cannot be opened; PIN from file /home/(left-out) pkcs11:serial={serial}"
            );
            assert_eq!(redaction.apply(text), expected);
        }
    }

    #[test]
    fn a_serial_number_that_tells_nothing_leaves_the_rest_as_it_is() {
        for serial in [
            None,
            Some(""),
            Some("0000000000000000"),
            Some("00001"),
            Some("  "),
        ] {
            let text = "CKM_0x00000000 and 0000000000";
            assert_eq!(
                Redaction::new(serial, false).apply(text),
                text,
                "{serial:?}"
            );
        }
    }
}
