//! `token check`: each step from loading the module to verified signatures, up to the first one that fails.

use super::super::token_process::{self, Event, Side, TokenProcessError};
use super::super::{CommandError, Global, output, signer};
use super::load_test::{self, LoadResult, LoadTest};
use super::step_output::StepOutput;
use super::steps::{Checked, STEPS};
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
) -> Result<ExitCode, CommandError> {
    let mut told = ToldSteps::default();
    match token_process::start(global, &mut |event| told.add(event))? {
        Side::Child(config) => check_here(global, &config, signatures, load_test),
        Side::Parent(Ok(code)) => Ok(code),
        Side::Parent(Err(error)) => told.fail(global, &error, load_test),
    }
}

/// Checks the token in this process.
fn check_here(
    global: &Global,
    config: &Config,
    signatures: u32,
    load_test: Option<LoadTest>,
) -> Result<ExitCode, CommandError> {
    let output = step_output(global);
    let (mut steps, print_error) = output.steps();
    let mut load_result = None;
    let mut checked = Checked {
        output,
        steps: &mut steps,
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
            Event::Operation(_) | Event::HandlesInterruptions | Event::Ends(_) => {}
        }
    }

    /// The process crashed or hung: that is how the step that it was in has failed.
    fn fail(
        self,
        global: &Global,
        error: &TokenProcessError,
        load_test: Option<LoadTest>,
    ) -> Result<ExitCode, CommandError> {
        let mut steps = Steps::default();
        for (step, exit) in self.ended {
            steps.add(step, exit);
        }
        let name = STEPS
            .into_iter()
            .chain([last_step(load_test)])
            .find(|name| self.begun.as_deref() == Some(name))
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
        Ok(steps.exit_code())
    }
}
