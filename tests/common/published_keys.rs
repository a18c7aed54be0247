//! A bank that has the Sig4 key beside C3, and the JSON Web Keys that a keystore publishes for it.

use std::fs;
use std::process::Command;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};

use super::bank::Bank;

pub const AUDIENCE: &str = "provider-7c1d";

/// A bank with certified C3 and Sig4 keys in one token, and further lines of `[sig4]`.
pub fn bank_with_sig4(lines: &str) -> Bank {
    bank_with_sig4_at("sig4.pem", lines)
}

/// The same with the Sig4 certificate in this place.
pub fn bank_with_sig4_at(certificate: &str, lines: &str) -> Bank {
    let mut bank = Bank::new();
    bank.certify("rsa-2048");
    let key = "pkcs11:object=sig4;type=private";
    bank.configure(|settings| {
        settings.key = key.to_owned();
        settings.certificate = certificate.to_owned();
    });
    bank.certify("rsa-2048");
    bank.configure(|settings| {
        settings.key = "pkcs11:object=c3;type=private".to_owned();
        settings.certificate = "c3.pem".to_owned();
    });
    set_sig4(&mut bank, certificate, lines);
    bank
}

/// Configures `[sig4]` anew, and a ledger.
pub fn set_sig4(bank: &mut Bank, certificate: &str, lines: &str) {
    let sections = format!(
        "[ledger]\nfile = \"ledger.jsonl\"\nfsync = \"interval\"\n\n[sig4]\nkey = \"pkcs11:object=sig4;type=private\"\n\
         certificate = \"{certificate}\"\naudience = \"{AUDIENCE}\"\n{lines}\n"
    );
    bank.configure(|settings| settings.sections = sections);
}

/// `x5t#S256` of a certificate in PEM.
pub fn kid(pem: &str) -> String {
    let hash = digest::digest(&digest::SHA256, &der(pem));
    URL_SAFE_NO_PAD.encode(hash)
}

fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate in PEM")
}

/// The installed Sig4 certificate.
pub fn certificate(bank: &Bank) -> String {
    fs::read_to_string(bank.path("sig4.pem")).expect("the Sig4 certificate")
}

/// The JWK of a certificate, as a keystore publishes it. Its modulus is read by `openssl`.
pub fn jwk(bank: &Bank, pem: &str) -> Value {
    let path = bank.write("jwk.pem", pem);
    let output = Command::new("openssl")
        .args(["x509", "-noout", "-modulus", "-in"])
        .arg(path)
        .output()
        .expect("openssl is installed");
    let text = String::from_utf8(output.stdout).expect("hex");
    let hex = text.trim().strip_prefix("Modulus=").expect("a modulus");
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex");
    let modulus: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
    json!({
        "kty": "RSA", "use": "sig", "alg": "PS256",
        "kid": kid(pem),
        "n": URL_SAFE_NO_PAD.encode(modulus),
        "e": "AQAB",
        "x5c": [STANDARD.encode(der(pem))],
        "x5t#S256": kid(pem),
    })
}

pub fn key_set(keys: &[&Value]) -> String {
    json!({ "keys": keys }).to_string()
}

/// The outcome of a step of a report.
pub fn outcome<'a>(report: &'a Value, step: &str) -> &'a str {
    let steps = report["steps"].as_array().expect("steps");
    let found = steps.iter().find(|found| found["name"] == step);
    let found = found.unwrap_or_else(|| panic!("no step {step}: {report:#}"));
    found["outcome"].as_str().expect("an outcome")
}

/// The steps that failed.
pub fn failed(report: &Value) -> Vec<&str> {
    let steps = report["steps"].as_array().expect("steps").iter();
    steps
        .filter(|step| step["outcome"] == "bad")
        .filter_map(|step| step["name"].as_str())
        .collect()
}
