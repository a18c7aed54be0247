//! Sig4 in a token of its own: its outage costs the service that wants tokens, and handshakes with the C3 key go on, also in a signer
//! process that starts meanwhile.

use std::fs;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::common::bank::Bank;
use crate::common::chaos::Chaos;
use crate::common::hub::{Hub, HubOptions};
use crate::common::poll::{found_within, until};
use crate::common::proxy::{Proxy, body};
use crate::common::sig4;
use crate::common::signer_process::signers;
use crate::common::softhsm::MODULE;

const PATIENCE: Duration = Duration::from_secs(50);

/// A bank with a module for each key: a copy of SoftHSM for C3's, because one process has each library once.
fn scene() -> (Bank, Hub, Chaos, Proxy) {
    let mut bank = Bank::new();
    bank.certify("rsa-2048");
    bank.token.initialize("signing");
    let first = format!("pkcs11:token={}", bank.token.label());
    bank.configure(|settings| settings.token_uri = "pkcs11:token=signing".to_owned());
    sig4::certify(&mut bank, "rsa-2048");
    let hub = Hub::start_in_thread(HubOptions::of(&bank.framework, &["localhost", "127.0.0.1"]));
    bank.hub_at(hub.port());
    let copy = bank.path("module/softhsm.so");
    fs::create_dir_all(copy.parent().unwrap()).unwrap();
    fs::copy(MODULE, &copy).unwrap();
    let chaos = Chaos::between(&mut bank, "");
    let of_sig4 = bank.module().to_owned();
    bank.configure(|settings| {
        settings.token_uri = first;
        settings.module = copy;
    });
    let sections = format!(
        "{}token = \"signing\"\n[[token]]\nname = \"signing\"\nmodule = \"{}\"\nuri = \"pkcs11:token=signing\"\n\
         pin = {{ file = \"{}\" }}\nstate_dir = \"state\"\nenv = {{ SOFTHSM2_CONF = \"{}\" }}\n",
        sig4::section(""),
        of_sig4.display(),
        bank.token.pin_file().display(),
        bank.token.conf().display(),
    );
    // Each request has a handshake of its own.
    let lines = "jwt = \"cm\"\nwarm_connections = 0\nmax_age = \"1ms\"";
    let ports = Proxy::configure(&mut bank, lines, &sections);
    let proxy = Proxy::start_with(&bank, ports, &chaos.environment());
    (bank, hub, chaos, proxy)
}

fn cm_is_good(proxy: &Proxy) -> bool {
    proxy.get("/cm/consents/1").0 == 200
}

#[test]
fn an_outage_of_the_second_token_is_none_of_the_first() {
    let (bank, hub, chaos, proxy) = scene();
    until("a token", || cm_is_good(&proxy));
    chaos.plan("vanished");
    let failed = found_within(PATIENCE, || {
        let (code, answer) = proxy.get("/cm/consents/1");
        (code != 200).then(|| (code, body(&answer)))
    });
    let (code, problem) = failed.expect("the stock is used up");
    assert_eq!(
        (code, &problem["stage"]),
        (503, &"token-down".into()),
        "{problem:#}"
    );
    let handshakes = hub.connections().len();
    assert_eq!(proxy.get("/hh/auth").0, 303);
    assert!(hub.connections().len() > handshakes);
    until("it is reported", || proxy.ready()["jwt"]["good"] == false);
    assert_eq!(proxy.ready()["token"]["good"], true, "{:#}", proxy.ready());

    // A signer that starts meanwhile has the first key.
    let before = signers(&bank);
    for signer in &before {
        let pid = Pid::from_raw(i32::try_from(*signer).unwrap()).unwrap();
        kill_process(pid, Signal::KILL).unwrap();
    }
    let healed = found_within(PATIENCE, || (proxy.get("/hh/auth").0 == 303).then_some(()));
    assert_eq!(healed, Some(()), "{}", proxy.log());
    until("another signer", || {
        signers(&bank) != before && signers(&bank).len() == 1
    });
    let (code, answer) = proxy.get("/cm/consents/1");
    assert_eq!(code, 503, "{answer}");
    assert_eq!(proxy.get("/hh/auth").0, 303);

    chaos.plan("");
    let healed = found_within(PATIENCE, || cm_is_good(&proxy).then_some(()));
    assert_eq!(healed, Some(()), "{:#}\n{}", proxy.ready(), proxy.log());
    until("it is reported", || proxy.ready()["jwt"]["good"] == true);
}
