//! The records of a ledger, by the process that wrote them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use hsm_mtls::internal::config::trust::Fingerprint;
use serde_json::Value;

/// The records of one process, in order.
#[derive(Default)]
pub struct ProcessRecords {
    pub attempts: Vec<Attempt>,
    /// Whether each has its outcome.
    pub logins: Vec<bool>,
    /// The last record that says who wrote it.
    pub last: u64,
    /// Records that have no outcome.
    pub unfinished: Vec<u64>,
}

pub struct Attempt {
    pub sequence: u64,
    pub message: [u8; 32],
    /// Written as pkcs11-spy does.
    pub time: String,
    pub outcome: Option<Value>,
}

/// How far an attempt came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastCall {
    /// No call was made: its session was of an earlier C_Initialize.
    Nothing,
    /// C_SignInit refused it.
    SignInit,
    /// C_Sign was called.
    Sign,
}

impl Attempt {
    /// By its outcome.
    pub fn last_call(&self) -> LastCall {
        let outcome = self.outcome.as_ref().expect("an outcome");
        match (outcome["function"].as_str(), outcome["class"].as_str()) {
            // What was made was good, or did not verify.
            (None, None | Some("wrong-signature")) | (Some("C_Sign"), _) => LastCall::Sign,
            (Some("C_SignInit"), _) => LastCall::SignInit,
            (None, Some("session")) => LastCall::Nothing,
            _ => panic!("no part of a signature: {outcome}"),
        }
    }
}

/// Every record of the file.
pub fn records(ledger: &Path) -> Vec<Value> {
    let text = fs::read_to_string(ledger).expect("the ledger");
    let lines = text.lines();
    // What a crash tore is no record; that the rest is whole, `ledger verify` says.
    lines
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

/// By process id.
pub fn by_process(records: &[Value]) -> BTreeMap<u32, ProcessRecords> {
    let number = |value: &Value| value.as_u64().expect("a number");
    let outcomes: BTreeMap<u64, &Value> = records
        .iter()
        .filter(|record| record["kind"] == "outcome")
        .map(|outcome| (number(&outcome["of"]), outcome))
        .collect();
    let mut processes: BTreeMap<u32, ProcessRecords> = BTreeMap::new();
    for record in records {
        let Some(pid) = record["process"]["pid"].as_u64() else {
            continue;
        };
        let of = processes.entry(pid as u32).or_default();
        of.last = number(&record["seq"]);
        let outcome = outcomes.get(&of.last).copied();
        if outcome.is_none() {
            of.unfinished.push(of.last);
        }
        if record["kind"] == "login" {
            of.logins.push(outcome.is_some());
        }
        if record["kind"] == "attempt" {
            let message = serde_json::from_value(record["message"].clone());
            let Fingerprint(message) = message.expect("a SHA-256");
            let time = record["time"].as_str().expect("a time");
            of.attempts.push(Attempt {
                sequence: of.last,
                message,
                time: time[..23].replace('T', " "),
                outcome: outcome.cloned(),
            });
        }
    }
    processes
}
