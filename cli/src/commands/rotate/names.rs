//! Names of new keys and certificates: those of the old ones with the date, so that a person sees which is which, and no two
//! keys have one label or one CKA_ID.

use std::path::{Path, PathBuf};

use hsm_mtls::internal::config::uri::{ObjectType, Pkcs11Uri};

/// The length of a date, as `2026-11-30`.
const DATE_LEN: usize = 10;

/// The name with this date (RFC 3339) in the place of the one at its end, if there is one; from the second try on with a number.
pub(super) fn dated(name: &str, date: &str, number: u32) -> String {
    let base = without_date(name);
    let day = date.get(..DATE_LEN).unwrap_or(date);
    match number {
        0 | 1 => format!("{base}-{day}"),
        number => format!("{base}-{day}.{number}"),
    }
}

/// The name without the date and the number that a rotation before gave it.
fn without_date(name: &str) -> &str {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let without_number = match name.rsplit_once('.') {
        Some((rest, number)) if is_number(number) => rest,
        _ => name,
    };
    let split = without_number
        .len()
        .checked_sub(DATE_LEN)
        .and_then(|at| without_number.split_at_checked(at));
    let Some((base, date)) = split else {
        return name;
    };
    let is_date = date.bytes().enumerate().all(|(at, byte)| match at {
        4 | 7 => byte == b'-',
        _ => byte.is_ascii_digit(),
    });
    match base.strip_suffix('-') {
        Some(base) if is_date && !base.is_empty() => base,
        _ => name,
    }
}

/// The path with a dated file name.
pub(super) fn dated_path(path: &Path, date: &str, number: u32) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let mut name = dated(&stem, date, number);
    if let Some(extension) = path.extension() {
        name.push('.');
        name.push_str(&extension.to_string_lossy());
    }
    path.with_file_name(name)
}

/// The URI by which the configuration names a key or a certificate: as it named the old one, with label and CKA_ID of the new
/// key.
pub(super) fn configured_uri(
    old: &Pkcs11Uri,
    new_key: &Pkcs11Uri,
    object_type: ObjectType,
) -> Pkcs11Uri {
    Pkcs11Uri {
        object: new_key.object.clone(),
        id: new_key.id.clone(),
        object_type: Some(object_type),
        ..old.clone()
    }
}

/// Bytes as hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes of hexadecimal digits; what is none is left out.
pub(super) fn from_hex(digits: &str) -> Vec<u8> {
    let digits: Vec<u8> = digits
        .chars()
        .filter_map(|digit| digit.to_digit(16))
        .map(|digit| digit as u8)
        .collect();
    digits
        .chunks_exact(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_date_however_often_it_is_renewed() {
        let date = "2027-12-01T10:00:00Z";
        for (name, first, third) in [
            ("c3", "c3-2027-12-01", "c3-2027-12-01.3"),
            ("c3-2026-11-30", "c3-2027-12-01", "c3-2027-12-01.3"),
            ("c3-2026-11-30.2", "c3-2027-12-01", "c3-2027-12-01.3"),
            ("c3.2", "c3.2-2027-12-01", "c3.2-2027-12-01.3"),
            (
                "-2026-11-30",
                "-2026-11-30-2027-12-01",
                "-2026-11-30-2027-12-01.3",
            ),
            (
                "schlüssel",
                "schlüssel-2027-12-01",
                "schlüssel-2027-12-01.3",
            ),
        ] {
            assert_eq!(dated(name, date, 1), first);
            assert_eq!(dated(name, date, 3), third);
        }
        let path = |name, number| dated_path(Path::new(name), date, number);
        assert_eq!(path("/etc/c3.pem", 1), Path::new("/etc/c3-2027-12-01.pem"));
        assert_eq!(
            path("c3-2026-11-30.2.pem", 2),
            Path::new("c3-2027-12-01.2.pem")
        );
        assert_eq!(path("keys/c3", 1), Path::new("keys/c3-2027-12-01"));
    }

    #[test]
    fn hexadecimal_digits_are_read_back() {
        let bytes = [0, 1, 0x7f, 0xff];
        assert_eq!(hex(&bytes), "00017fff");
        assert_eq!(from_hex("00017fff"), bytes);
    }
}
