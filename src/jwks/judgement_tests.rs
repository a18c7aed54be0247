//! Each way in which a published set is wrong, as a set that differs from the right one in this alone.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rcgen::{CertificateParams, KeyPair, RsaKeySize};
use serde_json::{Value, json};

use super::*;

fn certificate(key: &KeyPair) -> Certificate {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    // Two certificates of one key differ.
    params.serial_number = Some(rcgen::SerialNumber::from_slice(
        uuid::Uuid::new_v4().as_bytes(),
    ));
    let der = params.self_signed(key).unwrap();
    Certificate::from_der(der.der(), "a test").unwrap()
}

fn rsa_key() -> KeyPair {
    KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap()
}

/// The JWK of a certificate with all that the Trust Framework publishes.
fn jwk(certificate: &Certificate) -> Value {
    let bits = certificate.public_key().unwrap().bits();
    // SEQUENCE (4), INTEGER (4) with a leading zero, 256 bytes of n, INTEGER (2), e.
    let modulus = &bits[9..265];
    json!({
        "kty": "RSA", "use": "sig", "alg": "PS256",
        "kid": certificate.x5t_s256(),
        "n": URL_SAFE_NO_PAD.encode(modulus),
        "e": "AQAB",
        "x5c": [STANDARD.encode(certificate.der())],
        "x5t#S256": certificate.x5t_s256(),
    })
}

fn judged(keys: &[&Value], ours: &Certificate) -> Vec<Finding> {
    let text = json!({ "keys": keys }).to_string();
    judge(&JwkSet::parse(text.as_bytes()).unwrap(), ours)
}

#[test]
fn each_deviation_is_found_and_nothing_else() {
    let key = rsa_key();
    let (ours, renewed) = (certificate(&key), certificate(&key));
    let stranger = certificate(&rsa_key());
    let (good, other) = (jwk(&ours), jwk(&stranger));
    assert_eq!(judged(&[&good], &ours), []);
    let changed = |name: &str, value: Value| {
        let mut changed = good.clone();
        changed[name] = value;
        judged(&[&changed], &ours)
    };
    let published = |key: &Certificate| key.public_key().unwrap().fingerprint().to_string();
    assert_eq!(
        changed("n", other["n"].clone()),
        [Finding::OtherKey {
            published: published(&stranger),
            ours: published(&ours),
        }]
    );
    assert!(matches!(
        changed("e", "Aw".into())[..],
        [Finding::OtherKey { .. }]
    ));
    assert!(matches!(
        changed("kty", "EC".into())[..],
        [Finding::UnusableKey(_)]
    ));
    assert_eq!(
        changed("x5c", other["x5c"].clone()),
        [Finding::OtherCertificate {
            published: stranger.x5t_s256()
        }]
    );
    for unreadable in [json!("text"), json!([]), json!([1]), json!(["-_"])] {
        assert!(matches!(
            changed("x5c", unreadable)[..],
            [Finding::UnreadableCertificate(_)]
        ));
    }
    assert_eq!(
        changed("x5t#S256", other["x5t#S256"].clone()),
        [Finding::OtherThumbprint {
            published: stranger.x5t_s256(),
            ours: ours.x5t_s256(),
        }]
    );
    assert_eq!(
        changed("use", "enc".into()),
        [Finding::OtherUse("enc".to_owned())]
    );
    assert_eq!(
        changed("alg", "RS256".into()),
        [Finding::OtherAlgorithm("RS256".to_owned())]
    );
    assert_eq!(
        changed("key_ops", json!(["encrypt"])),
        [Finding::NoVerify("encrypt".to_owned())]
    );
    assert_eq!(changed("key_ops", json!(["verify"])), []);
    assert!(matches!(
        changed("d", "AQAB".into())[..],
        [Finding::PrivateKey(_)]
    ));
    // The key of an earlier certificate, and a stranger's, beside ours.
    assert!(matches!(
        judged(&[&good, &jwk(&renewed)], &ours)[..],
        [Finding::OurKeyElsewhere(_)]
    ));
    let with_other = judged(&[&other, &good], &ours);
    assert!(matches!(&with_other[..], [Finding::OtherKeys(others)] if others.len() == 1));
    assert!(with_other[0].is_note());
}

#[test]
fn a_missing_kid_and_one_that_is_there_twice_are_no_notes() {
    let (ours, stranger) = (certificate(&rsa_key()), certificate(&rsa_key()));
    let (good, other) = (jwk(&ours), jwk(&stranger));
    for keys in [&[][..], &[&other]] {
        let found = judged(keys, &ours);
        assert!(matches!(&found[..], [Finding::KidMissing { kid, .. }] if *kid == ours.x5t_s256()));
    }
    assert_eq!(
        judged(&[&good, &good], &ours),
        [Finding::KidTwice {
            kid: ours.x5t_s256(),
            count: 2
        }]
    );
    // Our key without its kid.
    let mut unnamed = good;
    unnamed.as_object_mut().unwrap().remove("kid");
    let found = judged(&[&unnamed], &ours);
    assert!(matches!(
        found[..],
        [Finding::KidMissing { .. }, Finding::OurKeyElsewhere(_)]
    ));
    assert!(found.iter().all(|finding| !finding.is_note()));
}

#[test]
fn what_rfc_7517_leaves_open_is_a_note() {
    let ours = certificate(&rsa_key());
    for (name, expected) in [
        ("x5c", Finding::NoCertificate),
        ("use", Finding::NoUse),
        ("alg", Finding::NoAlgorithm),
    ] {
        let mut key = jwk(&ours);
        key.as_object_mut().unwrap().remove(name);
        assert!(expected.is_note());
        assert_eq!(judged(&[&key], &ours), [expected]);
    }
}
