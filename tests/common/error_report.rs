//! What an operator reads of a failure: exit code, step, message and hint, with what differs from run to run
//! replaced by names.

use std::path::Path;

use serde_json::Value;

use super::bank::{Bank, Run};

/// The sign of a run with `--json`: of its first step that failed, else of its failure.
pub fn of(bank: &Bank, run: &Run) -> String {
    let report: Option<Value> = serde_json::from_str(&run.stdout).ok();
    let failed = report.as_ref().and_then(|report| {
        let steps = report["steps"].as_array()?.iter();
        steps.clone().find(|step| step["outcome"] == "bad")
    });
    let lines = match failed {
        Some(step) => vec![
            format!("exit {}", run.code),
            format!("step {}", text(&step["name"])),
            text(&step["detail"]),
            format!("hint: {}", text(&step["hint"])),
        ],
        None => {
            let object: Value = run
                .stderr
                .lines()
                .find_map(|line| serde_json::from_str(line).ok())
                .unwrap_or_else(|| panic!("no failure: {run:?}"));
            assert_eq!(object["exit"], run.code, "{run:?}");
            vec![
                format!("exit {}", run.code),
                text(&object["error"]),
                format!("hint: {}", text(&object["hint"])),
            ]
        }
    };
    plain(bank, &lines.join("\n"))
}

/// The steps of a check that ended well, one a line.
pub fn steps(bank: &Bank, run: &Run) -> String {
    let report = run.json();
    let steps = report["steps"].as_array().expect("the steps of a check");
    let line = |step: &Value| {
        let detail = text(&step["detail"]);
        format!(
            "{} {}: {detail}",
            text(&step["outcome"]),
            text(&step["name"])
        )
    };
    let lines: Vec<_> = steps.iter().map(line).collect();
    plain(bank, &lines.join("\n"))
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

/// Replaces what differs from run to run; different values get different names.
pub fn plain(bank: &Bank, text: &str) -> String {
    let folder = |path: &Path| path.to_str().expect("a plain path").to_owned();
    let tokens = bank.token.pin_file();
    let text = text
        .replace(&folder(bank.folder()), "<bank>")
        .replace(&folder(tokens.parent().expect("its folder")), "<token>");
    let hexadecimal = |c: char| c.is_ascii_hexdigit();
    let text = named(&text, "serial=", "serial", hexadecimal);
    let text = named(&text, "id=", "id", |c| c == '%' || hexadecimal(c));
    let text = named(&text, "sha256:", "hash", hexadecimal);
    let text = named(&text, "localhost:", "port", |c| c.is_ascii_digit());
    named(&text, "127.0.0.1:", "port", |c| c.is_ascii_digit())
}

/// Replaces each run of `part` after `before` by `<name>`, and by `<name 2>` where it is another.
fn named(text: &str, before: &str, name: &str, part: impl Fn(char) -> bool) -> String {
    let mut known: Vec<&str> = Vec::new();
    let mut pieces = text.split(before);
    let mut out = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let end = piece.find(|c| !part(c)).unwrap_or(piece.len());
        let (value, rest) = piece.split_at(end);
        out.push_str(before);
        if !value.is_empty() {
            let at = known.iter().position(|other| *other == value);
            let number = at.unwrap_or_else(|| {
                known.push(value);
                known.len() - 1
            });
            match number {
                0 => out.push_str(&format!("<{name}>")),
                n => out.push_str(&format!("<{name} {}>", n + 1)),
            }
        }
        out.push_str(rest);
    }
    out
}
