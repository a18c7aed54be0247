//! `token check`: each step from loading the module to verified signatures, up to the first one that fails.

use super::super::token_process::{self, Event, Listener, Side, TokenProcessError};
use super::super::{CommandError, Global, output, signer};
use super::load_test::{self, LoadResult, LoadTest};
use super::report::{ReportArgs, ReportFile};
use super::report_facts::Facts;
use super::step_output::StepOutput;
use super::steps::{Checked, REPORT_STEPS, STEPS};
use crate::check_steps::{Step, Steps};
use hsm_mtls::internal::config::Config;
use hsm_mtls::internal::diagnostic::Diagnostic as _;
use hsm_mtls::internal::exit_code::ExitCode;
use serde_json::json;

/// The name that takes the most columns.
const LONGEST_NAME: &str = signer::STEP;

pub(in crate::commands) fn check(
    global: &Global,
    signatures: u32,
    load_test: Option<LoadTest>,
    report: &ReportArgs,
) -> Result<ExitCode, CommandError> {
    let mut watch = CheckWatch {
        as_json: global.json,
        arguments: report,
        report: None,
        told: ToldSteps::default(),
    };
    let ended = match token_process::start(global, &mut watch)? {
        Side::Child(config) => {
            let facts = Facts::new(report.is_wanted());
            return check_here(global, &config, signatures, load_test, facts);
        }
        Side::Parent(ended) => ended,
    };
    let CheckWatch { report, told, .. } = watch;
    let process = ended.as_ref().err().map(TokenProcessError::to_string);
    let (steps, code) = match ended {
        Ok(code) => (told.steps(), code),
        Err(error) => {
            let steps = told.fail(global, &error, load_test)?;
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
    as_json: bool,
    arguments: &'a ReportArgs,
    report: Option<ReportFile>,
    told: ToldSteps,
}

impl Listener for CheckWatch<'_> {
    fn prepare(&mut self, config: &Config) -> Result<(), CommandError> {
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

/// Checks the token in this process.
fn check_here(
    global: &Global,
    config: &Config,
    signatures: u32,
    load_test: Option<LoadTest>,
    facts: Facts,
) -> Result<ExitCode, CommandError> {
    let output = step_output(global);
    let (mut steps, print_error) = output.steps();
    let mut load_result = None;
    let mut checked = Checked {
        output,
        steps: &mut steps,
        facts,
    };
    // The step that failed is in `steps` already.
    if let Ok((signer, has_certificate)) = checked.run_steps(config, signatures) {
        let last_step = last_step(load_test);
        output.begins(last_step, None);
        match load_test {
            // The token is measured, without a signer process in between.
            Some(load_test) => {
                steps.begin();
                load_result = Some(load_test.run(&signer, &mut steps));
            }
            None => signer::check(global, config, has_certificate, &mut steps),
        }
    }
    conclude(global, &mut steps, load_test, load_result.as_ref())?;
    match print_error.take() {
        Some(error) => Err(error),
        None => Ok(steps.exit_code()),
    }
}

fn step_output(global: &Global) -> StepOutput {
    StepOutput {
        as_text: !global.json,
        longest: LONGEST_NAME.len(),
    }
}

fn last_step(load_test: Option<LoadTest>) -> &'static str {
    load_test.map_or(signer::STEP, |_| load_test::STEP)
}

/// Adds the steps that were not reached, and prints what comes after the steps: all of it as JSON, or the verdict.
fn conclude(
    global: &Global,
    steps: &mut Steps,
    load_test: Option<LoadTest>,
    load_result: Option<&LoadResult>,
) -> Result<(), CommandError> {
    let all_steps: Vec<_> = STEPS.into_iter().chain([last_step(load_test)]).collect();
    steps.end(&all_steps);
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
        load_test: Option<LoadTest>,
    ) -> Result<Steps, CommandError> {
        let begun = self.begun.clone();
        let mut steps = self.steps();
        let name = STEPS
            .into_iter()
            .chain(REPORT_STEPS)
            .chain([last_step(load_test)])
            .find(|name| begun.as_deref() == Some(name))
            .unwrap_or(STEPS[0]);
        let printed = steps.list().len();
        steps.fault(name, error.to_string(), error.hint(), error.exit_code());
        let all_steps: Vec<_> = STEPS.into_iter().chain([last_step(load_test)]).collect();
        steps.end(&all_steps);
        let output = step_output(global);
        steps
            .list()
            .iter()
            .skip(printed)
            .try_for_each(|step| output.ended(step))?;
        conclude(global, &mut steps, load_test, None)?;
        Ok(steps)
    }
}
