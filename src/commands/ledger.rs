//! `ledger verify`: whether the record of the key's uses is as it was written.

use hsm_mtls::error::ExitCode;
use hsm_mtls::ledger::chain::Head;
use hsm_mtls::ledger::history::{self, Flaw, History};
use serde_json::{Value, json};

use super::{CommandError, Global, output, start};

pub(super) fn verify(global: &Global, expected: Option<&Head>) -> Result<ExitCode, CommandError> {
    let config = start::config(global)?;
    let Some(ledger) = &config.ledger else {
        return Err(CommandError::usage(
            "the configuration names no ledger",
            "write `file` and `fsync` into [ledger]: from then on each use of the key is recorded there",
        ));
    };
    match history::verify(&ledger.file, expected) {
        Ok(history) => {
            if global.json {
                output::json(&json!({ "schema": 0, "holds": true, "history": history }))?;
            } else {
                print(&history, expected)?;
            }
            Ok(ExitCode::Good)
        }
        Err(Flaw::Unreadable(error)) => Err(CommandError::stage(error)),
        Err(flaw) => {
            if global.json {
                output::json(&json!({
                    "schema": 0,
                    "holds": false,
                    "flaw": flaw.to_string(),
                    "sequence": flaw.sequence(),
                    "history": Value::Null,
                }))?;
            } else {
                output::verdict(false, "the chain does NOT hold")?;
                output::line(&format!("  {flaw}"))?;
                output::remark("keep the files as they are: they are evidence");
            }
            Ok(ExitCode::Finding)
        }
    }
}

fn print(history: &History, expected: Option<&Head>) -> Result<(), CommandError> {
    let files: Vec<_> = history.files.iter().map(|file| file.display()).collect();
    let mut rows = vec![("records", format!("{} to {}", history.first, history.last))];
    rows.extend(files.iter().map(|file| ("file", file.to_string())));
    rows.push(("signatures asked for", history.attempts.to_string()));
    if !history.unfinished.is_empty() {
        let numbers: Vec<_> = history.unfinished.iter().map(u64::to_string).collect();
        rows.push((
            "without an outcome",
            format!(
                "record {}: the process was ended, or is at it",
                numbers.join(", ")
            ),
        ));
    }
    if history.repairs > 0 {
        let lines = format!("{} lines that a crash tore, accounted for", history.repairs);
        rows.push(("repairs", lines));
    }
    if history.torn > 0 {
        let bytes = format!(
            "{} bytes without an end; the next record accounts for them",
            history.torn
        );
        rows.push(("torn", bytes));
    }
    rows.push(("head", history.head.clone()));
    output::verdict(true, "the chain holds")?;
    output::fields(&rows)?;
    if expected.is_none() {
        output::remark(
            "whether its end was cut off shows only with --expect-head and a head that was kept elsewhere",
        );
    }
    Ok(())
}
