//! A lenient PEM parser. RFC 7468 requires lines of 64 characters from generators, and from parsers that they accept
//! any line length, white space anywhere and text around the blocks. The deviations of some tools (headers, UTF-16,
//! escaped line ends) are accepted too.

use std::borrow::Cow;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Base64 with any padding, and any trailing bits in the last group.
pub(super) const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";
const DASHES: &[u8] = b"-----";

/// A PEM block whose content is not decoded yet.
#[derive(Debug)]
pub(super) struct Block<'a> {
    pub(super) label: String,
    /// `None` if the END line is missing.
    body: Option<&'a [u8]>,
}

impl Block<'_> {
    /// The decoded content.
    pub(super) fn der(&self) -> Result<Vec<u8>, String> {
        let body = self
            .body
            .ok_or_else(|| "a PEM block has no end".to_owned())?;
        decode(without_headers(body)).ok_or_else(|| "a PEM block is not base64".to_owned())
    }
}

/// The blocks of a file in order; text around them is ignored.
pub(super) fn blocks(bytes: &[u8]) -> Vec<Block<'_>> {
    let mut found = Vec::new();
    let mut rest = bytes;
    while let Some(start) = find(rest, BEGIN) {
        rest = &rest[start + BEGIN.len()..];
        let Some(label_length) = find(rest, DASHES) else {
            break;
        };
        let (label, after) = (&rest[..label_length], &rest[label_length + DASHES.len()..]);
        if label.contains(&b'\n') {
            continue;
        }
        let end = find(after, END);
        // If another block begins before the END line, this one is truncated.
        let end = end.filter(|end| find(&after[..*end], BEGIN).is_none());
        found.push(Block {
            label: String::from_utf8_lossy(label).trim().to_ascii_uppercase(),
            body: end.map(|end| &after[..end]),
        });
        rest = &after[end.unwrap_or(0)..];
    }
    found
}

/// Decodes base64 with white space, also with escaped line ends as in JSON. `None`: it is invalid or empty.
pub(super) fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut digits = Vec::with_capacity(text.len());
    let mut bytes = text.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' if matches!(bytes.peek(), Some(b'n' | b'r' | b't')) => {
                bytes.next();
            }
            // RFC 7468's W: space, tab, LF, VT, FF, CR.
            b' ' | b'\t'..=b'\r' => {}
            other => digits.push(other),
        }
    }
    LENIENT
        .decode(digits)
        .ok()
        .filter(|decoded| !decoded.is_empty())
}

/// Skips the `Name: value` headers of RFC 1421 and the empty line after them.
fn without_headers(body: &[u8]) -> &[u8] {
    if !body.contains(&b':') {
        return body;
    }
    let mut rest = body;
    let mut headers_end = 0;
    while !rest.is_empty() {
        let line_length = rest.iter().position(|byte| *byte == b'\n');
        let line_length = line_length.map_or(rest.len(), |at| at + 1);
        let (line, after) = rest.split_at(line_length);
        rest = after;
        let is_empty = line.trim_ascii().is_empty();
        let at = body.len() - rest.len();
        if line.contains(&b':') || (is_empty && headers_end > 0) {
            headers_end = at;
        }
        if is_empty && headers_end == at {
            break;
        }
    }
    &body[headers_end..]
}

/// Converts a file in UTF-16, as PowerShell's `>` writes it, to UTF-8.
pub(super) fn from_utf16(bytes: &[u8]) -> Cow<'_, [u8]> {
    let wide = |text: &[u8], unit: fn(u8) -> [u8; 2]| -> Vec<u8> {
        text.iter().flat_map(|byte| unit(*byte)).collect()
    };
    let little = || find(bytes, &wide(BEGIN, |byte| [byte, 0])).map(|at| (at % 2, true));
    let big = || find(bytes, &wide(BEGIN, |byte| [0, byte])).map(|at| (at % 2, false));
    let found = match bytes {
        [0xff, 0xfe, ..] => Some((2, true)),
        [0xfe, 0xff, ..] => Some((2, false)),
        [0, ..] => big().or_else(little),
        _ => little().or_else(big),
    };
    let Some((offset, little)) = found else {
        return Cow::Borrowed(bytes);
    };
    let pairs = bytes[offset..].chunks_exact(2);
    let units = pairs.map(|pair| match little {
        true => u16::from_le_bytes([pair[0], pair[1]]),
        false => u16::from_be_bytes([pair[0], pair[1]]),
    });
    let text: String = char::decode_utf16(units)
        .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect();
    Cow::Owned(text.into_bytes())
}

pub(super) fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes
        .windows(needle.len())
        .position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str =
        "-----BEGIN CERTIFICATE-----\nAAECAwQF\nBgcICQ==\n-----END CERTIFICATE-----\n";

    fn only(text: &[u8]) -> Vec<u8> {
        let text = from_utf16(text);
        let blocks = blocks(&text);
        assert_eq!(blocks.len(), 1, "{blocks:?}");
        assert_eq!(blocks[0].label, "CERTIFICATE");
        blocks[0].der().unwrap()
    }

    #[test]
    fn every_variant_of_pem_is_decoded_alike() {
        let expected: Vec<u8> = (0..10).collect();
        let wide = |little: bool, mark: bool| -> Vec<u8> {
            let units = mark
                .then_some(0xfeff)
                .into_iter()
                .chain(PLAIN.encode_utf16());
            units
                .flat_map(|unit| {
                    if little {
                        unit.to_le_bytes()
                    } else {
                        unit.to_be_bytes()
                    }
                })
                .collect()
        };
        for text in [
            PLAIN.as_bytes().to_vec(),
            PLAIN.replace('\n', "\r\n").into_bytes(),
            PLAIN.replace('\n', "\r").into_bytes(),
            PLAIN.replace('\n', " \t\n").into_bytes(),
            PLAIN.replace('\n', "\n\n").into_bytes(),
            PLAIN.replace('\n', "\n    ").into_bytes(),
            PLAIN.replace('\n', "").into_bytes(),
            PLAIN.replace('\n', "\\n").into_bytes(),
            PLAIN.replace("==", "").into_bytes(),
            PLAIN.replace("AAEC", "A A\nE\x0bC").into_bytes(),
            PLAIN
                .replace("-----BEGIN CERTIFICATE", "-----BEGIN  CERTIFICATE ")
                .into_bytes(),
            PLAIN
                .replace("-----\nAA", "-----\nProc-Type: 4\n continued\nA: b\n\nAA")
                .into_bytes(),
            PLAIN
                .replace("-----\nAA", "-----\nComment: none\nAA")
                .into_bytes(),
            [b"\xef\xbb\xbf".as_slice(), PLAIN.as_bytes()].concat(),
            [
                b"subject=O=S\xf6hne\n".as_slice(),
                PLAIN.as_bytes(),
                b"\xff\xfe\n",
            ]
            .concat(),
            wide(true, true),
            wide(false, true),
            wide(true, false),
            wide(false, false),
        ] {
            assert_eq!(only(&text), expected, "{}", String::from_utf8_lossy(&text));
        }
    }

    #[test]
    fn a_truncated_block_does_not_include_the_next() {
        let text = format!("-----BEGIN CERTIFICATE-----\nAAEC\n{PLAIN}");
        let found = blocks(text.as_bytes());
        assert_eq!(found.len(), 2);
        assert!(found[0].der().is_err());
        assert!(found[1].der().is_ok());
        assert!(
            blocks(b"-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----")[0]
                .der()
                .is_err()
        );
        assert!(
            blocks(b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----")[0]
                .der()
                .is_err()
        );
    }
}
