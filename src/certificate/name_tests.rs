//! Compares names that servers render with the names of certificates.

use proptest::prelude::*;

use super::*;

const LEGAL_NAME: &str = "Bank, \"A\" & Söhne P.J.S.C.";

fn name(organization: &str) -> DistinguishedName {
    DistinguishedName::build(&[
        (COUNTRY, "AE"),
        (ORGANIZATION, organization),
        (ORGANIZATIONAL_UNIT, "5f0c"),
        (COMMON_NAME, "9a1d"),
    ])
    .unwrap()
}

#[test]
fn order_and_string_types_are_exact() {
    let der = name("Bank").der();
    let expected = [
        &[0x30, 0x35][..],
        &[
            0x31, 0x0b, 0x30, 0x09, 0x06, 0x03, 0x55, 0x04, 0x06, 0x13, 0x02,
        ],
        b"AE",
        &[
            0x31, 0x0d, 0x30, 0x0b, 0x06, 0x03, 0x55, 0x04, 0x0a, 0x0c, 0x04,
        ],
        b"Bank",
        &[
            0x31, 0x0d, 0x30, 0x0b, 0x06, 0x03, 0x55, 0x04, 0x0b, 0x0c, 0x04,
        ],
        b"5f0c",
        &[
            0x31, 0x0d, 0x30, 0x0b, 0x06, 0x03, 0x55, 0x04, 0x03, 0x0c, 0x04,
        ],
        b"9a1d",
    ]
    .concat();
    assert_eq!(der[2..], expected[2..]);
    assert_eq!(usize::from(der[1]), der.len() - 2);
}

#[test]
fn every_known_rendering_of_the_same_name_matches() {
    let ours = name(LEGAL_NAME);
    for rendering in [
        // RFC 4514, reversed (nginx), with hexadecimal pairs
        r#"CN=9a1d,OU=5f0c,O=Bank\, \"A\" & S\C3\B6hne P.J.S.C.,C=AE"#,
        // in order, with UTF-8 (Go, Java)
        r#"C=AE, O=Bank\, \"A\" & Söhne P.J.S.C., OU=5f0c, CN=9a1d"#,
        // RFC 1779 quotes
        r#"CN=9a1d, OU=5f0c, O="Bank, \"A\" & Söhne P.J.S.C.", C=AE"#,
        // OpenSSL's one line
        r#"/C=AE/O=Bank, "A" & S\xC3\xB6hne P.J.S.C./OU=5f0c/CN=9a1d"#,
        // OIDs instead of names, another case
        r#"2.5.4.3=9A1D,ou=5f0c,OID.2.5.4.10=bank\, \"a\"  & söhne p.j.s.c.,c=ae"#,
    ] {
        assert_eq!(ours.compare(rendering), Comparison::Match, "{rendering}");
    }
    assert_eq!(ours.compare(&ours.to_string()), Comparison::Match);
}

/// `\+A` is an escaped plus sign, not the hexadecimal pair 0x0A.
#[test]
fn an_escaped_sign_is_not_a_hexadecimal_pair() {
    let ours = name("+A-1");
    assert_eq!(ours.compare(&ours.to_string()), Comparison::Match);
}

#[test]
fn only_a_provable_difference_is_a_mismatch() {
    let ours = name(LEGAL_NAME);
    for other in [
        r#"CN=other,OU=5f0c,O=Bank\, \"A\" & Söhne P.J.S.C.,C=AE"#,
        r#"CN=9a1d,OU=5f0c,C=AE"#,
        r#"CN=9a1d,OU=5f0c,O=Bank\, \"A\" & Söhne P.J.S.C.,C=AE,L=x"#,
    ] {
        assert_eq!(ours.compare(other), Comparison::Mismatch, "{other}");
    }
    for unclear in [
        "",
        "some bank",
        "X-Unknown=1,CN=9a1d",
        r#"CN=9a1d,OU=5f0c,O=Bank\, \"A\" & S??hne P.J.S.C.,C=AE"#,
        "CN=\"9a1d",
    ] {
        assert_eq!(ours.compare(unclear), Comparison::Inconclusive, "{unclear}");
    }
    assert_eq!(
        name("Bank").compare("CN=9a1d,OU=5f0c,O=Bank 2,C=AE"),
        Comparison::Mismatch
    );
}

/// A name with its CN in the given string type.
fn with_cn(tag: Tag, bytes: &[u8]) -> DistinguishedName {
    let mut set = SetOfVec::new();
    let value = Any::new(tag, bytes).unwrap();
    let oid = COMMON_NAME;
    set.insert(AttributeTypeAndValue { oid, value }).unwrap();
    let mut sequence = RdnSequence::default();
    sequence.push(RelativeDistinguishedName::from(set));
    DistinguishedName::from_der(&sequence.to_der().unwrap()).unwrap()
}

/// RFC 5280, section 7.1.
#[test]
fn names_are_equal_in_every_string_type_case_and_spacing() {
    let wide: Vec<u8> = "Söhne & Co"
        .encode_utf16()
        .flat_map(u16::to_be_bytes)
        .collect();
    let ours = with_cn(Tag::Utf8String, "Söhne & Co".as_bytes());
    for same in [
        with_cn(Tag::BmpString, &wide),
        with_cn(Tag::TeletexString, b"S\xf6hne & Co"),
        with_cn(Tag::Utf8String, "  söhne   &  CO ".as_bytes()),
    ] {
        assert_eq!(ours, same);
        assert_ne!(ours.der(), same.der());
    }
    assert_eq!(
        with_cn(Tag::PrintableString, b"Issuing CA"),
        with_cn(Tag::Utf8String, b"Issuing CA")
    );
    for other in ["Söhne & C", "Söhne", "Söhne & Co 2", "Sohne & Co"] {
        assert_ne!(ours, with_cn(Tag::Utf8String, other.as_bytes()), "{other}");
    }
    // A value that is not a string is compared by its bytes.
    assert_eq!(
        with_cn(Tag::OctetString, b"a"),
        with_cn(Tag::OctetString, b"a")
    );
    assert_ne!(
        with_cn(Tag::OctetString, b"a"),
        with_cn(Tag::OctetString, b"A")
    );
    assert_ne!(
        with_cn(Tag::OctetString, b"a"),
        with_cn(Tag::Utf8String, b"a")
    );
    // The order of RDNs is part of a name.
    let reversed = DistinguishedName::build(&[(COMMON_NAME, "9a1d"), (COUNTRY, "AE")]).unwrap();
    let in_order = DistinguishedName::build(&[(COUNTRY, "AE"), (COMMON_NAME, "9a1d")]).unwrap();
    assert_ne!(reversed, in_order);
    let country = DistinguishedName::build(&[(COUNTRY, "ae")]).unwrap();
    assert!(in_order.is_within(&country) && !reversed.is_within(&country));
}

#[test]
fn control_characters_do_not_reach_a_terminal() {
    let shown = name("Bank\u{1b}[2J").to_string();
    assert!(!shown.contains('\u{1b}'), "{shown:?}");
}

proptest! {
    #[test]
    fn any_name_matches_its_own_rendering(organization in "[^\\p{Cc}]{1,40}") {
        prop_assume!(!normalize(&organization).is_empty());
        let ours = name(&organization);
        prop_assert_eq!(ours.compare(&ours.to_string()), Comparison::Match, "{}", ours);
    }

    #[test]
    fn no_rendering_and_no_der_panics(text in ".*", der in proptest::collection::vec(any::<u8>(), 0..80)) {
        let _ = name("Bank").compare(&text);
        let _ = name("Bank").compare(&format!("CN={text}"));
        let _ = DistinguishedName::from_der(&der);
    }
}
