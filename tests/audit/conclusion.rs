//! The audit's conclusion about a token that reports itself to be an HSM: "no" where every rule speaks for it, and
//! no favourable conclusion where the module does not answer.

use crate::common::bank::Bank;
use crate::common::chaos::Chaos;
use serde_json::Value;

fn judged<'a>(report: &'a Value, rule: &str) -> &'a Value {
    let made = report["subjects"][0]["judgements"].as_array().unwrap();
    made.iter()
        .find(|made| made["rule"] == rule)
        .expect("each rule is judged")
}

/// In production, of what says that it is a device. Its findings, and the whole report.
fn in_production(bank: &mut Bank, plan: &str, code: i32) -> (Vec<String>, Value) {
    let chaos = Chaos::between(bank, plan);
    let run = chaos.run(
        bank,
        &["audit", "--profile", "production", "--active", "--json"],
    );
    let report = run.expect(code).json();
    let made = report["subjects"][0]["judgements"].as_array().unwrap();
    let graves = made
        .iter()
        .filter(|made| !["note", ""].contains(&made["severity"].as_str().unwrap_or("")));
    let found =
        graves.map(|made| format!("{} {}", made["rule"], made["severity"]).replace('"', ""));
    (found.collect(), report)
}

#[test]
fn of_a_device_the_answer_is_no_and_its_operator_owes_what_no_call_tells() {
    let mut bank = Bank::new();
    let ledger = "[ledger]\nfile = \"ledger/uses.jsonl\"\nfsync = \"each\"\nhead = { command = [\"/bin/true\"] }\n";
    bank.configure(|settings| settings.sections = ledger.to_owned());
    bank.certify("rsa-2048");
    let (found, _) = in_production(&mut bank, "device", 1);
    assert_eq!(found, ["token.fips high", "token.backup low"]);

    let said = "[audit]\nfips_certificate = \"4703\"\nbackup = \"procedure HSM-12\"\n";
    bank.configure(|settings| settings.sections = format!("{ledger}{said}"));
    let (found, report) = in_production(&mut bank, "device", 0);
    assert_eq!(found, [""; 0]);
    assert_eq!(report["good"], true);
    let answer = &report["subjects"][0]["answer"];
    assert_eq!(answer["can_leave"], "no");
    assert!(
        answer["sentence"].as_str().unwrap().starts_with("NO. "),
        "{answer}"
    );
    assert_eq!(judged(&report, "token.fips")["verdict"], "asserted");
}

#[test]
fn what_a_module_does_not_tell_is_not_taken_for_good() {
    let mut bank = Bank::new();
    bank.run(&["key", "generate"]).expect(0);
    // Whatever is asked of an object fails: neither claims nor trials say anything.
    let plan = "device\nfail C_GetAttributeValue all CKR_GENERAL_ERROR";
    let (found, report) = in_production(&mut bank, plan, 1);
    for rule in ["key.sensitive critical", "key.extractable critical"] {
        assert!(found.iter().any(|found| found == rule), "{found:?}");
    }
    assert_eq!(judged(&report, "key.readable")["verdict"], "not-answerable");
    assert_eq!(
        report["subjects"][0]["answer"]["can_leave"],
        "not-answerable"
    );
}
