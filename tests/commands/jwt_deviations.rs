//! `jwt verify` refuses each single deviation: tokens that a key in software signed, which the key set has.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::common::bank::{Bank, ORGANIZATION, ORGANIZATION_ID};
use crate::common::published_keys::{AUDIENCE, bank_with_sig4, failed, jwk, key_set};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{CertificateParams, KeyPair, RsaKeySize};
use serde_json::{Value, json};

struct SoftwareKey {
    key: RsaKeyPair,
    pem: String,
}

impl SoftwareKey {
    fn new() -> Self {
        let key = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
        let certificate = CertificateParams::new(Vec::new())
            .unwrap()
            .self_signed(&key)
            .unwrap();
        Self {
            key: RsaKeyPair::from_pkcs8(key.serialized_der()).unwrap(),
            pem: certificate.pem(),
        }
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

/// The steps that fail for this token.
fn refused(bank: &Bank, set: &str, token: &str) -> Vec<String> {
    let set = bank.write("set.jwks", set);
    let file = bank.write("token", token);
    let (set, file) = (set.to_str().unwrap(), file.to_str().unwrap());
    let run = bank.run(&["jwt", "verify", "--json", file, "--jwks", set]);
    assert!(!run.stdout.contains(token) && !run.stderr.contains(token));
    let report = run.json();
    let failed = failed(&report).into_iter().map(str::to_owned);
    let failed: Vec<_> = failed.collect();
    assert_eq!(run.code, i32::from(!failed.is_empty()), "{report:#}");
    failed
}

#[test]
fn each_single_deviation_fails_its_step_and_no_other() {
    let bank = bank_with_sig4("");
    let signer = SoftwareKey::new();
    let published = jwk(&bank, &signer.pem);
    let set = key_set(&[&published]);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let header = json!({ "alg": "PS256", "typ": "JOSE", "cty": "json", "kid": published["kid"] });
    // As the clock goes on during the test, the times have a margin beyond the skew.
    let issued = now + 5;
    let claims = json!({
        "iss": ORGANIZATION, "sub": ORGANIZATION_ID, "aud": AUDIENCE,
        "iat": issued, "exp": issued + 30, "jti": uuid::Uuid::new_v4().to_string(),
    });
    let good = signer.sign(&header, &claims, &RSA_PSS_SHA256);
    assert_eq!(refused(&bank, &set, &good), [""; 0]);
    for (name, value, step) in [
        ("alg", json!("RS256"), "header"),
        ("alg", json!("none"), "header"),
        ("typ", json!("JWT"), "header"),
        ("cty", Value::Null, "header"),
        ("crit", json!(["exp"]), "header"),
        ("kid", json!("another"), "kid"),
    ] {
        let mut header = header.clone();
        header[name] = value;
        let token = signer.sign(&header, &claims, &RSA_PSS_SHA256);
        assert_eq!(refused(&bank, &set, &token), [step], "{header}");
    }
    for (name, value, step) in [
        ("iss", json!("Another Bank"), "iss"),
        ("sub", json!(ORGANIZATION), "sub"),
        ("aud", json!("another"), "aud"),
        ("aud", json!([AUDIENCE]), "aud"),
        ("nbf", json!(now + 3600), "iat, nbf, exp"),
        ("exp", json!(issued + 31), "lifetime"),
        ("exp", json!(issued + 9), "lifetime"),
        ("jti", json!("1"), "jti"),
    ] {
        let mut claims = claims.clone();
        claims[name] = value;
        let token = signer.sign(&header, &claims, &RSA_PSS_SHA256);
        assert_eq!(refused(&bank, &set, &token), [step], "{claims}");
    }
    let mut ahead = claims.clone();
    (ahead["iat"], ahead["exp"]) = (json!(now + 3600), json!(now + 3630));
    let token = signer.sign(&header, &ahead, &RSA_PSS_SHA256);
    assert_eq!(refused(&bank, &set, &token), ["iat, nbf, exp"]);
    // Another padding, another key under the kid, two keys, no key, and half a token.
    let by_pkcs1 = signer.sign(&header, &claims, &RSA_PKCS1_SHA256);
    assert_eq!(refused(&bank, &set, &by_pkcs1), ["signature"]);
    let mut other = jwk(&bank, &SoftwareKey::new().pem);
    other["kid"] = published["kid"].clone();
    assert_eq!(refused(&bank, &key_set(&[&other]), &good), ["signature"]);
    assert_eq!(
        refused(&bank, &key_set(&[&published, &other]), &good),
        ["kid"]
    );
    assert_eq!(refused(&bank, &key_set(&[]), &good), ["kid"]);
    let half = good.rsplit_once('.').unwrap().0;
    assert_eq!(refused(&bank, &set, half), ["form"]);
}
