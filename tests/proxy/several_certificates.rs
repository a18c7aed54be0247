//! Several tokens act for one client: certificates of two, and a copy of a key that is not said to be one, are refused before anything
//! is signed.

use std::fs;

use crate::common::bank::Bank;
use crate::common::proxy::Proxy;
use crate::common::second_token::TwoTokens;
use rcgen::DnType;

fn certified() -> Bank {
    let bank = Bank::new();
    bank.certify("p-256");
    bank
}

#[test]
fn tokens_of_two_clients_and_copies_that_are_not_said_are_refused() {
    let mut bank = certified();
    let tokens = TwoTokens::different(&mut bank, "p-256", ["", ""]);
    Proxy::configure(&mut bank, "", &tokens.section);
    let refused = |bank: &Bank, said: &str| {
        for command in [&["config", "check"][..], &["proxy"]] {
            let run = bank.run(command).expect(2);
            assert!(run.stderr.contains(said), "{command:?}: {run:?}");
        }
    };
    let csr = bank.run(&["csr", "--token", "b"]).expect(0).stdout;
    let good = fs::read_to_string(bank.path("c3-b.pem")).unwrap();
    let other = bank.framework.issue_client_with(&csr, |params| {
        params
            .distinguished_name
            .push(DnType::CommonName, "0f0e9a57-1d2f-4a1c-9e10-b0a6f9ad3c5d");
    });
    bank.write("c3-b.pem", &(other + &bank.framework.issuing_pem()));
    refused(&bank, "of two clients");
    bank.write("c3-b.pem", &good);
    bank.run(&["config", "check"]).expect(0);
    drop(tokens);

    let mut bank = certified();
    let tokens = TwoTokens::cloned(&mut bank, ["", ""]);
    let unsaid = tokens
        .section
        .replace("clone = true", "certificate = \"c3.pem\"");
    Proxy::configure(&mut bank, "", &unsaid);
    refused(&bank, "neither is said to be a clone");
}
