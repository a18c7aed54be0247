//! 20,000 P-256 signatures of the token, encoded by us, all accepted by OpenSSL.
//!
//! An encoder that gets a leading zero wrong fails one time in 256. So that OpenSSL need not be
//! started per signature, each is put into a certificate: the token's key plays a CA, and one
//! `openssl verify` takes thousands of leaves.

use std::fs;
use std::process::Command;
use std::sync::Arc;

use crate::common::bank::{Bank, config_of_child};
use der::{Decode, Encode};
use hsm_mtls::internal::engine::{Peer, Purpose, Sign, SignRequest};
use hsm_mtls::internal::identity;
use hsm_mtls::internal::key::scheme::Scheme;
use hsm_mtls::internal::ledger::Recorder;
use hsm_mtls::internal::token::Token;
use hsm_mtls::internal::token::guard::Attendance;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256,
    SerialNumber, SubjectPublicKeyInfo,
};

const COUNT: u64 = 20_000;
const PER_RUN: usize = 2_000;
const OUT: &str = "HSM_MTLS_TEST_OUT";

#[test]
fn openssl_accepts_twenty_thousand_signatures() {
    if config_of_child().is_some() {
        return sign_certificates();
    }
    let bank = Bank::new();
    bank.run(&["key", "generate", "--type", "p-256"]).expect(0);
    let out = bank.path("certificates");
    fs::create_dir(&out).unwrap();
    bank.run_test(
        openssl_accepts_twenty_thousand_signatures,
        &[(OUT, out.to_str().unwrap().to_owned())],
    );
    let leaves: Vec<_> = (0..COUNT).map(|serial| format!("{serial}.der")).collect();
    let mut accepted = 0;
    for batch in leaves.chunks(PER_RUN) {
        let verified = Command::new("openssl")
            .args(["verify", "-CAfile", "ca.pem"])
            .args(batch)
            .current_dir(&out)
            .output()
            .expect("openssl: install `openssl` (make test does)");
        let said = String::from_utf8(verified.stdout).unwrap();
        assert!(
            verified.status.success(),
            "{}",
            String::from_utf8_lossy(&verified.stderr)
        );
        accepted += said.lines().filter(|line| line.ends_with(": OK")).count();
    }
    assert_eq!(accepted, leaves.len());
    // The check can fail: a signature over something else is refused.
    let mut forged = fs::read(out.join("0.der")).unwrap();
    let other = fs::read(out.join("1.der")).unwrap();
    let (tbs, _) = split(&forged);
    let (_, signature) = split(&other);
    forged = certificate(&tbs, &signature);
    fs::write(out.join("forged.der"), forged).unwrap();
    let refused = Command::new("openssl")
        .args(["verify", "-CAfile", "ca.pem", "forged.der"])
        .current_dir(&out)
        .output()
        .unwrap();
    assert!(!refused.status.success());
}

/// In a process of its own: signs the CA's certificate and every leaf with the token.
fn sign_certificates() {
    let config = config_of_child().unwrap();
    let out = std::path::PathBuf::from(std::env::var_os(OUT).unwrap());
    let token = Token::open(&config.token, Attendance::Unattended, Recorder::NONE).unwrap();
    let signer = Arc::new(identity::engine_without_certificate(&config, &token).unwrap());
    let (ca, leaf) = templates(signer.public_key().spki());
    let ca = sign(signer.as_ref(), &ca);
    fs::write(out.join("ca.pem"), pem(&ca)).unwrap();
    let (mut zeros, mut long) = (0, 0);
    std::thread::scope(|scope| {
        let workers = [0, 1].map(|part| {
            let (signer, leaf, out) = (&signer, &leaf, &out);
            scope.spawn(move || {
                let mut shapes = (0, 0);
                for serial in (part..COUNT).step_by(2) {
                    let signed = sign(signer.as_ref(), &with_serial(leaf, serial));
                    let (_, signature) = split(&signed);
                    let r = usize::from(signature[3]);
                    let s = usize::from(signature[5 + r]);
                    shapes.0 += u32::from(r < 32 || s < 32);
                    shapes.1 += u32::from(signature.len() == 72);
                    fs::write(out.join(format!("{serial}.der")), signed).unwrap();
                }
                shapes
            })
        });
        for worker in workers {
            let shapes = worker.join().unwrap();
            zeros += shapes.0;
            long += shapes.1;
        }
    });
    // Of 20,000, some 78 have a number of fewer than 32 bytes, and a quarter has two sign bytes.
    assert!(zeros > 30 && long > 3_000, "{zeros} short, {long} long");
}

fn sign(signer: &dyn Sign, tbs: &[u8]) -> Vec<u8> {
    let request = SignRequest {
        message: tbs,
        scheme: Scheme::EcdsaP256Sha256,
        purpose: Purpose::SelfTest,
        deadline: signer.deadline(),
        peer: Peer::default(),
    };
    certificate(tbs, &signer.sign(&request).unwrap().bytes)
}

const SERIAL: [u8; 8] = *b"\x5eserial!";

/// To-be-signed parts of a CA certificate and of a leaf, with this public key as the issuer.
fn templates(spki: &[u8]) -> (Vec<u8>, Vec<u8>) {
    // rcgen wants to sign; what it signs is thrown away.
    let stand_in = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let public = SubjectPublicKeyInfo::from_der(spki).unwrap();
    let params = |name: &str| {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.serial_number = Some(SerialNumber::from_slice(&SERIAL));
        params
    };
    let mut ca = params("the token");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = Issuer::from_params(&ca, &stand_in);
    let tbs = |certificate: &rcgen::Certificate| split(certificate.der()).0;
    let leaf = params("a leaf").signed_by(&public, &issuer).unwrap();
    let ca_certificate = ca.signed_by(&public, &issuer).unwrap();
    (tbs(&ca_certificate), tbs(&leaf))
}

fn with_serial(tbs: &[u8], serial: u64) -> Vec<u8> {
    let at = tbs.windows(8).position(|window| window == SERIAL).unwrap();
    let mut tbs = tbs.to_vec();
    tbs[at + 1..at + 8].copy_from_slice(&serial.to_be_bytes()[1..]);
    tbs
}

/// A certificate's to-be-signed part and its signature.
fn split(certificate: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let parsed = x509_cert::Certificate::from_der(certificate).unwrap();
    let tbs = parsed.tbs_certificate().to_der().unwrap();
    (tbs, parsed.signature().raw_bytes().to_vec())
}

fn certificate(tbs: &[u8], signature: &[u8]) -> Vec<u8> {
    let ecdsa_with_sha256: &[u8] = b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02";
    let bits = [&[0x03, signature.len() as u8 + 1, 0], signature].concat();
    let body = [tbs, ecdsa_with_sha256, &bits].concat();
    [&[0x30, 0x82], &(body.len() as u16).to_be_bytes()[..], &body].concat()
}

fn pem(der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}
