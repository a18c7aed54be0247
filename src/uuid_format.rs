//! The form of a UUID as a string (RFC 9562, section 4): 36 characters with hyphens. Other forms that parsers accept,
//! in braces or without hyphens, are other strings: the hub compares strings.

/// Whether the text is a UUID of any version.
pub fn is_uuid(text: &[u8]) -> bool {
    let fits = |(at, byte): (usize, &u8)| match at {
        8 | 13 | 18 | 23 => *byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    };
    text.len() == 36 && text.iter().enumerate().all(fits)
}

/// Whether the text is a UUID of version 4 and of the variant of RFC 9562.
pub fn is_uuid_v4(text: &[u8]) -> bool {
    is_uuid(text) && text[14] == b'4' && matches!(text[19], b'8' | b'9' | b'a' | b'b' | b'A' | b'B')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hyphenated_form_alone_is_a_uuid() {
        let id = "3f1c9d2e-5a64-4b7e-9f8d-0c2b7a6e1d35";
        assert!(is_uuid_v4(id.as_bytes()) && is_uuid_v4(id.to_uppercase().as_bytes()));
        for (other, any_version) in [
            ("", false),
            ("3f1c9d2e-5a64-1b7e-9f8d-0c2b7a6e1d35", true),
            ("3f1c9d2e-5a64-4b7e-cf8d-0c2b7a6e1d35", true),
            ("3f1c9d2e5a644b7e9f8d0c2b7a6e1d35", false),
            ("{3f1c9d2e-5a64-4b7e-9f8d-0c2b7a6e1d35}", false),
            ("3f1c9d2e-5a64-4b7e-9f8d-0c2b7a6e1d3g", false),
        ] {
            assert_eq!(is_uuid(other.as_bytes()), any_version, "{other}");
            assert!(!is_uuid_v4(other.as_bytes()), "{other}");
        }
    }
}
