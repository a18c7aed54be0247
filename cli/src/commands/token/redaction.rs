//! Leaves serial numbers out of a report: those in PKCS#11 URIs, and the token's wherever else it is, also in part (SoftHSM's
//! slot descriptions end with half of it).

/// What takes the place of a serial number.
const LEFT_OUT: &str = "(left-out)";
/// Fewer characters of a serial number in a row do not tell it.
const MIN_PART: usize = 6;

/// Leaves out one token's serial number.
pub(super) struct Redaction {
    /// In small letters; empty where it is not known, is too short to be told from other numbers, or says nothing (zeros).
    serial: Vec<u8>,
}

impl Redaction {
    pub(super) fn new(serial: Option<&str>) -> Self {
        let serial = serial.unwrap_or_default().trim().to_ascii_lowercase();
        let mut bytes = serial.bytes();
        let first = bytes.next();
        let is_telling = serial.len() >= MIN_PART && bytes.any(|byte| Some(byte) != first);
        Self {
            serial: match is_telling {
                true => serial.into_bytes(),
                false => Vec::new(),
            },
        }
    }

    /// The text without serial numbers.
    pub(super) fn apply(&self, text: &str) -> String {
        let mut rest = text;
        let mut redacted = String::with_capacity(text.len());
        while let Some(first) = rest.chars().next() {
            let (kept, left_out) = match rest.strip_prefix("serial=") {
                Some(value) => ("serial=", value.find(ends_value).unwrap_or(value.len())),
                None => ("", self.part_at(rest)),
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
        match longest >= MIN_PART {
            true => longest,
            false => 0,
        }
    }
}

/// Whether a PKCS#11 URI's attribute, or the URI, ends here (RFC 7512, section 2.3). Other characters of a value are escaped.
fn ends_value(c: char) -> bool {
    !(c.is_ascii_alphanumeric() || "-._~%:[]@!$'()*+=&/".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_number_is_left_out_wherever_it_is() {
        let redaction = Redaction::new(Some("8F3A5b7E1e5C6a2f"));
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
    fn a_serial_number_that_tells_nothing_leaves_the_rest_as_it_is() {
        for serial in [
            None,
            Some(""),
            Some("0000000000000000"),
            Some("00001"),
            Some("  "),
        ] {
            let text = "CKM_0x00000000 and 0000000000";
            assert_eq!(Redaction::new(serial).apply(text), text, "{serial:?}");
        }
    }
}
