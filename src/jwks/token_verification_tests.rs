//! Each way in which a hub refuses a token, as a token that differs from the right one in this alone, signed by a key that the
//! set has.

use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding, RsaKeyPair};
use rcgen::{KeyPair, PublicKeyData as _, RsaKeySize};
use serde_json::json;

use super::*;
use crate::jwt_claims::Claims;
use crate::key::public::PublicKey;

struct Signer {
    key: RsaKeyPair,
    public: PublicKey,
}

impl Signer {
    fn new() -> Self {
        let key = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
        Self {
            public: PublicKey::from_spki(&key.subject_public_key_info()).unwrap(),
            key: RsaKeyPair::from_pkcs8(key.serialized_der()).unwrap(),
        }
    }

    fn set(&self, kids: &[&str]) -> JwkSet {
        let modulus = &self.public.bits()[9..265];
        let keys = kids.iter().map(|kid| {
            json!({ "kty": "RSA", "kid": kid, "e": "AQAB", "n": URL_SAFE_NO_PAD.encode(modulus) })
        });
        let text = json!({ "keys": keys.collect::<Vec<_>>() }).to_string();
        JwkSet::parse(text.as_bytes()).unwrap()
    }

    fn sign(&self, header: &Value, claims: &Value, padding: &'static dyn RsaEncoding) -> String {
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let input = format!("{}.{}", encode(header), encode(claims));
        let mut signature = vec![0; self.key.public_modulus_len()];
        let random = SystemRandom::new();
        self.key
            .sign(padding, &random, input.as_bytes(), &mut signature)
            .unwrap();
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

const NOW: u64 = 1_795_478_400;

fn claim_set() -> ClaimSet {
    ClaimSet {
        issuer: "Demo Bank".to_owned(),
        subject: "b0a6f9ad-3c5d-4f0e-9a57-1d2f6a1c7e10".to_owned(),
        audience: "provider-1".to_owned(),
        kid: "k".to_owned(),
        lifetime: Duration::from_secs(30),
        not_before: true,
    }
}

fn parts() -> (Value, Value) {
    let claims: Claims = claim_set().claims(NOW).unwrap();
    (
        serde_json::to_value(Header::new("k")).unwrap(),
        serde_json::to_value(claims).unwrap(),
    )
}

/// The checks that fail.
fn failing(token: &str, set: &JwkSet, at: u64) -> Vec<Check> {
    let checks = verify(token, set, &claim_set(), at).into_iter();
    let failed = checks.filter(|(_, outcome)| matches!(outcome, Some(Err(_))));
    failed.map(|(check, _)| check).collect()
}

#[test]
fn each_deviation_fails_its_check_and_no_other() {
    let signer = Signer::new();
    let set = signer.set(&["k", "other"]);
    let (header, claims) = parts();
    let good = signer.sign(&header, &claims, &RSA_PSS_SHA256);
    assert_eq!(failing(&good, &set, NOW), []);
    let checks = verify(&good, &set, &claim_set(), NOW);
    assert!(
        checks
            .iter()
            .all(|(_, outcome)| matches!(outcome, Some(Ok(_))))
    );
    for (name, value, check) in [
        ("alg", json!("RS256"), Check::Header),
        ("alg", json!("none"), Check::Header),
        ("typ", json!("JWT"), Check::Header),
        ("cty", json!("JSON"), Check::Header),
        ("cty", json!(null), Check::Header),
        ("jku", json!("https://a"), Check::Header),
        ("kid", json!("unknown"), Check::Kid),
        ("kid", json!(1), Check::Kid),
    ] {
        let mut header = header.clone();
        header[name] = value;
        let token = signer.sign(&header, &claims, &RSA_PSS_SHA256);
        assert_eq!(failing(&token, &set, NOW), [check], "{header}");
    }
    for (name, value, check) in [
        ("iss", json!("demo bank"), Check::Issuer),
        ("iss", json!(null), Check::Issuer),
        ("sub", json!("Demo Bank"), Check::Subject),
        ("aud", json!("provider-2"), Check::Audience),
        ("aud", json!(["provider-1"]), Check::Audience),
        ("nbf", json!(NOW + 11), Check::Times),
        ("nbf", json!("soon"), Check::Times),
        ("jti", json!("1"), Check::Id),
        (
            "jti",
            json!("b0a6f9ad-3c5d-1f0e-9a57-1d2f6a1c7e10"),
            Check::Id,
        ),
        ("exp", json!(NOW + 31), Check::Lifetime),
        ("exp", json!(NOW + 9), Check::Lifetime),
    ] {
        let mut claims = claims.clone();
        claims[name] = value;
        let token = signer.sign(&header, &claims, &RSA_PSS_SHA256);
        assert_eq!(failing(&token, &set, NOW), [check], "{name}");
    }
}

#[test]
fn a_signature_of_another_kind_key_or_text_is_refused() {
    let signer = Signer::new();
    let set = signer.set(&["k"]);
    let (header, claims) = parts();
    let by_pkcs1 = signer.sign(&header, &claims, &RSA_PKCS1_SHA256);
    let by_stranger = Signer::new().sign(&header, &claims, &RSA_PSS_SHA256);
    let good = signer.sign(&header, &claims, &RSA_PSS_SHA256);
    let (input, signature) = good.rsplit_once('.').unwrap();
    let (_, other_claims) = parts();
    let other = signer.sign(&header, &other_claims, &RSA_PSS_SHA256);
    let moved = format!("{}.{signature}", other.rsplit_once('.').unwrap().0);
    let unsigned = format!("{input}.");
    for token in [by_pkcs1, by_stranger, moved, unsigned] {
        assert_eq!(failing(&token, &set, NOW), [Check::Signature]);
    }
    // Two keys under one kid, and none: no verifier can choose.
    for set in [signer.set(&["k", "k"]), signer.set(&[])] {
        assert_eq!(failing(&good, &set, NOW), [Check::Kid]);
        let checks = verify(&good, &set, &claim_set(), NOW);
        assert!(checks.contains(&(Check::Signature, None)));
    }
}

#[test]
fn ten_seconds_of_skew_are_allowed_on_either_side() {
    let signer = Signer::new();
    let set = signer.set(&["k"]);
    let (header, claims) = parts();
    let token = signer.sign(&header, &claims, &RSA_PSS_SHA256);
    for (at, good) in [
        (NOW - 11, false),
        (NOW - 10, true),
        (NOW + 39, true),
        (NOW + 40, false),
        (0, false),
        (u64::MAX, false),
    ] {
        let expected: &[Check] = if good { &[] } else { &[Check::Times] };
        assert_eq!(failing(&token, &set, at), expected, "{at}");
    }
}

#[test]
fn what_is_no_token_is_told_without_its_text() {
    let set = Signer::new().set(&["k"]);
    let object = URL_SAFE_NO_PAD.encode("{}");
    let twice = URL_SAFE_NO_PAD.encode(r#"{"a":1,"a":2}"#);
    for (token, expected) in [
        (String::new(), FormError::Parts(1)),
        (format!("{object}.{object}"), FormError::Parts(2)),
        (format!("{object}.{object}.a.b.c"), FormError::Parts(5)),
        (
            format!("{object}=.{object}.AAAA"),
            FormError::Base64("header"),
        ),
        (format!("{object}.+.AAAA"), FormError::Base64("claims")),
        (
            format!("{object}.{object}.A"),
            FormError::Base64("signature"),
        ),
        (format!("AAAA.{object}.AAAA"), FormError::Json("header")),
        (format!("{object}.{twice}.AAAA"), FormError::Json("claims")),
        ("a".repeat(MAX_LEN + 1), FormError::TooLong),
    ] {
        assert_eq!(DecodedToken::parse(&token).unwrap_err(), expected);
        assert_eq!(failing(&token, &set, NOW), [Check::Form]);
    }
}
