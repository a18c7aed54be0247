//! `token check --report`: what this token is and does, for somebody who can help and has no such token. The process that the
//! user started writes it, so that there is one also where the module ends or stops its process.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use clap::Args;
use hsm_mtls::internal::config::Config;
use hsm_mtls::internal::exit_code::ExitCode;
use hsm_mtls::internal::rfc3339;
use serde::Serialize;
use serde_json::{Value, json};

use super::super::output_file::{OutputFile, OutputOption, PRIVATE_MODE};
use super::super::{CommandError, output};
use super::redaction::Redaction;
use crate::check_steps::Step;
use crate::verify::PROGRAM;

/// The options about the report.
#[derive(Args)]
pub(in crate::commands) struct ReportArgs {
    /// Also write what this token is and does to this file (JSON), for somebody who can help: no PIN, no serial number. Makes
    /// session keys in the token and destroys them
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Leave serial numbers in the report
    #[arg(long, requires = "report")]
    with_serial: bool,
    /// Replace a report that is there
    #[arg(long, requires = "report")]
    force: bool,
}

impl ReportArgs {
    pub(super) fn is_wanted(&self) -> bool {
        self.report.is_some()
    }

    /// Checks that the report can be written, before the module is loaded. `None`: it is not wanted.
    ///
    /// # Errors
    /// It cannot be written there, or would mix with the steps.
    pub(super) fn claim(
        &self,
        json: bool,
        config: &Config,
    ) -> Result<Option<ReportFile>, CommandError> {
        let option = OutputOption {
            content: "the report",
            path: self.report.as_deref(),
            force: self.force,
            mode: PRIVATE_MODE,
            json,
        };
        let Some(file) = OutputFile::claim(&option, &[config])? else {
            return Ok(None);
        };
        if file.is_stdout() {
            return Err(CommandError::usage(
                "the report and the steps both go to standard output",
                "name a file for the report",
            ));
        }
        Ok(Some(ReportFile {
            file,
            with_serial: self.with_serial,
            facts: BTreeMap::new(),
        }))
    }
}

/// The report while it is gathered.
pub(super) struct ReportFile {
    file: OutputFile,
    with_serial: bool,
    facts: BTreeMap<String, Value>,
}

/// The report as it is written. A section that was not reached is null.
#[derive(Serialize)]
struct Report {
    schema: u8,
    made_by: &'static str,
    made: String,
    host: Value,
    good: bool,
    exit_code: u8,
    /// How the process with the module ended, where it did so by itself.
    process: Option<String>,
    quirks: Value,
    module: Value,
    profile: Value,
    token: Value,
    behaviour: Value,
    key: Value,
    signatures: Value,
    key_generation: Value,
    mechanisms: Value,
    steps: Vec<Step>,
}

impl ReportFile {
    /// Adds or replaces a section.
    pub(super) fn add(&mut self, section: String, content: Value) {
        self.facts.insert(section, content);
    }

    /// Writes the report; `process` is how the process with the module ended, where that was no end of the command.
    ///
    /// # Errors
    /// It was not written.
    pub(super) fn write(
        mut self,
        steps: &[Step],
        code: ExitCode,
        process: Option<String>,
    ) -> Result<(), CommandError> {
        let mut token = self.facts.remove("token").unwrap_or(Value::Null);
        let redaction = Redaction::new(token["serial"].as_str(), self.with_serial);
        if let (false, Some(field)) = (self.with_serial, token.get_mut("serial")) {
            *field = Value::Null;
        }
        let without = |text: String| redaction.apply(&text);
        let facts = &mut self.facts;
        let mut section =
            |name: &str| redaction.apply_to(facts.remove(name).unwrap_or(Value::Null));
        let steps = steps.iter().cloned().map(|step| Step {
            detail: without(step.detail),
            hint: step.hint.map(without),
            ..step
        });
        let report = Report {
            schema: 0,
            made_by: PROGRAM,
            made: rfc3339::now(),
            host: host(),
            good: code == ExitCode::Good,
            exit_code: code as u8,
            process: process.map(without),
            quirks: section("quirks"),
            module: section("module"),
            profile: section("profile"),
            token: redaction.apply_to(token),
            behaviour: section("behaviour"),
            key: section("key"),
            signatures: section("signatures"),
            key_generation: section("key_generation"),
            mechanisms: section("mechanisms"),
            steps: steps.collect(),
        };
        let text = serde_json::to_string_pretty(&report)?;
        let lines: Vec<_> = text.lines().map(output::escape_json).collect();
        let text = lines.join("\n");
        let path = self.file.path().display().to_string();
        self.file.write(format!("{text}\n").as_bytes())?;
        output::remark(&format!("the report is in {path}"));
        Ok(())
    }
}

/// The system that the module ran on: many modules are built for one distribution.
fn host() -> Value {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = release
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="));
    json!({
        "os": std::env::consts::OS,
        "architecture": std::env::consts::ARCH,
        "distribution": name.map(|name| name.trim_matches('"')),
    })
}
