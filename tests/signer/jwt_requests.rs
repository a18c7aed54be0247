//! A compromised front end that wants tokens: the Sig4 key signs those of the configuration, now and for one purpose, and each other
//! request is refused, recorded, and the next one served.

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hsm_mtls::internal::rfc3339::unix_now;
use serde_json::{Value, json};

use crate::common::bank::{Bank, ORGANIZATION, ORGANIZATION_ID};
use crate::common::chaos::Chaos;
use crate::common::hostile_front_end::*;
use crate::common::sig4;
use crate::common::signer_process::launch;

/// A signing input, as an attacker writes it.
fn signing_input(header: &Value, claims: &Value) -> Vec<u8> {
    let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
    format!("{}.{}", encode(header), encode(claims)).into_bytes()
}

/// The `kid` of the bank's certificate, by another program.
fn kid(bank: &Bank) -> String {
    let digest = std::process::Command::new("sh")
        .arg("-c")
        .arg("openssl x509 -in \"$0\" -outform DER | openssl dgst -sha256 -binary | base64")
        .arg(bank.path("sig4.pem"))
        .output()
        .unwrap();
    let digest = String::from_utf8(digest.stdout).unwrap();
    digest
        .trim()
        .trim_end_matches('=')
        .replace('+', "-")
        .replace('/', "_")
}

#[test]
fn the_sig4_key_signs_tokens_of_the_configuration_and_nothing_else() {
    let mut bank = Bank::new();
    bank.certify("rsa-2048");
    sig4::certify(&mut bank, "rsa-2048");
    bank.configure(|settings| {
        settings.sections = sig4::section(
            "lifetime = \"20s\"\n[ledger]\nfile = \"ledger.jsonl\"\nfsync = \"interval\"",
        );
    });
    let front_end = FrontEnd::start(&bank);
    assert_ne!(front_end.sig4, [0; 32]);
    assert_ne!(front_end.sig4, front_end.key);
    let kid = kid(&bank);
    let now = unix_now();
    let header = json!({ "alg": "PS256", "typ": "JOSE", "cty": "json", "kid": kid });
    let claims = json!({
        "iss": ORGANIZATION, "sub": ORGANIZATION_ID, "aud": sig4::AUDIENCE,
        "iat": now, "exp": now + 20, "jti": "3f1c9d2e-5a64-4b7e-9f8d-0c2b7a6e1d35",
    });
    let token = |message: Vec<u8>| SignatureRequest {
        key: front_end.sig4,
        purpose: JWT,
        scheme: RSA_PSS_SHA256,
        peer: "",
        message,
    };
    let good = signing_input(&header, &claims);
    let signed = front_end.ask(0, &frame(1, &token(good.clone())));
    assert_eq!(signed[1], 0x82, "{}", String::from_utf8_lossy(&signed));

    let with_header = |name: &str, value: Value| {
        let mut header = header.clone();
        header[name] = value;
        frame(1, &token(signing_input(&header, &claims)))
    };
    let with_claim = |name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        frame(1, &token(signing_input(&header, &claims)))
    };
    let an_hour_ahead = || {
        let mut claims = claims.clone();
        claims["iat"] = (now + 3600).into();
        claims["exp"] = (now + 3620).into();
        frame(1, &token(signing_input(&header, &claims)))
    };
    let with = |change: &dyn Fn(&mut SignatureRequest)| {
        let mut asked = token(good.clone());
        change(&mut asked);
        frame(1, &asked)
    };
    let cases = vec![
        (
            with_claim("aud", json!("another")),
            "the token's aud is not the configured one",
        ),
        (
            with_claim("iss", json!("Another Bank")),
            "the token's iss is not the configured one",
        ),
        (
            with_claim("sub", json!("b0a6f9ad")),
            "the token's sub is not the configured one",
        ),
        (with_header("kid", json!("other")), "not the scheme's: kid"),
        (with_header("alg", json!("RS256")), "not the scheme's: alg"),
        (with_header("alg", json!("none")), "not the scheme's: alg"),
        (with_header("typ", json!("JWT")), "not the scheme's: typ"),
        (
            with_header("jku", json!("https://evil.example")),
            "not exactly alg, typ, cty and kid",
        ),
        (with_claim("exp", json!(now + 3600)), "the token's exp"),
        (with_claim("exp", json!(now + 21)), "the token's exp"),
        (an_hour_ahead(), "issued at another time than now"),
        (with_claim("nbf", json!(now)), "the token's nbf"),
        (with_claim("jti", json!("1")), "no UUIDv4"),
        (
            with_claim("scope", json!("everything")),
            "claims beside those of JWT Auth",
        ),
        (
            with(&|asked| asked.key = front_end.key),
            "jwt is no purpose of this key",
        ),
        (
            with(&|asked| {
                asked.purpose = TLS13;
                asked.message = certificate_verify("client");
            }),
            "tls13-client-auth is no purpose of this key",
        ),
        (
            with(&|asked| asked.purpose = TLS12),
            "tls12-client-auth is no purpose of this key",
        ),
        (
            with(&|asked| asked.purpose = PROOF),
            "no challenge of a proof",
        ),
        (
            with(&|asked| asked.purpose = CSR),
            "nothing that a front end has a use for",
        ),
        (
            with(&|asked| asked.scheme = RSA_PKCS1_SHA256),
            "signed by PS256",
        ),
        (
            with(&|asked| asked.message = vec![7; 32]),
            "no token of JWT Auth",
        ),
        (
            with(&|asked| asked.message.push(b'=')),
            "no token of JWT Auth",
        ),
        (
            // The token of a handshake's message would do for TLS.
            with(&|asked| asked.message = certificate_verify("client")),
            "no token of JWT Auth",
        ),
    ];
    let count = cases.len();
    for (bytes, why) in cases {
        front_end.refuses(&bytes, why);
        let again = front_end.ask(1, &frame(2, &token(good.clone())));
        assert_eq!(again[1], 0x82, "after {why}: no token");
    }
    drop(front_end);
    let text = fs::read_to_string(bank.path("ledger.jsonl")).unwrap();
    let records: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let refused = records.iter().filter(|record| record["kind"] == "refused");
    assert_eq!(refused.count(), count);
    let signed: Vec<_> = records
        .iter()
        .filter(|record| record["purpose"] == "jwt" && record["kind"] == "attempt")
        .collect();
    assert_eq!(signed.len(), count + 1);
    assert_eq!(signed[0]["jti"], claims["jti"]);
    assert_eq!(signed[0]["audience"], sig4::AUDIENCE);
    assert!(signed[0]["expires"].as_str().unwrap().ends_with('Z'));
    let input = String::from_utf8(good).unwrap();
    assert!(
        !text.contains(input.split('.').nth(1).unwrap()),
        "the ledger holds a token"
    );
}

#[test]
fn a_token_with_two_sessions_signs_for_both_keys() {
    let mut bank = Bank::new();
    bank.certify("rsa-2048");
    sig4::certify(&mut bank, "rsa-2048");
    bank.configure(|settings| settings.sections = sig4::section(""));
    let chaos = Chaos::between(&mut bank, "");
    // One more is the login's.
    chaos.plan("max-sessions 3\ndelay C_Sign 300ms");
    let front_end = FrontEnd::described(FrontEnd::begin(launch(&bank, Some(&chaos))));
    let kid = kid(&bank);
    let token = |id| {
        let now = unix_now();
        let header = json!({ "alg": "PS256", "typ": "JOSE", "cty": "json", "kid": kid });
        let claims = json!({
            "iss": ORGANIZATION, "sub": ORGANIZATION_ID, "aud": sig4::AUDIENCE,
            "iat": now, "exp": now + 30, "jti": "3f1c9d2e-5a64-4b7e-9f8d-0c2b7a6e1d35",
        });
        let asked = SignatureRequest {
            key: front_end.sig4,
            purpose: JWT,
            scheme: RSA_PSS_SHA256,
            peer: "",
            message: signing_input(&header, &claims),
        };
        frame(id, &asked)
    };
    let handshake = || frame(1, &front_end.good(certificate_verify("client")));
    // First one key has both sessions, then the other; then each asks at the same time.
    for requests in [
        [handshake(), handshake()],
        [token(1), token(2)],
        [handshake(), token(3)],
        [token(4), handshake()],
    ] {
        for (channel, request) in requests.iter().enumerate() {
            front_end.send(channel, request);
        }
        for channel in 0..requests.len() {
            let answer = front_end.take(channel).unwrap();
            assert_eq!(answer[1], 0x82, "{}", String::from_utf8_lossy(&answer));
        }
    }
}

#[test]
fn one_key_for_both_purposes_and_a_key_that_cannot_sign_by_ps256_are_refused() {
    let mut bank = Bank::new();
    bank.certify("rsa-2048");
    sig4::certify(&mut bank, "p-256");
    bank.configure(|settings| settings.sections = sig4::section(""));
    let refused = bank
        .run(&["request", "--jwt", "GET", "cm:/hello-mtls"])
        .expect(3);
    assert!(
        refused.stderr.contains("does not sign by PS256"),
        "{}",
        refused.stderr
    );

    // By another name and a certificate of its own, and yet C3's key.
    sig4::issue(&bank);
    bank.configure(|settings| {
        settings.sections = sig4::section("").replace("object=sig4", "token=lfi;object=c3");
    });
    let refused = bank
        .run(&["request", "--jwt", "GET", "cm:/hello-mtls"])
        .expect(2);
    let why = "C3 and Sig4 have the same public key";
    assert!(refused.stderr.contains(why), "{}", refused.stderr);
}
