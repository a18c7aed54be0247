//! Wrong certificates: `cert install` refuses each, the one that was installed stays; and one that
//! was put there by hand is refused at the start, with the same words.

use std::fs;

use crate::common::bank::Bank;
use crate::common::error_report;
use crate::common::trust_framework::{Kind, TrustFramework};
use insta::assert_snapshot;
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, date_time_ymd,
};

/// A bank that has a good certificate, so that there is something to lose.
fn certified() -> Bank {
    let bank = Bank::new();
    bank.certify("p-256");
    bank
}

/// A certificate for the bank's key with something changed.
fn edited(bank: &Bank, edit: fn(&mut CertificateParams)) -> String {
    bank.framework.issue_client_with(&bank.csr(), edit)
}

/// What `cert install` says of a file. Nothing is lost: the old certificate stays to the byte.
fn install(bank: &Bank, given: impl AsRef<[u8]>) -> String {
    let file = bank.path("given.pem");
    fs::write(&file, given).unwrap();
    let old = fs::read(bank.path("c3.pem")).unwrap();
    let names = || {
        let entries = fs::read_dir(bank.folder()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = names();
    let run = bank.run(&["cert", "install", "--json", file.to_str().unwrap()]);
    assert_eq!(fs::read(bank.path("c3.pem")).unwrap(), old);
    assert_eq!(names(), before);
    error_report::of(bank, &run)
}

/// What `token check` says where a file was put into the configured place by hand; `verify` says the
/// same.
fn by_hand(bank: &Bank, given: impl AsRef<[u8]>) -> String {
    fs::write(bank.path("c3.pem"), given).unwrap();
    let check = bank.run(&["token", "check", "--json", "-n", "1"]);
    let sign = error_report::of(bank, &check);
    let verify = bank.run(&["verify"]);
    let said = error_report::plain(bank, &(verify.stdout + &verify.stderr));
    assert_eq!(verify.code, check.code, "{said}");
    for line in sign.lines().skip(2) {
        let line = line.trim_start_matches("hint: ");
        assert!(said.contains(line), "{line}\n{said}");
    }
    sign
}

/// Some tokens tell the public key of a private one, and RSA keys do by nature.
#[test]
fn of_another_key_by_what_the_token_says() {
    let bank = Bank::new();
    bank.certify("rsa-2048");
    let stranger = Bank::new();
    stranger.run(&["key", "generate"]).expect(0);
    let leaf = bank.framework.issue_client(&stranger.csr());
    assert_snapshot!(install(&bank, &leaf), @r#"
    exit 2
    the certificate is of the public key sha256:<hash>, and no private key that matches pkcs11:object=c3;type=private has it: pkcs11:token=lfi;serial=<serial>;object=c3;id=<id>;type=private (sha256:<hash 2>)
    hint: install the certificate that was issued for this key's request (`hsm-mtls cert install`), or correct `key` of [c3]
    "#);
    assert_snapshot!(by_hand(&bank, &leaf), @r#"
    exit 2
    step key
    the certificate is of the public key sha256:<hash>, and no private key that matches pkcs11:object=c3;type=private has it: pkcs11:token=lfi;serial=<serial>;object=c3;id=<id>;type=private (sha256:<hash 2>)
    hint: install the certificate that was issued for this key's request (`hsm-mtls cert install`), or correct `key` of [c3]
    "#);
}

#[test]
fn of_another_key_by_a_challenge() {
    let bank = certified();
    let stranger = Bank::new();
    stranger
        .run(&["key", "generate", "--type", "p-256"])
        .expect(0);
    let leaf = bank.framework.issue_client(&stranger.csr());
    assert_snapshot!(install(&bank, &leaf), @r#"
    exit 2
    the key pkcs11:token=lfi;serial=<serial>;object=c3;id=<id>;type=private did not sign a challenge that the certificate's public key verifies: they are no pair, or the token signs wrongly
    hint: install the certificate that was issued for this key (`hsm-mtls cert install`), or correct `key` of [c3]
    "#);
    assert_snapshot!(by_hand(&bank, &leaf), @r#"
    exit 2
    step pair
    the key pkcs11:token=lfi;serial=<serial>;object=c3;id=<id>;type=private did not sign a challenge that the certificate's public key verifies: they are no pair, or the token signs wrongly
    hint: install the certificate that was issued for this key (`hsm-mtls cert install`), or correct `key` of [c3]
    "#);
}

#[test]
fn expired() {
    let bank = certified();
    let leaf = edited(&bank, |params| {
        params.not_before = date_time_ymd(2019, 1, 1);
        params.not_after = date_time_ymd(2020, 1, 1);
    });
    assert_snapshot!(install(&bank, &leaf), @r#"
    exit 2
    the certificate C=AE, O=Bank\, \"A\" & Söhne P.J.S.C., OU=b0a6f9ad-3c5d-4f0e-9a57-1d2f6a1c7e10, CN=5d1c2e0b-7a4f-4b8e-8f63-2c9e1b7d4a55 expired on 2020-01-01T00:00:00Z
    hint: request a new one (`hsm-mtls csr`) and install it; check this machine's clock too
    "#);
    assert_snapshot!(by_hand(&bank, &leaf), @r#"
    exit 2
    step certificate
    the certificate C=AE, O=Bank\, \"A\" & Söhne P.J.S.C., OU=b0a6f9ad-3c5d-4f0e-9a57-1d2f6a1c7e10, CN=5d1c2e0b-7a4f-4b8e-8f63-2c9e1b7d4a55 expired on 2020-01-01T00:00:00Z
    hint: request a new one (`hsm-mtls csr`) and install it; check this machine's clock too
    "#);
}

#[test]
fn not_yet_valid() {
    let bank = certified();
    let leaf = edited(&bank, |params| {
        params.not_before = date_time_ymd(2090, 1, 1);
        params.not_after = date_time_ymd(2091, 1, 1);
    });
    assert_snapshot!(install(&bank, &leaf), @r#"
    exit 2
    the certificate C=AE, O=Bank\, \"A\" & Söhne P.J.S.C., OU=b0a6f9ad-3c5d-4f0e-9a57-1d2f6a1c7e10, CN=5d1c2e0b-7a4f-4b8e-8f63-2c9e1b7d4a55 is not valid before 2090-01-01T00:00:00Z
    hint: check this machine's clock; if it is right, wait until then, and keep the certificate that is installed
    "#);
    assert_snapshot!(by_hand(&bank, &leaf), @r#"
    exit 2
    step certificate
    the certificate C=AE, O=Bank\, \"A\" & Söhne P.J.S.C., OU=b0a6f9ad-3c5d-4f0e-9a57-1d2f6a1c7e10, CN=5d1c2e0b-7a4f-4b8e-8f63-2c9e1b7d4a55 is not valid before 2090-01-01T00:00:00Z
    hint: check this machine's clock; if it is right, wait until then, and keep the certificate that is installed
    "#);
}

#[test]
fn without_client_auth() {
    let bank = certified();
    let leaf = edited(&bank, |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    assert_snapshot!(install(&bank, &leaf), @r#"
    exit 2
    the certificate C=AE, O=Bank\, \"A\" & Söhne P.J.S.C., OU=b0a6f9ad-3c5d-4f0e-9a57-1d2f6a1c7e10, CN=5d1c2e0b-7a4f-4b8e-8f63-2c9e1b7d4a55 is not for TLS clients: extendedKeyUsage has no clientAuth
    hint: the C3 transport certificate is for clients; is this the Sig4 or a server's certificate?
    "#);
    assert_snapshot!(by_hand(&bank, &leaf), @r#"
    exit 2
    step certificate
    the certificate C=AE, O=Bank\, \"A\" & Söhne P.J.S.C., OU=b0a6f9ad-3c5d-4f0e-9a57-1d2f6a1c7e10, CN=5d1c2e0b-7a4f-4b8e-8f63-2c9e1b7d4a55 is not for TLS clients: extendedKeyUsage has no clientAuth
    hint: the C3 transport certificate is for clients; is this the Sig4 or a server's certificate?
    "#);
}

#[test]
fn of_the_other_environment() {
    let bank = certified();
    let production = TrustFramework::new(Kind::Production);
    let chain = production.issue_client(&bank.csr()) + &production.issuing_pem();
    assert_snapshot!(install(&bank, &chain), @r#"
    exit 2
    the certificate was issued by C=AE, O=Nebras Open Finance Company, OU=Al Tareq Trust Framework, CN=Al Tareq Production Trust Framework Root CA - G1, which is not of the preprod anchors (C=AE, O=Nebras Open Finance Company, OU=Al Tareq Trust Framework, CN=Al Tareq Sandbox Trust Framework Issuing CA - G1; C=AE, O=Nebras Open Finance Company, OU=Al Tareq Trust Framework, CN=Al Tareq Sandbox Trust Framework Root CA - G1)
    hint: the preprod hub takes certificates of the Sandbox Trust Framework only; is this one of the other environment, or are the anchors?
    "#);
    assert_snapshot!(by_hand(&bank, &chain), @r#"
    exit 2
    step certificate
    the certificate was issued by C=AE, O=Nebras Open Finance Company, OU=Al Tareq Trust Framework, CN=Al Tareq Production Trust Framework Root CA - G1, which is not of the preprod anchors (C=AE, O=Nebras Open Finance Company, OU=Al Tareq Trust Framework, CN=Al Tareq Sandbox Trust Framework Issuing CA - G1; C=AE, O=Nebras Open Finance Company, OU=Al Tareq Trust Framework, CN=Al Tareq Sandbox Trust Framework Root CA - G1)
    hint: the preprod hub takes certificates of the Sandbox Trust Framework only; is this one of the other environment, or are the anchors?
    "#);
}

#[test]
fn of_a_namesake_of_the_issuing_ca() {
    let bank = certified();
    let namesake = TrustFramework::new(Kind::Sandbox);
    let chain = namesake.issue_client(&bank.csr()) + &namesake.issuing_pem();
    assert_snapshot!(install(&bank, &chain), @r#"
    exit 2
    the certificate's chain does not verify: C=AE, O=Nebras Open Finance Company, OU=Al Tareq Trust Framework, CN=Al Tareq Sandbox Trust Framework Root CA - G1 is named as the issuer of C=AE, O=Nebras Open Finance Company, OU=Al Tareq Trust Framework, CN=Al Tareq Sandbox Trust Framework Issuing CA - G1, but did not sign it
    hint: fetch the Trust Framework's bundle anew for `anchors` of [trust]: a CA with a new key keeps its name. If that changes nothing, the certificate is not of this Trust Framework
    "#);
    assert_snapshot!(by_hand(&bank, &chain), @r#"
    exit 2
    step certificate
    the certificate's chain does not verify: C=AE, O=Nebras Open Finance Company, OU=Al Tareq Trust Framework, CN=Al Tareq Sandbox Trust Framework Root CA - G1 is named as the issuer of C=AE, O=Nebras Open Finance Company, OU=Al Tareq Trust Framework, CN=Al Tareq Sandbox Trust Framework Issuing CA - G1, but did not sign it
    hint: fetch the Trust Framework's bundle anew for `anchors` of [trust]: a CA with a new key keeps its name. If that changes nothing, the certificate is not of this Trust Framework
    "#);
}

#[test]
fn without_the_issuing_ca_in_file_and_anchors() {
    let bank = certified();
    let leaf = bank.issue();
    let bundle = bank.framework.bundle_pem();
    let issuing = bank.framework.issuing_pem();
    bank.write("anchors.pem", bundle.strip_prefix(&issuing).unwrap());
    assert_snapshot!(install(&bank, &leaf), @r#"
    exit 2
    the certificate's issuer is missing: C=AE, O=Nebras Open Finance Company, OU=Al Tareq Trust Framework, CN=Al Tareq Sandbox Trust Framework Issuing CA - G1 is neither behind it in the file nor in `anchors` (C=AE, O=Nebras Open Finance Company, OU=Al Tareq Trust Framework, CN=Al Tareq Sandbox Trust Framework Root CA - G1)
    hint: add the Issuing CA's certificate to `anchors` of [trust], as in the Trust Framework's bundle, or to the file behind the C3
    "#);
    assert_snapshot!(by_hand(&bank, &leaf), @r#"
    exit 2
    step certificate
    the certificate's issuer is missing: C=AE, O=Nebras Open Finance Company, OU=Al Tareq Trust Framework, CN=Al Tareq Sandbox Trust Framework Issuing CA - G1 is neither behind it in the file nor in `anchors` (C=AE, O=Nebras Open Finance Company, OU=Al Tareq Trust Framework, CN=Al Tareq Sandbox Trust Framework Root CA - G1)
    hint: add the Issuing CA's certificate to `anchors` of [trust], as in the Trust Framework's bundle, or to the file behind the C3
    "#);
    // In either of the two places it is enough.
    let chain = bank.write("chain.pem", &(leaf.clone() + &issuing));
    bank.run(&["cert", "install", chain.to_str().unwrap()])
        .expect(0);
    bank.write("anchors.pem", &bundle);
    let leaf = bank.write("leaf.pem", &leaf);
    bank.run(&["cert", "install", leaf.to_str().unwrap()])
        .expect(0);
}

#[test]
fn of_a_ca() {
    let bank = certified();
    let issuing = bank.framework.issuing_pem();
    assert_snapshot!(install(&bank, &issuing), @r#"
    exit 2
    the certificate C=AE, O=Nebras Open Finance Company, OU=Al Tareq Trust Framework, CN=Al Tareq Sandbox Trust Framework Issuing CA - G1 is not for TLS clients: it is a CA certificate
    hint: give the file with the C3 certificate first, and the CA that issued it behind it
    "#);
    assert_snapshot!(by_hand(&bank, &issuing), @r#"
    exit 2
    step certificate
    the certificate C=AE, O=Nebras Open Finance Company, OU=Al Tareq Trust Framework, CN=Al Tareq Sandbox Trust Framework Issuing CA - G1 is not for TLS clients: it is a CA certificate
    hint: give the file with the C3 certificate first, and the CA that issued it behind it
    "#);
    // Also where it has the bank's own key.
    let ca = edited(&bank, |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    });
    assert!(install(&bank, &ca).contains("it is a CA certificate"));
}

#[test]
fn not_pem() {
    let bank = certified();
    assert_snapshot!(install(&bank, "<html>Sign in to the directory</html>"), @r#"
    exit 2
    <bank>/given.pem holds no PEM certificate: it is an HTML page
    hint: the download failed, or wants a login: fetch the certificate anew from the Trust Framework, and look at the file before you give it (-----BEGIN CERTIFICATE-----)
    "#);
    assert_snapshot!(install(&bank, ""), @r#"
    exit 2
    <bank>/given.pem holds no PEM certificate: it is empty
    hint: the download failed, or wants a login: fetch the certificate anew from the Trust Framework, and look at the file before you give it (-----BEGIN CERTIFICATE-----)
    "#);
    assert_snapshot!(by_hand(&bank, "Dear customer"), @r#"
    exit 2
    step certificate
    <bank>/c3.pem holds no PEM certificate
    hint: give the PEM file that the Trust Framework issued (-----BEGIN CERTIFICATE-----); it is taken in DER too
    "#);
}

#[test]
fn damaged() {
    let bank = certified();
    let leaf = bank.issue();
    let cut: String = leaf
        .lines()
        .take(6)
        .map(|line| format!("{line}\n"))
        .collect();
    assert_snapshot!(install(&bank, &cut), @r#"
    exit 2
    <bank>/given.pem holds a certificate that cannot be used: a PEM block has no end
    hint: look at it with `openssl x509 -text`; fetch it anew from the Trust Framework
    "#);
    let lines: Vec<_> = leaf.lines().collect();
    let without_a_line = [&lines[..3], &lines[4..]].concat().join("\n");
    let said = install(&bank, without_a_line);
    assert!(said.contains("holds a certificate that cannot be used: "));
    assert_snapshot!(by_hand(&bank, &cut), @r#"
    exit 2
    step certificate
    <bank>/c3.pem holds a certificate that cannot be used: a PEM block has no end
    hint: look at it with `openssl x509 -text`; fetch it anew from the Trust Framework
    "#);
}

#[test]
fn with_a_private_key_in_the_file() {
    let bank = certified();
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let both = bank.issue() + &key.serialize_pem();
    assert_snapshot!(install(&bank, &both), @r#"
    exit 2
    <bank>/given.pem holds a private key
    hint: a private key outside the token is not used, and is to be treated as exposed: make a new one with `hsm-mtls key generate`, and give a file of certificates only
    "#);
    assert_snapshot!(by_hand(&bank, &both), @r#"
    exit 2
    step certificate
    <bank>/c3.pem holds a private key
    hint: a private key outside the token is not used, and is to be treated as exposed: make a new one with `hsm-mtls key generate`, and give a file of certificates only
    "#);
}

#[test]
fn none_in_the_token_yet() {
    let mut bank = certified();
    bank.configure(|settings| settings.certificate = "pkcs11:object=c3;type=cert".to_owned());
    let run = bank.run(&["token", "check", "--json", "-n", "1"]);
    assert_snapshot!(error_report::of(&bank, &run), @r#"
    exit 2
    step certificate
    no certificate in the token matches pkcs11:object=c3;type=cert
    hint: put it there with `hsm-mtls cert install FILE`, or correct `certificate` of [c3]
    "#);
}

#[test]
fn anchors_of_the_other_environment() {
    let mut bank = certified();
    let leaf = bank.issue();
    bank.configure(|settings| settings.environment = "production");
    assert_snapshot!(install(&bank, &leaf), @r#"
    exit 2
    the anchors hold C=AE, O=Nebras Open Finance Company, OU=Al Tareq Trust Framework, CN=Al Tareq Sandbox Trust Framework Issuing CA - G1, which is not of the production environment
    hint: give the bundle of the Production Trust Framework, or correct `environment`
    "#);
}
