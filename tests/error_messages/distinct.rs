//! Two failures that have different causes have different messages or hints.

use std::collections::BTreeMap;
use std::fs;

use crate::common::programs::top;

/// Every pinned message of these files, by the test that pins it.
fn pinned() -> Vec<(String, String)> {
    let mut pinned = Vec::new();
    for name in ["certificate", "mechanism", "module", "token"] {
        let path = top().join(format!("tests/error_messages/{name}.rs"));
        let text = fs::read_to_string(path).unwrap();
        for test in text.split("\n#[test]\n").skip(1) {
            let (test_name, body) = test
                .strip_prefix("fn ")
                .and_then(|test| test.split_once("()"))
                .unwrap();
            for assertion in body.split("assert_snapshot!(").skip(1) {
                let said = of_literal(assertion);
                pinned.push((format!("{name}: {test_name}"), said));
            }
        }
    }
    pinned.retain(|(_, said)| !said.is_empty());
    pinned
}

/// Message and hint of the inline snapshot `@r#"..."#`; nothing where it is no failure. The same message in two
/// steps is one message, so exit code and step do not count.
fn of_literal(assertion: &str) -> String {
    let (_, literal) = assertion.split_once('@').unwrap();
    let (quotes, text) = literal.split_once('"').unwrap();
    let end = format!("\"{}", quotes.trim_start_matches('r'));
    let (sign, _) = text.split_once(&end).unwrap();
    let lines = sign.lines().map(str::trim);
    let lines = lines.skip_while(|line| !line.starts_with("exit "));
    let said = lines.filter(|line| !line.starts_with("exit ") && !line.starts_with("step "));
    said.collect::<Vec<_>>().join("\n").trim().to_owned()
}

#[test]
fn no_two_failures_have_the_same_message() {
    let pinned = pinned();
    assert!(pinned.len() > 40, "{}", pinned.len());
    let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
    for (test, said) in &pinned {
        let other = seen.insert(said, test);
        assert!(
            other.is_none_or(|other| other == test),
            "{test} and {other:?} are told the same:\n{said}"
        );
    }
}
