//! OpenSC's pkcs11-spy, which writes down what a module is asked for.
//!
//! It writes a call in several pieces. Pieces of calls that several threads make at once mix, but a
//! line that names a call, a line of bytes and a time are each written whole.

use std::collections::{HashMap, VecDeque};
use std::fs;
use std::path::PathBuf;

/// Attributes that hold parts of a private key (RSA).
pub const PRIVATE_COMPONENTS: [&str; 6] = [
    "CKA_PRIVATE_EXPONENT",
    "CKA_PRIME_1",
    "CKA_PRIME_2",
    "CKA_EXPONENT_1",
    "CKA_EXPONENT_2",
    "CKA_COEFFICIENT",
];

pub fn module() -> PathBuf {
    let folders = fs::read_dir("/usr/lib")
        .expect("/usr/lib")
        .filter_map(Result::ok);
    folders
        .map(|folder| folder.path().join("pkcs11-spy.so"))
        .find(|path| path.exists())
        .expect("pkcs11-spy.so: install `opensc-pkcs11` (make test does)")
}

/// `12: C_SignInit` → `C_SignInit`
pub fn calls(log: &str) -> Vec<&str> {
    log.lines().filter_map(call).collect()
}

/// How often a function was called.
pub fn count(log: &str, function: &str) -> usize {
    let calls = calls(log).into_iter();
    calls.filter(|call| *call == function).count()
}

/// The function whose call begins with this line.
pub fn call(line: &str) -> Option<&str> {
    let (number, name) = line.split_once(": ")?;
    let numbered = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    (numbered && name.starts_with("C_")).then_some(name)
}

/// The first 32 bytes that each C_Sign was given, in order. Only where one call followed on the
/// other: elsewhere it cannot be told whose bytes they are.
pub fn signed(log: &str) -> Vec<[u8; 32]> {
    let mut signed = Vec::new();
    let mut wanted: Option<Vec<u8>> = None;
    for line in log.lines() {
        if let Some(call) = call(line) {
            wanted = (call == "C_Sign").then(Vec::new);
        }
        let Some((given, bytes)) = wanted.as_mut().zip(bytes(line)) else {
            continue;
        };
        given.extend(bytes);
        if let Ok(whole) = given.as_slice().try_into() {
            signed.push(whole);
            wanted = None;
        }
    }
    signed
}

/// How many calls of a function came back, where one call followed on the other.
pub fn returned(log: &str, function: &str) -> usize {
    let mut within = false;
    let mut returned = 0;
    for line in log.lines() {
        if let Some(call) = call(line) {
            within = call == function;
        } else if within && line.starts_with("Returned: ") {
            returned += 1;
        }
    }
    returned
}

/// Where a log shows which 16 bytes, and when.
pub struct Seen<'a> {
    places: HashMap<[u8; 16], VecDeque<(usize, &'a str)>>,
}

impl<'a> Seen<'a> {
    pub fn of(log: &'a str) -> Self {
        let mut places: HashMap<_, VecDeque<_>> = HashMap::new();
        let mut latest = "";
        for (at, line) in log.lines().enumerate() {
            latest = time(line).unwrap_or(latest);
            if let Some(bytes) = bytes(line) {
                places.entry(bytes).or_default().push_back((at, latest));
            }
        }
        Self { places }
    }

    /// The time of the first place that shows these bytes; a place is found once. Nothing but them
    /// begins or ends as a hash does, so others' lines in between do not matter.
    pub fn take(&mut self, hash: [u8; 32]) -> Option<&'a str> {
        let (first, second) = hash.split_at(16);
        let mut place = |half: &[u8]| self.places.get_mut(half)?.pop_front();
        let ((first, time), (second, _)) = (place(first)?, place(second)?);
        (first < second).then_some(time)
    }
}

/// `    00000000  8C E6 …`: sixteen bytes, where the line has as many.
fn bytes(line: &str) -> Option<[u8; 16]> {
    let (offset, rest) = line.strip_prefix("    ")?.split_at_checked(8)?;
    u32::from_str_radix(offset, 16).ok()?;
    let digits = rest.strip_prefix("  ")?.get(..48)?;
    let bytes = digits.split_ascii_whitespace();
    let bytes: Result<Vec<u8>, _> = bytes.map(|byte| u8::from_str_radix(byte, 16)).collect();
    bytes.ok()?.try_into().ok()
}

/// `2026-11-24 22:49:34.235`: the end of a line, which another thread may have begun.
fn time(line: &str) -> Option<&str> {
    const FORM: &[u8] = b"0000-00-00 00:00:00.000";
    let time = line.get(line.len().checked_sub(FORM.len())?..)?;
    let fits = |(byte, form): (u8, &u8)| match form {
        b'0' => byte.is_ascii_digit(),
        other => byte == *other,
    };
    time.bytes().zip(FORM).all(fits).then_some(time)
}
