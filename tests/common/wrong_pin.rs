//! The start of most tests of the PIN guard: a bank that is ready, and a PIN file that holds a wrong PIN.

use std::path::PathBuf;

use super::bank::Bank;
use super::chaos::Chaos;
use super::hub::{Hub, HubOptions};
use super::trust_framework::write_file;

/// A bank with a certificate and a hub, whose next PIN comes from a file with the wrong one.
pub fn with_wrong_pin(plan: &str) -> (Bank, Chaos, Hub, PathBuf) {
    let mut bank = Bank::new();
    let hub = Hub::start_in_thread(HubOptions::of(&bank.framework, &["localhost", "127.0.0.1"]));
    bank.hub_at(hub.port());
    bank.certify("p-256");
    let chaos = Chaos::between(&mut bank, plan);
    let wrong = bank.path("wrong-pin");
    write_file(&wrong, "wrong", 0o600);
    bank.configure(|settings| settings.pin = format!("{{ file = \"{}\" }}", wrong.display()));
    chaos.forget_calls();
    (bank, chaos, hub, wrong)
}

/// What is in the PIN file that is right.
pub fn right(bank: &Bank) -> String {
    std::fs::read_to_string(bank.token.pin_file()).expect("the PIN file")
}
