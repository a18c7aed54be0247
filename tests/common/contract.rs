//! The JSON that programs read of ours, with what differs from run to run taken out.

use serde_json::Value;

use super::bank::{Bank, Run};
use super::error_report;

/// Keys whose values differ from run to run, machine to machine or release to release.
const VOLATILE: [&str; 23] = [
    "cryptoki",
    "date",
    "days_left",
    "fingerprint",
    "firmware",
    "id",
    "interaction_id",
    "library",
    "millis",
    "module",
    "module_fingerprint",
    "not_after",
    "not_before",
    "path",
    "port",
    "program",
    "proof_millis",
    "sent_with",
    "serial",
    "spki_sha256",
    "time",
    "x-fapi-interaction-id",
    "x5t_s256",
];

/// The JSON of a run, with a kind in the place of each volatile value.
pub fn contract(bank: &Bank, run: &Run) -> String {
    of_json(bank, &run.stdout)
}

pub fn of_json(bank: &Bank, text: &str) -> String {
    let mut value: Value = serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"));
    redact(&mut value);
    let text = serde_json::to_string_pretty(&value).expect("JSON");
    error_report::plain(bank, &text)
}

fn redact(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                if VOLATILE.contains(&key.as_str()) {
                    replace(value);
                } else {
                    redact(value);
                }
            }
        }
        // A header: its name and its value.
        Value::Array(pair) if pair.len() == 2 && pair[0].as_str().is_some_and(is_volatile) => {
            replace(&mut pair[1]);
        }
        Value::Array(values) => values.iter_mut().for_each(redact),
        _ => {}
    }
}

fn is_volatile(name: &str) -> bool {
    VOLATILE.contains(&name)
}

/// What kind of value it is stays a contract; the values of an object are each replaced.
fn replace(value: &mut Value) {
    *value = match value.take() {
        Value::Null => Value::Null,
        Value::Bool(_) => "[true or false]".into(),
        Value::Number(_) => "[number]".into(),
        Value::String(_) => "[text]".into(),
        mut nested => {
            match &mut nested {
                Value::Object(fields) => fields.values_mut().for_each(replace),
                Value::Array(values) => values.iter_mut().for_each(replace),
                _ => {}
            }
            nested
        }
    };
}
