//! A check as a list of named, timed steps, for text and JSON.

use std::borrow::Cow;
use std::fmt;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use hsm_mtls::internal::exit_code::ExitCode;

/// The longest detail, in characters. A longer one is cut.
const MAX_DETAIL: usize = 1200;

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It passed.
    Good,
    /// It passed, with a note.
    Note,
    /// It failed.
    Bad,
    /// It was not run, because an earlier step failed.
    NotReached,
}

/// One step of a check.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Step {
    /// Its name.
    pub name: Cow<'static, str>,
    /// How it ended.
    pub outcome: Outcome,
    /// What it found.
    pub detail: String,
    /// What to do next, where there is something to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Its duration in milliseconds; `None` where it was not timed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub millis: Option<f64>,
}

/// Is called with each step as it ends, and with its exit code if it failed.
pub type Observer = Box<dyn FnMut(&Step, Option<ExitCode>)>;

/// The steps so far, the start time of the current one, and the exit codes of failures.
pub struct Steps {
    list: Vec<Step>,
    exit_codes: Vec<ExitCode>,
    started: Instant,
    observer: Option<Observer>,
}

impl fmt::Debug for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.list).finish()
    }
}

impl Default for Steps {
    fn default() -> Self {
        Self {
            list: Vec::new(),
            exit_codes: Vec::new(),
            started: Instant::now(),
            observer: None,
        }
    }
}

impl Steps {
    /// No steps yet; `observer` is called with each.
    pub fn observed_by(observer: Observer) -> Self {
        Self {
            observer: Some(observer),
            ..Self::default()
        }
    }

    /// Adds a step of another process, with its exit code if it failed.
    pub fn add(&mut self, step: Step, failed: Option<ExitCode>) {
        self.exit_codes.extend(failed);
        if let Some(observer) = &mut self.observer {
            observer(&step, failed);
        }
        self.list.push(step);
    }

    /// Starts the timer of the next step.
    pub fn begin(&mut self) {
        self.started = Instant::now();
    }

    /// Adds the timed step: it passed.
    pub fn good(&mut self, name: impl Into<Cow<'static, str>>, detail: impl Into<String>) {
        let millis = Some(self.elapsed());
        self.push(name, Outcome::Good, detail.into(), None, millis);
    }

    /// Adds the timed step: it passed, with a note and a hint.
    pub fn good_but(
        &mut self,
        name: impl Into<Cow<'static, str>>,
        detail: impl Into<String>,
        hint: impl Into<String>,
    ) {
        let millis = Some(self.elapsed());
        self.push(
            name,
            Outcome::Note,
            detail.into(),
            Some(hint.into()),
            millis,
        );
    }

    /// Adds the timed step: it failed, with this exit code.
    pub fn bad(
        &mut self,
        name: impl Into<Cow<'static, str>>,
        detail: impl Into<String>,
        hint: impl Into<String>,
        exit: ExitCode,
    ) {
        let millis = Some(self.elapsed());
        let hint = Some(hint.into());
        self.push_failed(name, detail.into(), hint, millis, exit);
    }

    /// Adds a step without a duration.
    pub fn seen(
        &mut self,
        name: impl Into<Cow<'static, str>>,
        outcome: Outcome,
        detail: impl Into<String>,
    ) {
        self.push(name, outcome, detail.into(), None, None);
    }

    /// Adds a step without a duration: it passed, with a note and a hint.
    pub fn note(
        &mut self,
        name: impl Into<Cow<'static, str>>,
        detail: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.push(name, Outcome::Note, detail.into(), Some(hint.into()), None);
    }

    /// Adds a step without a duration: it failed, with this exit code.
    pub fn fault(
        &mut self,
        name: impl Into<Cow<'static, str>>,
        detail: impl Into<String>,
        hint: impl Into<String>,
        exit: ExitCode,
    ) {
        self.push_failed(name, detail.into(), Some(hint.into()), None, exit);
    }

    /// Adds the steps of `all` that were not reached.
    pub fn end<N: Into<Cow<'static, str>> + Clone>(&mut self, all: &[N]) {
        for name in all.iter().cloned().map(Into::into) {
            if self.list.iter().all(|step| step.name != name) {
                self.push(name, Outcome::NotReached, String::new(), None, None);
            }
        }
    }

    /// The steps so far.
    pub fn list(&self) -> &[Step] {
        &self.list
    }

    /// The exit code of a command with these steps.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::nearest_to_token(self.exit_codes.iter().copied())
    }

    fn elapsed(&self) -> f64 {
        let micros = self.started.elapsed().as_micros() as f64;
        (micros / 10.0).round() / 100.0
    }

    fn push(
        &mut self,
        name: impl Into<Cow<'static, str>>,
        outcome: Outcome,
        detail: String,
        hint: Option<String>,
        millis: Option<f64>,
    ) {
        self.add(step(name, outcome, detail, hint, millis), None);
    }

    fn push_failed(
        &mut self,
        name: impl Into<Cow<'static, str>>,
        detail: String,
        hint: Option<String>,
        millis: Option<f64>,
        exit: ExitCode,
    ) {
        let failed = step(name, Outcome::Bad, detail, hint, millis);
        self.add(failed, Some(exit));
    }
}

fn step(
    name: impl Into<Cow<'static, str>>,
    outcome: Outcome,
    detail: String,
    hint: Option<String>,
    millis: Option<f64>,
) -> Step {
    Step {
        name: name.into(),
        outcome,
        detail: detail.chars().map(plain).take(MAX_DETAIL).collect(),
        hint,
        millis,
    }
}

/// Replaces control characters and those that change the direction of text. Parts of what is printed come from peers: they
/// must not control the terminal, begin new lines, or reverse the text around them.
pub fn plain(c: char) -> char {
    let changes_direction = matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if c.is_control() || changes_direction {
        char::REPLACEMENT_CHARACTER
    } else {
        c
    }
}

impl Serialize for Steps {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.list.serialize(serializer)
    }
}
