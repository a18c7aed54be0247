//! Parsing and formatting of PKCS#11 URIs; errors do not contain a PIN.

use proptest::prelude::*;

use super::*;

#[test]
fn every_path_attribute_survives_a_round_trip() {
    let text = "pkcs11:library-description=lib;library-manufacturer=m;slot-description=s%20d;slot-manufacturer=sm;\
                token=lfi%20preprod;manufacturer=SoftHSM;model=v2;serial=00ff;object=c3%3B%C3%B6;id=%01%FF;type=private;\
                slot-id=7;library-version=2.40";
    let uri: Pkcs11Uri = text.parse().unwrap();
    assert_eq!(uri.to_string(), text);
    assert_eq!(uri.object.as_deref(), Some("c3;ö"));
    assert_eq!(uri.id.as_deref(), Some(&[1, 255][..]));
    assert_eq!(uri.library_version, Some((2, Some(40))));
}

#[test]
fn unknown_and_doubled_attributes_are_refused() {
    let refuse = |text: &str| text.parse::<Pkcs11Uri>().unwrap_err();
    assert_eq!(
        refuse("pkcs11:tokn=x"),
        UriError::Unknown("tokn".to_owned())
    );
    assert_eq!(
        refuse("pkcs11:token=x;token=y"),
        UriError::Twice("token".to_owned())
    );
    assert_eq!(refuse("pkcs11:token"), UriError::NotAPair);
    assert_eq!(refuse("token=x"), UriError::Scheme);
    assert_eq!(
        refuse("pkcs11:object=%4"),
        UriError::Encoding("object".to_owned())
    );
    assert!(matches!(refuse("pkcs11:type=key"), UriError::Value { .. }));
}

#[test]
fn a_pin_in_a_uri_is_refused_and_not_in_the_error() {
    for text in [
        "pkcs11:token=x?pin-value=874512",
        "pkcs11:token=x;pin-value=874512",
        "pkcs11:token=x?874512",
        "pkcs11:874512=x",
    ] {
        let error = text.parse::<Pkcs11Uri>().unwrap_err();
        assert!(!error.to_string().contains("874512"), "{error}");
    }
    assert_eq!(
        "pkcs11:?pin-source=file:/x".parse::<Pkcs11Uri>(),
        Err(UriError::Query("pin-source".to_owned()))
    );
}

#[test]
fn a_slot_number_alone_is_recognised() {
    let only = |text: &str| text.parse::<Pkcs11Uri>().unwrap().names_only_slot();
    assert!(only("pkcs11:slot-id=1"));
    assert!(only("pkcs11:slot-id=1;manufacturer=SoftHSM"));
    assert!(!only("pkcs11:slot-id=1;serial=2"));
    assert!(!only("pkcs11:"));
}

proptest! {
    #[test]
    fn no_text_panics(text in ".*") {
        let _ = text.parse::<Pkcs11Uri>();
        let _ = format!("pkcs11:{text}").parse::<Pkcs11Uri>();
    }

    #[test]
    fn any_label_and_id_survive(label in ".*", id in proptest::collection::vec(any::<u8>(), 0..40)) {
        let uri = Pkcs11Uri { object: Some(label), id: Some(id), ..Pkcs11Uri::default() };
        prop_assert_eq!(uri.to_string().parse::<Pkcs11Uri>(), Ok(uri));
    }
}
