//! Several configurations: each is reported by a process of its own, and all of them at once. A module is configured by environment
//! variables, to which two configurations may give different values; and one module that hangs holds up no other environment.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde::Deserialize;

use super::super::json_notes::ChildStderr;
use super::super::{Global, output, signer};
use super::StatusArgs;
use super::report::{EnvironmentReport, Found};
use super::state::State;

/// The members of a child's report that go into this one.
#[derive(Deserialize)]
struct ChildReport {
    environments: Vec<EnvironmentReport>,
}

pub(super) fn reports(global: &Global, args: &StatusArgs) -> Vec<EnvironmentReport> {
    let started: Vec<_> = args
        .files
        .iter()
        .map(|file| (file, start(global, args, file)))
        .collect();
    let reports = started.into_iter().flat_map(|(file, child)| {
        let output = child.and_then(Child::wait_with_output);
        report_of(file, output)
    });
    reports.collect()
}

fn start(global: &Global, args: &StatusArgs, file: &PathBuf) -> io::Result<Child> {
    let mut command = Command::new(signer::PROGRAM);
    command.arg("--config").arg(file).arg("--json");
    command.args((0..global.verbose).map(|_| "-v"));
    command.args(["status", "--warn", &format!("{}d", args.warn)]);
    command.args(["--crit", &format!("{}d", args.crit)]);
    command.args(args.online.then_some("--online"));
    command.args(args.no_token.then_some("--no-token"));
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    command.stderr(Stdio::piped()).spawn()
}

fn report_of(file: &Path, output: io::Result<Output>) -> Vec<EnvironmentReport> {
    let output = match output {
        Ok(output) => output,
        Err(error) => return vec![unusable(file, &error.to_string(), "run the command again")],
    };
    let stderr = ChildStderr::parse(&output.stderr);
    let notes = stderr.notes.iter().chain(&stderr.log_lines);
    notes.for_each(|note| output::remark(&format!("{}: {note}", file.display())));
    match serde_json::from_slice::<ChildReport>(&output.stdout) {
        Ok(report) => report.environments,
        Err(_) => {
            let file_name = file.display();
            let (error, hint) = stderr.error.unwrap_or_else(|| {
                let hint =
                    format!("run `hsm-mtls --config {file_name} status` by itself: it says why");
                ("it could not be reported".to_owned(), hint)
            });
            vec![unusable(file, &error, &hint)]
        }
    }
}

/// The report of a configuration that cannot be used.
pub(super) fn unusable(file: &Path, error: &str, hint: &str) -> EnvironmentReport {
    let mut found = Found::default();
    found.item("configuration", State::Unknown, error);
    found.act_now(hint, None);
    found.into_report(file.display().to_string(), None)
}
