//! What a file says in another encoding: base64 and base64url without armour, hexadecimal digits, UTF-16. A key that was copied
//! into a variable, a secret of Kubernetes or a script is no PEM file any more.
//!
//! A run of digits may have other text glued to it, so it is decoded from each position at which its first group may begin. The
//! buffers are wiped.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use secrecy::zeroize::Zeroizing;

/// Fewer digits of base64 hold no private key: one of P-256 in SEC 1 form with its public half has 121 bytes.
const MIN_BASE64: usize = 128;
/// The same of hexadecimal digits.
const MIN_HEX: usize = 200;

const CONFIG: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_allow_trailing_bits(true)
    .with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, CONFIG);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, CONFIG);

/// What these bytes may mean, beside what they are.
pub(super) fn decoded(bytes: &[u8]) -> Vec<Zeroizing<Vec<u8>>> {
    let mut decoded: Vec<_> = utf16(bytes).into_iter().collect();
    let unescaped = unescaped(bytes);
    // With its line ends, and without: base64 is wrapped, and other text stands on lines of its own.
    let joined = without_white_space(&unescaped);
    for text in [unescaped.as_slice(), joined.as_slice()] {
        // What is no digit of the one alphabet ends a run, and may be one of the other.
        for (engine, is_digit) in ALPHABETS {
            for run in runs(text, is_digit, MIN_BASE64) {
                decoded.extend((0..4).filter_map(|offset| base64(&engine, &run[offset..])));
            }
        }
    }
    let digits = without_separators(bytes);
    for run in runs(&digits, |byte| byte.is_ascii_hexdigit(), MIN_HEX) {
        decoded.extend((0..2).map(|offset| hexadecimal(&run[offset..])));
    }
    if unescaped.as_slice() != bytes {
        decoded.push(unescaped);
    }
    decoded
}

type IsDigit = fn(u8) -> bool;

const ALPHABETS: [(GeneralPurpose, IsDigit); 2] = [
    (STANDARD, |byte| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/')
    }),
    (URL_SAFE, |byte| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
    }),
];

/// The runs of bytes of a kind that are at least so long.
fn runs(text: &[u8], is_digit: IsDigit, least: usize) -> impl Iterator<Item = &[u8]> {
    text.split(move |byte| !is_digit(*byte))
        .filter(move |run| run.len() >= least)
}

/// Without the backslashes of strings in JSON and scripts: `\\n` is a line end, `\\/` and `\\"` are the characters themselves. JSON
/// may hold JSON, and some programs escape each `/` of base64.
pub(super) fn unescaped(bytes: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut text = Zeroizing::new(Vec::with_capacity(bytes.len()));
    let mut rest = bytes;
    while let Some((byte, after)) = rest.split_first() {
        rest = match (byte, after) {
            (b'\\', [b'n' | b'r', after @ ..]) => {
                text.push(b'\n');
                after
            }
            (b'\\', [escaped @ (b'/' | b'"' | b'\\'), after @ ..]) => {
                text.push(*escaped);
                after
            }
            (byte, after) => {
                text.push(*byte);
                after
            }
        };
    }
    text
}

/// Without line ends, blanks and what indents a line.
pub(super) fn without_white_space(bytes: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut joined = Zeroizing::new(Vec::with_capacity(bytes.len()));
    joined.extend(bytes.iter().filter(|byte| !byte.is_ascii_whitespace()));
    joined
}

/// Without what stands between hexadecimal digits: blanks, colons, commas, `0x` and `\\x`.
fn without_separators(bytes: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut digits = Zeroizing::new(Vec::with_capacity(bytes.len()));
    let mut rest = bytes;
    while let Some((byte, after)) = rest.split_first() {
        rest = match (byte, after) {
            (b'0' | b'\\', [b'x', after @ ..]) => after,
            (b':' | b',' | b'-', after) => after,
            (byte, after) if byte.is_ascii_whitespace() => after,
            (byte, after) => {
                digits.push(*byte);
                after
            }
        };
    }
    digits
}

fn base64(engine: &GeneralPurpose, run: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    // What is left over of the last group is no whole byte.
    let whole = match run.len() % 4 {
        1 => &run[..run.len() - 1],
        _ => run,
    };
    let mut decoded = Zeroizing::new(vec![0; whole.len()]);
    let length = engine.decode_slice(whole, &mut decoded).ok()?;
    decoded.truncate(length);
    Some(decoded)
}

fn hexadecimal(run: &[u8]) -> Zeroizing<Vec<u8>> {
    let value = |digit: u8| (digit as char).to_digit(16).unwrap_or_default() as u8;
    let bytes = run
        .chunks_exact(2)
        .map(|pair| value(pair[0]) << 4 | value(pair[1]));
    Zeroizing::new(bytes.collect())
}

/// UTF-16 with or without a byte order mark, as UTF-8.
fn utf16(bytes: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let zeros = |first: usize| {
        bytes
            .iter()
            .skip(first)
            .step_by(2)
            .filter(|byte| **byte == 0)
    };
    let half = bytes.len() / 4;
    let is_big_endian = match bytes {
        [0xfe, 0xff, ..] => true,
        [0xff, 0xfe, ..] => false,
        _ if half > 0 && zeros(0).count() > half => true,
        _ if half > 0 && zeros(1).count() > half => false,
        _ => return None,
    };
    let unit = |pair: &[u8]| match is_big_endian {
        true => u16::from_be_bytes([pair[0], pair[1]]),
        false => u16::from_le_bytes([pair[0], pair[1]]),
    };
    // Text of keys is ASCII: another character cannot be part of it.
    let ascii = |unit: u16| u8::try_from(unit).unwrap_or(b'?');
    let text = bytes.chunks_exact(2).map(|pair| ascii(unit(pair)));
    Some(Zeroizing::new(text.collect()))
}
