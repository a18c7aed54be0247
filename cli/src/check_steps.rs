//! A check as a list of named, timed steps: what a person reads and a machine parses.

use std::time::Instant;

use serde::Serialize;

use hsm_mtls::internal::exit_code::ExitCode;

/// How much of a detail is kept, in characters.
const LONGEST_DETAIL: usize = 1200;

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// As it must be.
    Good,
    /// Worth knowing; not a failure.
    Note,
    /// Not as it must be.
    Bad,
    /// An earlier step failed.
    NotReached,
}

/// One step of a check.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// What was done.
    pub name: &'static str,
    /// How it ended.
    pub outcome: Outcome,
    /// What was seen.
    pub detail: String,
    /// What to do, where there is something to be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// How long it took, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub millis: Option<f64>,
}

/// The steps so far, the clock of the one that runs, and how the whole would end.
#[derive(Debug)]
pub struct Steps {
    list: Vec<Step>,
    exit: Vec<ExitCode>,
    started: Instant,
}

impl Default for Steps {
    fn default() -> Self {
        Self {
            list: Vec::new(),
            exit: Vec::new(),
            started: Instant::now(),
        }
    }
}

impl Steps {
    /// Starts the clock of the next step.
    pub fn begin(&mut self) {
        self.started = Instant::now();
    }

    /// The step that was begun ended well.
    pub fn good(&mut self, name: &'static str, detail: impl Into<String>) {
        let millis = Some(self.elapsed());
        self.push(name, Outcome::Good, detail.into(), None, millis);
    }

    /// The step that was begun ended well, with something that is worth knowing, and what may be done
    /// about it.
    pub fn good_but(
        &mut self,
        name: &'static str,
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

    /// The step that was begun failed, and what that makes of the whole.
    pub fn bad(
        &mut self,
        name: &'static str,
        detail: impl Into<String>,
        hint: impl Into<String>,
        exit: ExitCode,
    ) {
        let millis = Some(self.elapsed());
        self.exit.push(exit);
        self.push(name, Outcome::Bad, detail.into(), Some(hint.into()), millis);
    }

    /// Something seen that is good or worth knowing; took no time of its own.
    pub fn seen(&mut self, name: &'static str, outcome: Outcome, detail: impl Into<String>) {
        self.push(name, outcome, detail.into(), None, None);
    }

    /// Something seen that is worth knowing, and what may be done about it.
    pub fn note(&mut self, name: &'static str, detail: impl Into<String>, hint: impl Into<String>) {
        self.push(name, Outcome::Note, detail.into(), Some(hint.into()), None);
    }

    /// Something seen that is not as it must be.
    pub fn fault(
        &mut self,
        name: &'static str,
        detail: impl Into<String>,
        hint: impl Into<String>,
        exit: ExitCode,
    ) {
        self.exit.push(exit);
        self.push(name, Outcome::Bad, detail.into(), Some(hint.into()), None);
    }

    /// Names those of `all` that were not taken, after the ones that were.
    pub fn end(&mut self, all: &[&'static str]) {
        for name in all {
            if self.list.iter().all(|step| step.name != *name) {
                self.push(name, Outcome::NotReached, String::new(), None, None);
            }
        }
    }

    /// The steps.
    pub fn list(&self) -> &[Step] {
        &self.list
    }

    /// How a command ends with these steps.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::nearest_to_token(self.exit.iter().copied())
    }

    fn elapsed(&self) -> f64 {
        let micros = self.started.elapsed().as_micros() as f64;
        (micros / 10.0).round() / 100.0
    }

    fn push(
        &mut self,
        name: &'static str,
        outcome: Outcome,
        detail: String,
        hint: Option<String>,
        millis: Option<f64>,
    ) {
        self.list.push(Step {
            name,
            outcome,
            detail: detail.chars().map(plain).take(LONGEST_DETAIL).collect(),
            hint,
            millis,
        });
    }
}

/// Some of what is printed is a peer's word: it gets neither at the terminal, nor lines of its own,
/// nor may it turn the direction of the text around.
pub fn plain(c: char) -> char {
    let turns = matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if c.is_control() || turns {
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
