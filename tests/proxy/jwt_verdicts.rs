//! What hubs in Python and Node say of the proxy's tokens, and of tokens that deviate in one thing each: these are signed by openssl
//! with a key in a file, because the product signs none of them.

use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::common::bank::{Bank, ORGANIZATION, ORGANIZATION_ID};
use crate::common::jwt_verdicts::{jwks_of, verdicts};
use crate::common::sig4::AUDIENCE;
use hsm_mtls::internal::rfc3339::unix_now;

fn openssl(folder: &Path, arguments: &[&str]) {
    let done = Command::new("openssl")
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{arguments:?}: {errors}");
}

/// A token that openssl signs.
fn token(folder: &Path, key: &str, header: &Value, claims: &Value, pss: bool) -> String {
    let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
    let input = format!("{}.{}", encode(header), encode(claims));
    std::fs::write(folder.join("input"), &input).unwrap();
    let mut arguments = vec!["dgst", "-sha256", "-sign", key, "-out", "signature"];
    if pss {
        arguments.extend([
            "-sigopt",
            "rsa_padding_mode:pss",
            "-sigopt",
            "rsa_pss_saltlen:32",
        ]);
    }
    arguments.push("input");
    openssl(folder, &arguments);
    let signature = std::fs::read(folder.join("signature")).unwrap();
    format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[test]
fn both_hubs_refuse_each_single_deviation() {
    let bank = Bank::new();
    let folder = bank.folder();
    for name in ["key", "other"] {
        openssl(
            folder,
            &[
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-subj",
                "/CN=Sig4",
                "-days",
                "2",
                "-keyout",
                &format!("{name}.key"),
                "-out",
                &format!("{name}.pem"),
            ],
        );
    }
    let jwks = jwks_of(&[&folder.join("key.pem")]);
    let now = unix_now();
    let header =
        json!({ "alg": "PS256", "typ": "JOSE", "cty": "json", "kid": jwks["keys"][0]["kid"] });
    let claims = json!({
        "iss": ORGANIZATION, "sub": ORGANIZATION_ID, "aud": AUDIENCE, "iat": now, "exp": now + 30,
        "jti": "3f1c9d2e-5a64-4b7e-9f8d-0c2b7a6e1d35",
    });
    let with_header = |name: &str, value: Value| {
        let mut header = header.clone();
        header[name] = value;
        token(folder, "key.key", &header, &claims, true)
    };
    let with_claim = |name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        token(folder, "key.key", &header, &claims, true)
    };
    let without = |name: &str| {
        let mut claims = claims.clone();
        claims.as_object_mut().unwrap().remove(name);
        token(folder, "key.key", &header, &claims, true)
    };
    let good = token(folder, "key.key", &header, &claims, true);
    let unsigned = good.rsplit_once('.').unwrap().0.to_owned();
    let tokens = vec![
        (with_header("alg", json!("RS256")), now),
        (with_header("alg", json!("none")), now),
        (with_header("typ", json!("JWT")), now),
        (with_header("cty", json!("text")), now),
        (with_header("kid", json!("unknown")), now),
        (with_header("crit", json!(["b64"])), now),
        (with_claim("iss", json!("Another Bank")), now),
        (with_claim("sub", json!("another")), now),
        (with_claim("aud", json!("another")), now),
        (with_claim("aud", json!([AUDIENCE])), now),
        (with_claim("exp", json!(now + 31)), now),
        (with_claim("exp", json!(now + 9)), now),
        (with_claim("iat", json!(now + 3600)), now),
        (with_claim("nbf", json!(now + 3600)), now),
        (with_claim("jti", json!("1")), now),
        (with_claim("scope", json!("all")), now),
        (without("iss"), now),
        (without("sub"), now),
        (without("aud"), now),
        (without("iat"), now),
        (without("exp"), now),
        (without("jti"), now),
        (token(folder, "other.key", &header, &claims, true), now),
        (token(folder, "key.key", &header, &claims, false), now),
        (format!("{unsigned}."), now),
        (unsigned, now),
        // Late: 30 s of life, and 10 s of skew.
        (good.clone(), now + 41),
    ];
    for (hub, verdicts) in verdicts(&jwks, &tokens) {
        assert_eq!(verdicts.len(), tokens.len());
        for (at, verdict) in verdicts.iter().enumerate() {
            assert_ne!(verdict, "ok", "{hub} takes deviation {at}");
        }
    }
    let with_nbf = with_claim("nbf", json!(now));
    let accepted = [(good.clone(), now), (good, now + 20), (with_nbf, now)];
    for (hub, verdicts) in verdicts(&jwks, &accepted) {
        assert_eq!(verdicts, ["ok"; 3], "{hub}");
    }
}
