//! `jwt mint`, `jwt show` and `jwt verify` with keys in a token: what is printed, what is on record, and what never is.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::common::bank::{Bank, ORGANIZATION, ORGANIZATION_ID, Run};
use crate::common::ledger_records::records;
use crate::common::published_keys::{
    AUDIENCE, bank_with_sig4, certificate, failed, jwk, key_set, kid, outcome,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

fn decode(part: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

/// Header and claims.
fn decoded(token: &str) -> (Value, Value) {
    let parts: Vec<_> = token.split('.').collect();
    assert_eq!(parts.len(), 3, "{token}");
    (decode(parts[0]), decode(parts[1]))
}

/// The one line that `jwt mint` prints.
fn minted(run: Run) -> String {
    let run = run.expect(0);
    let token = run.stdout.strip_suffix('\n').unwrap().to_owned();
    assert!(!token.contains(char::is_whitespace), "{token}");
    assert!(!run.stderr.contains(&token), "{}", run.stderr);
    token
}

fn set_file(bank: &Bank) -> PathBuf {
    bank.write("set.jwks", &key_set(&[&jwk(bank, &certificate(bank))]))
}

fn verify(bank: &Bank, token: &str, further: &[&str]) -> Run {
    let file = bank.write("token", token);
    let set = set_file(bank);
    let (file, set) = (file.to_str().unwrap(), set.to_str().unwrap());
    bank.run(&[&["jwt", "verify", "--json", file, "--jwks", set], further].concat())
}

/// `openssl` says whether the certificate's key made the signature: PSS with SHA-256 and 32 bytes of salt.
fn openssl_verifies(bank: &Bank, token: &str) -> bool {
    let (input, signature) = token.rsplit_once('.').unwrap();
    let input = bank.write("input", input);
    let signed = bank.path("signature");
    fs::write(&signed, URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
    let key = bank.path("key.pem");
    let extracted = Command::new("openssl")
        .args(["x509", "-pubkey", "-noout", "-in"])
        .args([bank.path("sig4.pem")])
        .output()
        .unwrap();
    fs::write(&key, extracted.stdout).unwrap();
    let pss = [
        "-sigopt",
        "rsa_padding_mode:pss",
        "-sigopt",
        "rsa_pss_saltlen:32",
    ];
    Command::new("openssl")
        .args(["dgst", "-sha256"])
        .args(pss)
        .args(["-verify".as_ref(), key.as_os_str()])
        .args(["-signature".as_ref(), signed.as_os_str(), input.as_os_str()])
        .output()
        .unwrap()
        .status
        .success()
}

fn records_of_jwt(bank: &Bank) -> Vec<Value> {
    let shown = bank.run(&["ledger", "show", "--purpose", "jwt", "--json"]);
    let shown = shown.expect(0).stdout;
    let lines = shown
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    lines.collect()
}

#[test]
fn a_minted_token_says_what_is_configured_and_is_on_record() {
    let bank = bank_with_sig4("lifetime = \"20s\"\nnot_before = true");
    let token = minted(bank.run(&["-vvv", "jwt", "mint"]));
    let (header, claims) = decoded(&token);
    assert_eq!(
        header,
        json!({ "alg": "PS256", "typ": "JOSE", "cty": "json", "kid": kid(&certificate(&bank)) })
    );
    let issued = claims["iat"].as_u64().unwrap();
    assert_eq!(claims["iss"], ORGANIZATION);
    assert_eq!(claims["sub"], ORGANIZATION_ID);
    assert_eq!(claims["aud"], AUDIENCE);
    assert_eq!(claims["exp"], issued + 20);
    assert_eq!(claims["nbf"], issued);
    assert_eq!(claims.as_object().unwrap().len(), 7, "{claims:#}");
    assert!(openssl_verifies(&bank, &token));
    assert!(!openssl_verifies(
        &bank,
        &minted(bank.run(&["jwt", "mint"])).replacen('.', "x.", 1)
    ));
    let report = verify(&bank, &token, &["--at", &issued.to_string()]).expect(0);
    assert_eq!(failed(&report.json()), [""; 0]);
    assert!(!report.stdout.contains(&token));
    // Both that were minted are on record, and no token is.
    let jti = claims["jti"].as_str().unwrap();
    let recorded = records_of_jwt(&bank);
    assert!(recorded.len() >= 2, "{recorded:#?}");
    assert!(
        recorded
            .iter()
            .any(|record| record.to_string().contains(jti))
    );
    assert!(!records(&bank.path("ledger.jsonl")).is_empty());
    let ledger = fs::read_to_string(bank.path("ledger.jsonl")).unwrap();
    let signature = token.rsplit_once('.').unwrap().1;
    assert!(!ledger.contains(signature) && !ledger.contains(&token[..40]));
}

#[test]
fn the_token_is_in_json_only_where_it_was_asked_for() {
    let bank = bank_with_sig4("");
    let report = bank.run(&["jwt", "mint", "--json"]).expect(0).json();
    assert_eq!(report.get("token"), None, "{report:#}");
    assert_eq!(report["schema"], 0);
    assert_eq!(report["aud"], AUDIENCE);
    assert_eq!(report["kid"], kid(&certificate(&bank)));
    let printed = bank.run(&["jwt", "mint", "--json", "--yes-print"]);
    let printed = printed.expect(0).json();
    let (_, claims) = decoded(printed["token"].as_str().unwrap());
    for name in ["jti", "iat", "exp", "aud"] {
        assert_eq!(claims[name], printed[name]);
    }
    assert_ne!(report["jti"], printed["jti"]);
}

#[test]
fn further_claims_are_signed_and_those_of_the_configuration_are_not_replaced() {
    let bank = bank_with_sig4("");
    let file = bank.write("claims.json", r#"{"scope":"accounts","n":[1,{"a":null}]}"#);
    let file = file.to_str().unwrap();
    let token = minted(bank.run(&["jwt", "mint", "--claims", file]));
    let (_, claims) = decoded(&token);
    assert_eq!(claims["scope"], "accounts");
    assert_eq!(claims["n"], json!([1, { "a": null }]));
    assert_eq!(claims["aud"], AUDIENCE);
    assert!(openssl_verifies(&bank, &token));
    verify(&bank, &token, &[]).expect(0);
    let jti = claims["jti"].as_str().unwrap();
    assert!(
        records_of_jwt(&bank)
            .iter()
            .any(|record| record.to_string().contains(jti))
    );
    let before = records_of_jwt(&bank).len();
    for text in [
        r#"{"aud":"another"}"#,
        r#"{"exp":9999999999}"#,
        r#"{"a":1,"a":2}"#,
        "[]",
        "",
    ] {
        bank.write("claims.json", text);
        let run = bank.run(&["jwt", "mint", "--claims", file]).expect(2);
        assert_eq!(run.stdout, "", "{text}");
    }
    bank.run(&["jwt", "mint", "--claims", "/nowhere"]).expect(2);
    assert_eq!(records_of_jwt(&bank).len(), before);
}

#[test]
fn a_terminal_shows_a_token_only_where_it_was_asked_for() {
    let bank = bank_with_sig4("");
    let on_terminal = |arguments: &str| {
        let binary = env!("CARGO_BIN_EXE_hsm-mtls");
        let config = bank.config_path();
        let command = format!("'{binary}' --config '{}' {arguments}", config.display());
        let output = Command::new("script")
            .args(["--quiet", "--return", "--command", &command, "/dev/null"])
            .stdin(std::process::Stdio::null())
            .output()
            .expect("script: part of Debian's bsdutils");
        let shown = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code().unwrap(), shown)
    };
    let (code, shown) = on_terminal("jwt mint");
    assert_eq!(code, 2, "{shown}");
    assert!(
        shown.contains("--yes-print") && !shown.contains("eyJ"),
        "{shown}"
    );
    assert!(!bank.path("ledger.jsonl").exists(), "the key was used");
    let (code, shown) = on_terminal("jwt mint --yes-print");
    assert_eq!(code, 0, "{shown}");
    assert!(shown.contains("eyJ"), "{shown}");
}

#[test]
fn show_decodes_and_never_prints_the_signature() {
    let bank = bank_with_sig4("");
    let token = minted(bank.run(&["jwt", "mint"]));
    let (_, claims) = decoded(&token);
    let file = bank.write("token", &format!("{token}\n"));
    let file = file.to_str().unwrap();
    let shown = bank.run(&["jwt", "show", file]).expect(0).stdout;
    let signature = token.rsplit_once('.').unwrap().1;
    for secret in [signature, &token] {
        assert!(!shown.contains(secret), "{shown}");
    }
    for part in ["PS256", claims["jti"].as_str().unwrap(), ORGANIZATION, "Z)"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let report = bank.run(&["jwt", "show", "--json", file]).expect(0);
    assert_eq!(report.json()["claims"], claims);
    assert!(!report.stdout.contains(signature));
    // What is no token: told without a part of it.
    let (input, _) = token.rsplit_once('.').unwrap();
    for text in ["", input, &format!("Bearer {token}"), "a.b.c", "\u{1b}[31m"] {
        bank.write("token", text);
        for command in ["show", "verify"] {
            if command == "verify" && !text.is_empty() {
                continue;
            }
            let run = bank.run(&["jwt", command, file]).expect(2);
            assert_eq!(run.stdout, "");
            assert!(!run.stderr.contains(&token[..20]), "{}", run.stderr);
            assert!(!run.stderr.contains('\u{1b}'), "{}", run.stderr);
        }
    }
    bank.run(&["jwt", "show", "/nowhere"]).expect(2);
}

#[test]
fn a_token_of_another_time_or_key_set_is_not_accepted() {
    let bank = bank_with_sig4("");
    let token = minted(bank.run(&["jwt", "mint"]));
    let issued = decoded(&token).1["iat"].as_u64().unwrap();
    for (at, code) in [
        (issued - 11, 1),
        (issued - 10, 0),
        (issued + 39, 0),
        (issued + 40, 1),
    ] {
        let report = verify(&bank, &token, &["--at", &at.to_string()]);
        let report = report.expect(code).json();
        let expected: &[&str] = if code == 0 { &[] } else { &["iat, nbf, exp"] };
        assert_eq!(failed(&report), expected, "{report:#}");
        assert_eq!(report["accepted"], code == 0);
    }
    let report = verify(&bank, &token, &["--at", "2020-01-01T00:00:00Z"]);
    assert_eq!(failed(&report.expect(1).json()), ["iat, nbf, exp"]);
    verify(&bank, &token, &["--at", "yesterday"]).expect(2);
    // Without our key in the set.
    let file = bank.write("token", &token);
    let set = bank.write("other.jwks", &key_set(&[]));
    let arguments = ["jwt", "verify", "--json", file.to_str().unwrap(), "--jwks"];
    let run = bank.run(&[&arguments[..], &[set.to_str().unwrap()]].concat());
    let report = run.expect(1).json();
    assert_eq!(failed(&report), ["kid"], "{report:#}");
    assert_eq!(outcome(&report, "signature"), "not-reached");
}

/// The URL of `[sig4]` is used where no other set is named.
#[test]
fn the_published_set_verifies_a_token() {
    let (bank, keystore) = super::jwks_check::with_keystore();
    let set = key_set(&[&jwk(&bank, &certificate(&bank))]);
    super::jwks_check::publish(&keystore, &set);
    let token = minted(bank.run(&["jwt", "mint"]));
    let file = bank.write("token", &token);
    let arguments = ["jwt", "verify", file.to_str().unwrap()];
    let roots = bank.path("anchors.pem");
    let run = bank.run_with(&arguments, &[("SSL_CERT_FILE", &roots)]);
    let shown = run.expect(0).stdout;
    assert!(shown.contains("a hub accepts it"), "{shown}");
    // The machine's own roots do not know the keystore of the test.
    bank.run(&arguments).expect(5);
}

/// Programs read these names.
#[test]
fn the_names_in_the_json_are_a_contract() {
    let bank = bank_with_sig4("");
    let names = |report: &Value| {
        let names = report.as_object().unwrap().keys();
        names.cloned().collect::<Vec<_>>().join(" ")
    };
    let minted_json = bank.run(&["jwt", "mint", "--json"]).expect(0).json();
    assert_eq!(
        names(&minted_json),
        "aud exp expires iat issued jti kid schema"
    );
    let token = minted(bank.run(&["jwt", "mint"]));
    let file = bank.write("token", &token);
    let shown = bank.run(&["jwt", "show", "--json", file.to_str().unwrap()]);
    let shown = shown.expect(0).json();
    assert_eq!(names(&shown), "claims header schema seconds_left verified");
    let report = verify(&bank, &token, &[]).expect(0).json();
    assert_eq!(names(&report), "accepted at jwks schema skew_seconds steps");
    let steps = report["steps"].as_array().unwrap().iter();
    let steps: Vec<_> = steps.map(|step| step["name"].as_str().unwrap()).collect();
    assert_eq!(
        steps,
        [
            "form",
            "header",
            "kid",
            "signature",
            "iss",
            "sub",
            "aud",
            "iat, nbf, exp",
            "lifetime",
            "jti"
        ]
    );
}

/// Whoever verifies a token may have it from a pipe.
#[test]
fn a_token_is_read_from_standard_input() {
    let bank = bank_with_sig4("");
    let set = set_file(&bank);
    let binary = env!("CARGO_BIN_EXE_hsm-mtls");
    let line = format!(
        "'{binary}' jwt mint | tee piped | '{binary}' jwt verify - --jwks '{}' && '{binary}' jwt show <piped",
        set.display()
    );
    let output = Command::new("sh")
        .args(["-c", &line])
        .current_dir(bank.folder())
        .env("HSM_MTLS_CONFIG", bank.config_path())
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert!(
        shown.contains("a hub accepts it") && shown.contains("s are left"),
        "{shown}"
    );
}
