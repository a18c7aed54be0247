//! The judgement of a rule: its verdict and the evidence. A claim of the module, an assertion of the operator and a probe
//! are different verdicts.

use serde::{Deserialize, Serialize};

use super::rule::{Profile, Rule, Severity};
use super::rules;

/// Whether a rule holds, and how that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// A probe tried what the rule forbids, and the token refused it to this user in this session.
    TriedAndRefused,
    /// This program observed it: a signature that verifies, a file's mode, a date.
    Seen,
    /// The module claims it.
    Claimed,
    /// The operator asserts it.
    Asserted,
    /// The rule does not hold.
    Violated,
    /// It is not known here whether the rule holds.
    NotAnswerable,
}

impl Verdict {
    /// The verdict in reports.
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

/// The judgement of one rule.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Judgement {
    /// The rule's id.
    pub rule: String,
    /// Whether it holds, and how that is known.
    pub verdict: Verdict,
    /// The severity of a violation, or of a required answer that is missing. `None` otherwise.
    pub severity: Option<Severity>,
    /// The evidence, or the reason why there is none.
    pub evidence: Vec<String>,
}

impl Judgement {
    /// Whether its severity is above a note.
    pub fn is_finding(&self) -> bool {
        self.severity
            .is_some_and(|severity| severity > Severity::Note)
    }
}

/// A text without control characters: labels, certificates and files may contain them.
pub(super) fn plain(text: String) -> String {
    text.chars().map(crate::check_steps::plain).collect()
}

/// Rules that must be answered: without an answer nobody knows whether the key can leave, and that is a finding.
const REQUIRED_ANSWERS: [&Rule; 3] = [
    &rules::key::SENSITIVE,
    &rules::key::EXTRACTABLE,
    &rules::key::SIGNS,
];

/// The judgements of an audit, one after the other.
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

    /// The rule holds.
    pub(super) fn holds(
        &mut self,
        rule: &'static Rule,
        verdict: Verdict,
        evidence: impl Into<String>,
    ) {
        self.push(rule, verdict, None, vec![evidence.into()]);
    }

    /// The rule does not hold.
    pub(super) fn violated(&mut self, rule: &'static Rule, evidence: impl Into<String>) {
        self.violated_with(rule, vec![evidence.into()]);
    }

    /// The rule does not hold, with several pieces of evidence.
    pub(super) fn violated_with(&mut self, rule: &'static Rule, evidence: Vec<String>) {
        let severity = Some(rule.severity_in(self.profile));
        self.push(rule, Verdict::Violated, severity, evidence);
    }

    /// The rule does not hold. The severity is the given one, or that of the profile where that is less.
    pub(super) fn violated_with_severity(
        &mut self,
        rule: &'static Rule,
        severity: Severity,
        evidence: impl Into<String>,
    ) {
        let severity = Some(rule.severity_in(self.profile).min(severity));
        self.push(rule, Verdict::Violated, severity, vec![evidence.into()]);
    }

    /// It is not known whether the rule holds. That is a finding where an answer is required.
    pub(super) fn not_answerable(&mut self, rule: &'static Rule, reason: impl Into<String>) {
        match REQUIRED_ANSWERS
            .iter()
            .any(|required| required.id == rule.id)
        {
            true => self.answer_missing(rule, reason),
            false => self.push(rule, Verdict::NotAnswerable, None, vec![reason.into()]),
        }
    }

    /// It is not known whether the rule holds, and somebody would have to say so: a finding.
    pub(super) fn answer_missing(&mut self, rule: &'static Rule, reason: impl Into<String>) {
        let severity = Some(rule.severity_in(self.profile));
        self.push(rule, Verdict::NotAnswerable, severity, vec![reason.into()]);
    }

    /// The rule holds if there are no violations.
    pub(super) fn holds_unless(
        &mut self,
        rule: &'static Rule,
        violations: Vec<String>,
        verdict: Verdict,
        evidence: impl Into<String>,
    ) {
        match violations.is_empty() {
            true => self.holds(rule, verdict, evidence),
            false => self.violated_with(rule, violations),
        }
    }

    /// Those of `rules` that have no judgement yet are not answerable.
    pub(super) fn rest_not_answerable(
        &mut self,
        rules: impl Iterator<Item = &'static Rule>,
        reason: &str,
    ) {
        for rule in rules {
            if self.list.iter().all(|judgement| judgement.rule != rule.id) {
                // Never a finding here: the report has the reason once, as what stopped the audit.
                self.push(rule, Verdict::NotAnswerable, None, vec![reason.to_owned()]);
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
