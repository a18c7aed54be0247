//! `token check`: each step from loading the module to verified signatures, up to the first one that fails.

use super::super::setup::RoleOption;
use super::super::token_process::{self, Event, Listener, Side, TokenProcessError};
use super::super::{CommandError, Global, output, signer};
use super::load_test::{self, LoadResult, LoadTest};
use super::report::{ReportArgs, ReportFile};
use super::report_facts::Facts;
use super::step_names::{C3, REPORT_STEPS, all_steps};
use super::step_output::StepOutput;
use super::steps::Checked;
use crate::check_steps::{Step, Steps};
use hsm_mtls::internal::config::{Config, KeyRole};
use hsm_mtls::internal::diagnostic::Diagnostic as _;
use hsm_mtls::internal::exit_code::ExitCode;
use serde_json::json;

/// The name that takes the most columns.
const LONGEST_NAME: &str = signer::STEP;

pub(in crate::commands) fn check(
    global: &Global,
    role: RoleOption,
    signatures: u32,
    load_test: Option<LoadTest>,
    report: &ReportArgs,
) -> Result<ExitCode, CommandError> {
    let mut watch = CheckWatch {
        role,
        load_test,
        all_steps: Vec::new(),
        as_json: global.json,
        arguments: report,
        report: None,
        told: ToldSteps::default(),
    };
    let ended = match token_process::start(global, &mut watch)? {
        Side::Child(config) => {
            let facts = Facts::new(report.is_wanted());
            let view = role.view(&config)?;
            let check = Check {
                config: &config,
                view: &view,
                signatures,
                load_test,
            };
            return check.run_here(global, facts);
        }
        Side::Parent(ended) => ended,
    };
    let CheckWatch {
        report,
        told,
        all_steps,
        ..
    } = watch;
    let process = ended.as_ref().err().map(TokenProcessError::to_string);
    let (steps, code) = match ended {
        Ok(code) => (told.steps(), code),
        Err(error) => {
            let steps = told.fail(global, &error, &all_steps)?;
            let code = steps.exit_code();
            (steps, code)
        }
    };
    if let Some(report) = report {
        report.write(steps.list(), code, process)?;
    }
    Ok(code)
}

/// What the process without the module does during a check.
struct CheckWatch<'a> {
    role: RoleOption,
    load_test: Option<LoadTest>,
    all_steps: Vec<&'static str>,
    as_json: bool,
    arguments: &'a ReportArgs,
    report: Option<ReportFile>,
    told: ToldSteps,
}

impl Listener for CheckWatch<'_> {
    fn prepare(&mut self, config: &Config) -> Result<(), CommandError> {
        let view = self.role.view(config)?;
        self.all_steps = all_steps(config, view.c3.role, last_step(&view, self.load_test));
        self.report = self.arguments.claim(self.as_json, config)?;
        Ok(())
    }

    fn hear(&mut self, event: Event) {
        match (event, &mut self.report) {
            (Event::Fact(section, content), Some(report)) => report.add(section, content),
            (event, _) => self.told.add(event),
        }
    }
}

/// What is checked in the process that loads the module.
struct Check<'a> {
    /// The whole configuration.
    config: &'a Config,
    /// That of the key.
    view: &'a Config,
    signatures: u32,
    load_test: Option<LoadTest>,
}

impl Check<'_> {
    /// Checks the token in this process.
    fn run_here(&self, global: &Global, facts: Facts) -> Result<ExitCode, CommandError> {
        let last_step = last_step(self.view, self.load_test);
        let all_steps = all_steps(self.config, self.view.c3.role, last_step);
        let output = step_output(global, &all_steps);
        let (mut steps, print_error) = output.steps();
        let mut load_result = None;
        let mut checked = Checked {
            output,
            steps: &mut steps,
            facts,
            role: self.view.c3.role,
        };
        // The step that failed is in `steps` already.
        if let Ok((signer, has_certificate)) =
            checked.run_steps(self.config, self.view, self.signatures)
        {
            if let Some(last_step) = last_step {
                output.begins(last_step, None);
            }
            match self.load_test {
                // The token is measured, without a signer process in between.
                Some(load_test) => {
                    steps.begin();
                    load_result = Some(load_test.run(&signer, &mut steps));
                }
                // The signer process signs nothing but tokens of JWT Auth with Sig4.
                None if self.view.c3.role == KeyRole::Sig4 => {}
                None => signer::check(global, self.config, has_certificate, &mut steps),
            }
        }
        conclude(global, &mut steps, &all_steps, load_result.as_ref())?;
        match print_error.take() {
            Some(error) => Err(error),
            None => Ok(steps.exit_code()),
        }
    }
}

fn step_output(global: &Global, all_steps: &[&str]) -> StepOutput {
    let longest = all_steps.iter().map(|name| name.len()).max();
    StepOutput {
        as_text: !global.json,
        longest: longest.unwrap_or_default().max(LONGEST_NAME.len()),
    }
}

/// The step after those of the keys. `None` for Sig4 alone: a signer process signs no challenge with it that would be measured.
fn last_step(view: &Config, load_test: Option<LoadTest>) -> Option<&'static str> {
    match (load_test, view.c3.role) {
        (Some(_), _) => Some(load_test::STEP),
        (None, KeyRole::C3) => Some(signer::STEP),
        (None, KeyRole::Sig4) => None,
    }
}

/// Adds the steps that were not reached, and prints what comes after the steps: all of it as JSON, or the verdict.
fn conclude(
    global: &Global,
    steps: &mut Steps,
    all_steps: &[&'static str],
    load_result: Option<&LoadResult>,
) -> Result<(), CommandError> {
    steps.end(all_steps);
    let code = steps.exit_code();
    if global.json {
        let mut report = json!({ "schema": 0, "good": code == ExitCode::Good, "steps": steps });
        if let Some(result) = load_result {
            report["load"] = result.as_json();
        }
        return output::json(&report);
    }
    if let Some(result) = load_result {
        result.print()?;
    }
    let verdict = match code {
        ExitCode::Good => "the token signs",
        ExitCode::Interrupted => "interrupted before all was signed",
        _ => "the token is not ready: see the step that failed",
    };
    output::verdict(code == ExitCode::Good, verdict)
}

/// The steps that the process with the module told of, until it ended.
#[derive(Default)]
struct ToldSteps {
    begun: Option<String>,
    ended: Vec<(Step, Option<ExitCode>)>,
}

impl ToldSteps {
    fn add(&mut self, event: Event) {
        match event {
            Event::Begins(name) => self.begun = Some(name),
            Event::Step(step, exit) => {
                self.begun = None;
                self.ended.push((step, exit.map(ExitCode::of)));
            }
            Event::Operation(_)
            | Event::HandlesInterruptions
            | Event::Fact(..)
            | Event::Ends(_) => {}
        }
    }

    /// The steps that have ended.
    fn steps(self) -> Steps {
        let mut steps = Steps::default();
        for (step, exit) in self.ended {
            steps.add(step, exit);
        }
        steps
    }

    /// The process crashed or hung: that is how the step that it was in has failed.
    fn fail(
        self,
        global: &Global,
        error: &TokenProcessError,
        all_steps: &[&'static str],
    ) -> Result<Steps, CommandError> {
        let begun = self.begun.clone();
        let mut steps = self.steps();
        let name = all_steps
            .iter()
            .copied()
            .chain(REPORT_STEPS)
            .find(|name| begun.as_deref() == Some(name))
            .unwrap_or(C3.module);
        let printed = steps.list().len();
        steps.fault(name, error.to_string(), error.hint(), error.exit_code());
        steps.end(all_steps);
        let output = step_output(global, all_steps);
        steps
            .list()
            .iter()
            .skip(printed)
            .try_for_each(|step| output.ended(step))?;
        conclude(global, &mut steps, all_steps, None)?;
        Ok(steps)
    }
}
