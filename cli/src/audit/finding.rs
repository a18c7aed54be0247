//! What an audit says of each rule, and on what it rests: a claim of the module's is not a trial, and
//! neither is the operator's word.

use serde::{Deserialize, Serialize};

use super::rule::{Profile, Rule, Severity};
use super::rules;

/// What can be said of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// What must not be possible was tried, and the token refused: to this user, in this session.
    TriedAndRefused,
    /// Seen by this program itself: a signature that verifies, a file's mode, a date.
    Seen,
    /// The module says so.
    Claimed,
    /// The operator says so.
    Asserted,
    /// It does not hold.
    Violated,
    /// It cannot be answered here.
    NotAnswerable,
}

impl Verdict {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::TriedAndRefused => "tried and refused",
            Self::Seen => "seen",
            Self::Claimed => "claimed by the module",
            Self::Asserted => "asserted by the operator",
            Self::Violated => "violated",
            Self::NotAnswerable => "not answerable here",
        }
    }
}

/// What is said of one rule.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Judgement {
    /// The rule's name.
    pub rule: String,
    /// What can be said.
    pub verdict: Verdict,
    /// How grave it is that it does not hold, or that nothing can be said where an answer is a must. None
    /// otherwise.
    pub severity: Option<Severity>,
    /// What it rests on.
    pub evidence: Vec<String>,
}

impl Judgement {
    /// Whether it counts: more than a note.
    pub fn is_finding(&self) -> bool {
        self.severity
            .is_some_and(|severity| severity > Severity::Note)
    }
}

/// Some of it is the text of somebody else: of a label, a certificate, a file.
pub(super) fn plain(text: String) -> String {
    text.chars().map(crate::check_steps::plain).collect()
}

/// Without these nobody can say that the key is kept: an audit that cannot answer them does not end well.
const MUST_BE_ANSWERED: [&Rule; 3] = [
    &rules::key::SENSITIVE,
    &rules::key::EXTRACTABLE,
    &rules::key::SIGNS,
];

/// Judgements, as they are made.
#[derive(Debug)]
pub(super) struct Judgements {
    profile: Profile,
    pub(super) list: Vec<Judgement>,
}

impl Judgements {
    pub(super) fn new(profile: Profile) -> Self {
        Self {
            profile,
            list: Vec::new(),
        }
    }

    /// It holds, and on what that rests.
    pub(super) fn holds(
        &mut self,
        rule: &'static Rule,
        verdict: Verdict,
        evidence: impl Into<String>,
    ) {
        self.push(rule, verdict, None, vec![evidence.into()]);
    }

    /// It does not hold.
    pub(super) fn violated(&mut self, rule: &'static Rule, evidence: impl Into<String>) {
        self.violated_by(rule, vec![evidence.into()]);
    }

    /// It does not hold, for these reasons.
    pub(super) fn violated_by(&mut self, rule: &'static Rule, evidence: Vec<String>) {
        let severity = Some(rule.severity_in(self.profile));
        self.push(rule, Verdict::Violated, severity, evidence);
    }

    /// It does not hold, and is as grave as this, or as the profile makes it where that is less.
    pub(super) fn violated_at(
        &mut self,
        rule: &'static Rule,
        severity: Severity,
        evidence: impl Into<String>,
    ) {
        let severity = Some(rule.severity_in(self.profile).min(severity));
        self.push(rule, Verdict::Violated, severity, vec![evidence.into()]);
    }

    /// Nothing can be said, and why. Where an answer is a must, that is a finding too.
    pub(super) fn open(&mut self, rule: &'static Rule, why: impl Into<String>) {
        match MUST_BE_ANSWERED.iter().any(|must| must.id == rule.id) {
            true => self.unanswered(rule, why),
            false => self.push(rule, Verdict::NotAnswerable, None, vec![why.into()]),
        }
    }

    /// Somebody owes an answer, and there is none.
    pub(super) fn unanswered(&mut self, rule: &'static Rule, why: impl Into<String>) {
        let severity = Some(rule.severity_in(self.profile));
        self.push(rule, Verdict::NotAnswerable, severity, vec![why.into()]);
    }

    /// Holds where nothing was found against it.
    pub(super) fn by(
        &mut self,
        rule: &'static Rule,
        against: Vec<String>,
        verdict: Verdict,
        evidence: impl Into<String>,
    ) {
        match against.is_empty() {
            true => self.holds(rule, verdict, evidence),
            false => self.violated_by(rule, against),
        }
    }

    /// Says of those of `rules` of which nothing was said yet that nothing can be, and why.
    pub(super) fn rest(&mut self, rules: impl Iterator<Item = &'static Rule>, why: &str) {
        for rule in rules {
            if self.list.iter().all(|made| made.rule != rule.id) {
                // What stopped the audit is said by itself.
                self.push(rule, Verdict::NotAnswerable, None, vec![why.to_owned()]);
            }
        }
    }

    fn push(
        &mut self,
        rule: &'static Rule,
        verdict: Verdict,
        severity: Option<Severity>,
        evidence: Vec<String>,
    ) {
        self.list.push(Judgement {
            rule: rule.id.to_owned(),
            verdict,
            severity,
            evidence: evidence.into_iter().map(plain).collect(),
        });
    }
}
