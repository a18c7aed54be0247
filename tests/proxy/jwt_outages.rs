//! JWT Auth while the token of the Sig4 key is away: the answer names the stage, and requests are sent again when it is back.

use std::time::{Duration, Instant};

use crate::common::bank::Bank;
use crate::common::chaos::Chaos;
use crate::common::hub::{Hub, HubOptions};
use crate::common::poll::{found_within, until};
use crate::common::procfs::launched;
use crate::common::proxy::{Proxy, body};
use crate::common::sig4;
use crate::common::signer_process::signers;

const PATIENCE: Duration = Duration::from_secs(50);

fn scene() -> (Bank, Hub, Chaos, Proxy) {
    let mut bank = Bank::new();
    bank.certify("rsa-2048");
    sig4::certify(&mut bank, "rsa-2048");
    let hub = Hub::start_in_thread(HubOptions::of(&bank.framework, &["localhost", "127.0.0.1"]));
    bank.hub_at(hub.port());
    bank.configure(|settings| settings.token_lines = "timeout = \"3s\"".to_owned());
    let ports = Proxy::configure(
        &mut bank,
        "jwt = \"both\"",
        &sig4::section("lifetime = \"10s\""),
    );
    let chaos = Chaos::between(&mut bank, "");
    let proxy = Proxy::start_with(&bank, ports, &chaos.environment());
    until("a first request", || proxy.get("/cm/consents/1").0 == 200);
    (bank, hub, chaos, proxy)
}

/// Asks until the stock is used up, and the answer is another than 200.
fn first_failure(proxy: &Proxy) -> (u16, serde_json::Value) {
    let failed = found_within(PATIENCE, || {
        let (code, answer) = proxy.get("/cm/consents/1");
        (code != 200).then(|| (code, body(&answer)))
    });
    failed.expect("tokens do not come from nowhere")
}

/// Asks until an answer is good again.
fn heals(proxy: &Proxy) {
    let mut last = String::new();
    let healed = found_within(PATIENCE, || {
        let (code, answer) = proxy.get("/cm/consents/1");
        last = answer;
        (code == 200).then_some(())
    });
    assert_eq!(healed, Some(()), "{last}\n{}", proxy.log());
}

#[test]
fn a_token_that_fails_is_a_503_with_its_stage_and_heals() {
    let (_bank, _hub, chaos, proxy) = scene();
    chaos.plan("fail C_SignInit all CKR_DEVICE_ERROR");
    let (code, problem) = first_failure(&proxy);
    assert_eq!(
        (code, &problem["stage"]),
        (503, &"token-down".into()),
        "{problem:#}"
    );
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("no token of JWT Auth"),
        "{problem:#}"
    );
    let (_, answer) = proxy.get("/cm/consents/1");
    assert!(answer.contains("retry-after: 1"), "{answer}");
    chaos.plan("");
    let back = Instant::now();
    let healed = found_within(PATIENCE, || {
        (proxy.get("/cm/consents/1").0 == 200).then_some(())
    });
    assert_eq!(healed, Some(()), "{}", proxy.log());
    assert!(
        back.elapsed() < Duration::from_secs(10),
        "{:?}",
        back.elapsed()
    );
}

#[test]
fn a_signer_that_is_killed_or_hangs_costs_what_it_holds_and_no_more() {
    let (bank, _hub, chaos, proxy) = scene();
    let before = signers(&bank);
    for signer in &before {
        let pid = rustix::process::Pid::from_raw(i32::try_from(*signer).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }
    heals(&proxy);
    until("another signer", || {
        signers(&bank) != before && !signers(&bank).is_empty()
    });
    assert!(!launched(proxy.pid()).is_empty());

    chaos.plan("hang C_Sign 1..");
    let (code, problem) = first_failure(&proxy);
    let stage = problem["stage"].as_str().unwrap().to_owned();
    assert!(matches!(code, 503 | 504), "{problem:#}");
    assert!(
        ["deadline-token", "token-down"].contains(&stage.as_str()),
        "{problem:#}"
    );
    chaos.plan("");
    heals(&proxy);
}
