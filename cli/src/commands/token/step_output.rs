//! The steps of `token check` as they begin and end: printed, and told to the process that watches this one.

use std::cell::RefCell;
use std::rc::Rc;

use hsm_mtls::internal::exit_code::ExitCode;

use super::super::token_process::{self, Event};
use super::super::{CommandError, output};
use crate::check_steps::{Step, Steps};

/// Prints steps.
#[derive(Clone, Copy)]
pub(super) struct StepOutput {
    /// As text while they happen; otherwise they are in the JSON at the end.
    pub(super) as_text: bool,
    /// The columns that the longest name takes.
    pub(super) longest: usize,
}

/// Why a step could not be printed.
pub(super) type PrintError = Rc<RefCell<Option<CommandError>>>;

impl StepOutput {
    /// Steps that are printed and told as they end.
    pub(super) fn steps(self) -> (Steps, PrintError) {
        let failed = PrintError::default();
        let first = Rc::clone(&failed);
        let steps = Steps::observed_by(Box::new(move |step, exit| {
            token_process::tell(&Event::Step(
                step.clone(),
                exit.map(|code: ExitCode| code as u8),
            ));
            if let Err(error) = self.ended(step) {
                first.borrow_mut().get_or_insert(error);
            }
        }));
        (steps, failed)
    }

    /// A step begins. `note` says what an interruption costs.
    pub(super) fn begins(self, name: &str, note: Option<&str>) {
        token_process::tell(&Event::Begins(name.to_owned()));
        if self.as_text {
            output::step_begins(name, note);
        }
    }

    /// A step has ended.
    pub(super) fn ended(self, step: &Step) -> Result<(), CommandError> {
        if !self.as_text {
            return Ok(());
        }
        output::step_ended();
        output::step(step, self.longest)
    }
}
