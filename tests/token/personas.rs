//! The whole path of an operator on families of HSMs that are simulated from documents (chaos-token's personas), or the
//! refusal that names the vendor's tool.

use std::str::FromStr;
use std::thread;

use hsm_mtls::internal::config::uri::Pkcs11Uri;

use crate::common::bank::{Bank, config_of_child};
use crate::common::chaos::Chaos;
use crate::common::nginx::{Nginx, NginxOptions, Protocols};
use crate::common::openssl::OpenSsl;
use crate::common::persona::{Persona, install_certificate};
use crate::common::poll::until;
use crate::common::proxy::Proxy;
use crate::common::token_objects;
use crate::common::whole_path::{Outputs, check_and_verify, requests_on_new_connections};

fn hub(bank: &mut Bank, protocols: Protocols, requests_per_connection: u32) -> Nginx {
    let options = NginxOptions {
        protocols,
        requests_per_connection,
        ..NginxOptions::of(&bank.framework, &["localhost", "127.0.0.1"])
    };
    let hub = Nginx::start(&options);
    bank.hub_at(hub.port());
    hub
}

/// From an empty token to requests through the proxy, each on a connection of its own.
fn whole_path(name: &str, key_type: &str) -> (Bank, Chaos) {
    let persona = Persona::named(name);
    let (mut bank, chaos) = persona.bank();
    bank.run(&["token", "list"]).expect(0);
    persona.generate(&bank, key_type).expect(0);
    use_key(&mut bank, &chaos);
    (bank, chaos)
}

/// The same with a key that is there.
fn use_key(bank: &mut Bank, chaos: &Chaos) {
    let keys = bank.run(&["key", "list", "--json"]).expect(0).json();
    assert_eq!(keys["keys"].as_array().unwrap().len(), 1, "{keys:#}");
    install_certificate(bank);
    check_and_verify(bank, Outputs::of(String::new()));
    chaos.forget_calls();
    requests_on_new_connections(bank);
}

/// What the proxy did for all its requests, counted at the module.
fn one_login_and_few_sessions(chaos: &Chaos) {
    assert_eq!(chaos.calls("C_Login"), 1);
    let opened = chaos.calls("C_OpenSession");
    assert!(opened <= 8, "{opened} sessions");
}

#[test]
fn aws_cloudhsm() {
    let (bank, chaos) = whole_path("aws", "rsa-2048");
    one_login_and_few_sessions(&chaos);
    // A CKA_ID of another key is refused; the new one has another.
    let second = ["key", "generate", "--type", "p-256", "--label", "another"];
    bank.run(&second).expect(0);
}

#[test]
fn azure_cloud_hsm() {
    let (_, chaos) = whole_path("azure-cloud", "rsa-2048");
    one_login_and_few_sessions(&chaos);
}

#[test]
fn luna_in_fips_mode() {
    let (_, chaos) = whole_path("luna", "rsa-2048");
    one_login_and_few_sessions(&chaos);
}

#[test]
fn nethsm() {
    whole_path("nethsm", "rsa-2048");
}

#[test]
fn yubihsm_2() {
    let (_, chaos) = whole_path("yubihsm", "rsa-2048");
    one_login_and_few_sessions(&chaos);
}

#[test]
fn nshield_with_an_operator_card() {
    let (_, chaos) = whole_path("nshield", "rsa-2048");
    one_login_and_few_sessions(&chaos);
}

#[test]
fn cryptoauthlib() {
    let (_, chaos) = whole_path("cryptoauthlib", "p-256");
    one_login_and_few_sessions(&chaos);
}

/// Makes a key that needs no login, as the vendor's tool does; in the child process, and `true` there.
fn is_vendors_tool() -> bool {
    if config_of_child().is_none() {
        return false;
    }
    token_objects::generate_unprotected_p256("c3");
    true
}

#[test]
fn google_kms() {
    if is_vendors_tool() {
        return;
    }
    let (mut bank, chaos) = Persona::named("google").bank();
    let refused = Persona::named("google").generate(&bank, "p-256").expect(3);
    assert!(refused.stderr.contains("gcloud"), "{refused:?}");
    bank.run_test(google_kms, &[]);
    // EC_SIGN_P256_SHA256
    chaos.plan(&Persona::named("google").plan("signs-only CKM_ECDSA CKM_SHA256"));
    use_key(&mut bank, &chaos);
    assert_eq!(chaos.calls("C_Login"), 0, "no login is required");
}

#[test]
fn nshield_without_a_card() {
    if is_vendors_tool() {
        return;
    }
    let persona = Persona::named("nshield-accelerator");
    let (mut bank, chaos) = persona.bank();
    let refused = persona.generate(&bank, "p-256").expect(3);
    assert!(refused.stderr.contains("generatekey"), "{refused:?}");
    bank.run_test(nshield_without_a_card, &[]);
    use_key(&mut bank, &chaos);
    assert_eq!(chaos.calls("C_Login"), 0, "C_Login always fails there");
}

#[test]
fn nshield_in_fips_level_3() {
    let persona = Persona::named("nshield");
    let (bank, chaos) = persona.bank();
    chaos.plan(&persona.plan("fail C_GenerateKeyPair all 0x800000e0"));
    let refused = persona.generate(&bank, "rsa-2048").expect(3);
    assert!(refused.stderr.contains("generatekey"), "{refused:?}");
}

/// CryptoAuthLib has a table of sessions, and when it is full says CKR_HOST_MEMORY where others say CKR_SESSION_COUNT: the token is not lost.
#[test]
fn sessions_of_cryptoauthlib_run_out() {
    let persona = Persona::named("cryptoauthlib");
    let (mut bank, chaos) = persona.bank();
    persona.certify(&bank, "p-256");
    let _hub = hub(&mut bank, Protocols::Both, 1);
    let ports = Proxy::configure(&mut bank, "warm_connections = 0", "");
    let proxy = Proxy::start(&bank, ports);
    assert_eq!(proxy.get("/cm/hello-mtls").0, 200);
    // Other processes have the rest of the table; and slow enough for one session not to be sufficient.
    let full = "fail C_OpenSession all CKR_HOST_MEMORY\ndelay C_Sign 40ms";
    chaos.plan(&persona.plan(full));
    chaos.forget_calls();
    let statuses: Vec<u16> = thread::scope(|scope| {
        let request = || proxy.get("/cm/hello-mtls").0;
        let requests: Vec<_> = (0..24).map(|_| scope.spawn(request)).collect();
        requests
            .into_iter()
            .map(|request| request.join().unwrap())
            .collect()
    });
    assert_eq!(statuses, [200; 24], "{}", proxy.log());
    assert_eq!(chaos.calls("C_Login"), 0, "{}", proxy.log());
    assert!(chaos.calls("C_OpenSession") > 0, "none was wanted");
}

/// A key of Cloud KMS has one algorithm and one hash: here RSA-PSS with SHA-256, and no PKCS#1 v1.5.
#[test]
fn google_kms_with_a_pss_key() {
    if config_of_child().is_some() {
        return token_objects::generate_unprotected_rsa("c3");
    }
    let persona = Persona::named("google");
    let (mut bank, chaos) = persona.bank();
    bank.run_test(google_kms_with_a_pss_key, &[]);
    install_certificate(&bank);
    chaos.plan(&persona.plan("signs-only CKM_RSA_PKCS_PSS CKM_SHA256"));
    let _hub = hub(&mut bank, Protocols::Tls13, 1000);
    bank.run(&["verify"]).expect(0);
    // Other RSA keys sign a request by PKCS#1 v1.5.
    let request = bank.run(&["csr"]).expect(0);
    assert!(request.stderr.contains("RSA-PSS"), "{request:?}");
    let openssl = OpenSsl::new();
    openssl.write("request.pem", &request.stdout);
    openssl.run("req -in request.pem -verify -noout");
}

/// NetHSM answers from one of several instances: its serial number varies, and `identity` says that the label is the name.
#[test]
fn nethsm_with_another_serial_number() {
    let persona = Persona::named("nethsm");
    let (mut bank, chaos) = persona.bank();
    persona.certify(&bank, "p-256");
    let _hub = hub(&mut bank, Protocols::Both, 1);
    let ports = Proxy::configure(&mut bank, "warm_connections = 0", "");
    let proxy = Proxy::start(&bank, ports);
    for serial in ["4711", "unknown", "0815"] {
        chaos.plan(&(persona.plan("outage") + &format!("serial {serial}")));
        until("it is lost", || proxy.get("/cm/hello-mtls").0 != 200);
        chaos.plan(&(persona.plan("") + &format!("serial {serial}")));
        until("it is found again", || proxy.get("/cm/hello-mtls").0 == 200);
        bank.run(&["token", "check", "-n", "3"]).expect(0);
    }
}

/// States of a YubiHSM that a person has to end: each is named, and begins no loop of logins. Its CKA_ID are of two bytes.
#[test]
fn states_of_a_yubihsm() {
    let persona = Persona::named("yubihsm");
    let (bank, chaos) = persona.bank();
    persona.certify(&bank, "p-256");
    let key = bank.run(&["key", "list", "--json"]).expect(0).json();
    let uri = key["keys"][0]["uri"].as_str().unwrap().to_owned();
    assert_eq!(
        Pkcs11Uri::from_str(&uri).unwrap().id.map(|id| id.len()),
        Some(2),
        "{uri}"
    );
    for (code, said) in [
        ("CKR_DEVICE_MEMORY", "log of 62 entries"),
        ("CKR_FUNCTION_REJECTED", "CKR_FUNCTION_REJECTED"),
    ] {
        chaos.plan(&persona.plan(&format!("fail C_SignInit all {code}")));
        chaos.forget_calls();
        let refused = bank.run(&["csr"]).expect(3);
        assert!(refused.stderr.contains(said), "{refused:?}");
        let logins = chaos.calls("C_Login");
        assert!(logins <= 2, "{code}: {logins}, {refused:?}");
    }
}
