//! The steps of `token check`, in their order: from the module to verified signatures, up to the first one that fails.

use super::super::error::Error;
use super::super::setup;
use super::describe;
use super::key_steps::CheckedKey;
use super::report_facts::Facts;
use super::step_names::{C3, LEDGER, ONLY_SIG4, SIG4, StepNames, TWO_KEYS};
use super::step_output::StepOutput;
use crate::check_steps::{Outcome, Steps};
use hsm_mtls::internal::config::pin::PinSource;
use hsm_mtls::internal::config::{Config, KeyRole, LoginPolicy};
use hsm_mtls::internal::diagnostic::Diagnostic as _;
use hsm_mtls::internal::engine::Sign;
use hsm_mtls::internal::identity::Sig4Error;
use hsm_mtls::internal::ledger::Recorder;
use hsm_mtls::internal::token::Token;
use hsm_mtls::internal::token::module::Module;
use std::mem;
use std::sync::Arc;

/// A step failed. Its error is in the list of steps.
pub(super) struct StepFailed;

/// A check in progress.
pub(super) struct Checked<'a> {
    pub(super) output: StepOutput,
    pub(super) steps: &'a mut Steps,
    pub(super) facts: Facts,
    /// The role of the key that the steps are about.
    pub(super) role: KeyRole,
}

impl Checked<'_> {
    pub(super) fn begins(&mut self, name: &'static str, note: Option<&str>) {
        self.output.begins(name, note);
        self.steps.begin();
    }

    /// Runs one step; a failure goes into the list of steps.
    pub(super) fn attempt<T, E: Into<Error>>(
        &mut self,
        name: &'static str,
        step: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, StepFailed> {
        self.begins(name, None);
        self.outcome(name, step())
    }

    pub(super) fn outcome<T, E: Into<Error>>(
        &mut self,
        name: &'static str,
        result: Result<T, E>,
    ) -> Result<T, StepFailed> {
        result.map_err(|error| {
            let error = error.into();
            self.steps.bad(
                name,
                error.to_string(),
                self.role.advice(&error.hint()),
                error.exit_code(),
            );
            StepFailed
        })
    }

    /// Takes the steps of the role's key, and after those of C3 the steps of Sig4, up to the first failure. Returns the key, and
    /// whether valid certificates are installed.
    pub(super) fn run_steps(
        &mut self,
        config: &Config,
        view: &Config,
        signatures: u32,
    ) -> Result<(Arc<dyn Sign>, bool), StepFailed> {
        let names = match view.c3.role {
            KeyRole::C3 => &C3,
            KeyRole::Sig4 => &ONLY_SIG4,
        };
        self.role = view.c3.role;
        let (token, recorder) = self.open_token(view, names, None)?;
        let of_key = CheckedKey {
            config,
            view,
            names,
            signatures,
        };
        let (signer, has_certificate) = self.check_key(&of_key, &token)?;
        let of_sig4 = config.for_sig4().filter(|_| self.role == KeyRole::C3);
        let Some(view) = of_sig4 else {
            return Ok((signer, has_certificate));
        };
        // The report is about one key.
        let facts = mem::take(&mut self.facts);
        self.role = KeyRole::Sig4;
        let token = match config.sig4_token {
            Some(_) => self.open_token(&view, &SIG4, Some(recorder))?.0,
            None => token,
        };
        let of_key = CheckedKey {
            view: &view,
            names: &SIG4,
            ..of_key
        };
        let (sig4, both) = self.check_key(&of_key, &token)?;
        self.attempt(TWO_KEYS, || {
            match signer.public_key() == sig4.public_key() {
                true => Err(Sig4Error::SameKey {
                    uri: sig4.key_uri(),
                }),
                false => Ok(()),
            }
        })?;
        self.steps.good(
            TWO_KEYS,
            "C3 and Sig4 have a key each, as the scheme wants it",
        );
        self.facts = facts;
        self.role = KeyRole::C3;
        Ok((signer, has_certificate && both))
    }

    /// Takes the steps from the module to the login. The ledger is opened with the first token.
    fn open_token(
        &mut self,
        config: &Config,
        names: &StepNames,
        recorder: Option<Recorder>,
    ) -> Result<(Arc<Token>, Recorder), StepFailed> {
        let module = self.attempt(names.module, || Module::load(&config.token))?;
        self.steps.good(names.module, describe(&module));
        self.facts.module(config, &module);
        let library = module.description().identification();
        let profile = config.token.profile(Some(library));
        let outcome = match profile.is_doubtful() {
            true => Outcome::Note,
            false => Outcome::Good,
        };
        self.steps
            .seen(names.profile, outcome, profile.summary(&config.token));
        let recorder = match recorder {
            Some(recorder) => recorder,
            None => self.open_ledger(config)?,
        };
        let token = self.attempt(names.token, || {
            Token::select(module, &config.token, setup::attendance(), recorder.clone())
        })?;
        self.facts.token(&token);
        let description = token.description();
        let warnings = description.pin_warnings.join(" ");
        self.steps.good(
            names.token,
            format!("{} {warnings}", description.uri()).trim_end(),
        );
        self.begins(names.login, Some(&login_note(config)));
        let logged_in = self.outcome(names.login, token.log_in(token.role()))?;
        if logged_in {
            self.steps
                .good(names.login, format!("PIN from {}", config.token.pin));
        } else if config.token.login == LoginPolicy::Never {
            self.steps.seen(
                names.login,
                Outcome::Note,
                "not logged in: `login = \"never\"`",
            );
        } else {
            self.steps.good(names.login, "the token wants none");
        }
        Ok((Arc::new(token), recorder))
    }

    fn open_ledger(&mut self, config: &Config) -> Result<Recorder, StepFailed> {
        let recorder = self.attempt(LEDGER, || Recorder::open(config.ledger.as_ref()))?;
        match &config.ledger {
            Some(ledger) => self.steps.good(LEDGER, ledger.file.display().to_string()),
            None => self.steps.seen(
                LEDGER,
                Outcome::Note,
                "none: uses of the key are not recorded",
            ),
        }
        Ok(recorder)
    }
}

/// What an interruption of the login costs, or that a person is asked.
fn login_note(config: &Config) -> String {
    match config.token.pin {
        PinSource::Prompt => "you are asked for the PIN".to_owned(),
        PinSource::ProtectedPath => "the PIN is typed at the token".to_owned(),
        PinSource::None => "no PIN is sent".to_owned(),
        _ => format!(
            "once C_Login is sent, Ctrl-C waits for its end, {} s at most; a second Ctrl-C would count as a refused PIN",
            config.token.start_timeout.as_secs_f64()
        ),
    }
}
