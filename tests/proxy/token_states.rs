//! What callers and operators are told of a token that only a new signer process recovers, and of a device in a state
//! that a person has to end.

use std::time::Duration;

use crate::common::bank::Bank;
use crate::common::chaos::Chaos;
use crate::common::hub::{Hub, HubOptions};
use crate::common::poll::{found_within, until};
use crate::common::proxy::{Proxy, body};
use crate::common::signer_process::signers;
use serde_json::Value;

/// Ten reinitialisations in vain, or the longest pause in a state that a person has to end.
const PATIENCE: Duration = Duration::from_secs(50);

fn scene(token_lines: &str) -> (Bank, Hub, Chaos, Proxy) {
    let mut bank = Bank::new();
    bank.certify("p-256");
    let hub = Hub::start_in_thread(HubOptions::of(&bank.framework, &["localhost", "127.0.0.1"]));
    bank.hub_at(hub.port());
    bank.configure(|settings| settings.token_lines = token_lines.to_owned());
    // No connection is there before the first request needs one.
    let ports = Proxy::configure(&mut bank, "warm_connections = 0", "");
    let chaos = Chaos::between(&mut bank, "");
    let proxy = Proxy::start_with(&bank, ports, &chaos.environment());
    (bank, hub, chaos, proxy)
}

/// The problem document of a request that failed for an outage of the token; `None` once one is good.
fn outage(proxy: &Proxy) -> Option<Value> {
    let (code, answer) = proxy.get("/cm/consents/1");
    if code == 200 {
        return None;
    }
    let problem = body(&answer);
    assert_eq!(code, 503, "{answer}");
    assert_eq!(problem["stage"], "token-down", "{problem:#}");
    assert!(answer.contains("retry-after: "), "{answer}");
    Some(problem)
}

fn metric(proxy: &Proxy, name: &str) -> Option<String> {
    let (_, text) = proxy.operations("/metrics");
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.rsplit(' ').next().map(str::to_owned)
}

#[test]
fn a_module_that_only_a_new_process_heals_is_an_outage_that_ends_by_itself() {
    let (bank, _hub, chaos, proxy) = scene("");
    let before = signers(&bank);
    chaos.plan("lost-until-new-process CKR_DEVICE_ERROR");
    chaos.forget_calls();
    let problem = outage(&proxy).expect("it is lost");
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("the token is down since"),
        "{problem:#}"
    );
    let mut seen_down = false;
    let healed = found_within(PATIENCE, || {
        let token = proxy.ready()["token"].clone();
        if token["good"] == false {
            seen_down = true;
            assert_eq!(token["stage"], "token-down", "{token:#}");
            assert!(
                token["signer"]["down_since"].is_string() || token["signer"]["state"] == "ready",
                "{token:#}"
            );
        }
        outage(&proxy).is_none().then_some(())
    });
    assert_eq!(healed, Some(()), "{}", proxy.log());
    assert!(seen_down);
    assert_ne!(signers(&bank), before);
    assert_eq!(chaos.calls("C_Login"), 1);
    until("it is ready, and the process is counted", || {
        let ready = proxy.ready();
        ready["ready"] == true
            && ready["token"]["signer"]["replaced"] == 1
            && metric(&proxy, "hsm_mtls_signers_replaced_total").as_deref() == Some("1")
            && metric(&proxy, "hsm_mtls_token_up").as_deref() == Some("1")
    });
}

#[test]
fn a_state_of_the_device_is_named_to_callers_and_operators() {
    let (bank, _hub, chaos, proxy) = scene("profile = \"luna\"");
    let before = signers(&bank);
    chaos.plan("fail C_SignInit all 0x80000035");
    chaos.forget_calls();
    let problem = outage(&proxy).expect("it does not sign");
    assert_eq!(problem["device_state"], "audit-log-full", "{problem:#}");
    assert!(
        problem["hint"].as_str().unwrap().contains("audit"),
        "{problem:#}"
    );
    until("it is reported", || {
        let token = proxy.ready()["token"].clone();
        token["device_state"] == "audit-log-full" && token["stage"] == "token-down"
    });
    assert_eq!(metric(&proxy, "hsm_mtls_token_up").as_deref(), Some("0"));
    assert_eq!(chaos.calls("C_Login"), 0);
    assert_eq!(chaos.calls("C_Initialize"), 0);
    assert_eq!(signers(&bank), before);
    chaos.plan("");
    let healed = found_within(PATIENCE, || outage(&proxy).is_none().then_some(()));
    assert_eq!(healed, Some(()), "{}", proxy.log());
    assert!(proxy.ready()["token"]["device_state"].is_null());
    assert_eq!(chaos.calls("C_Login"), 0);
}
