//! The conclusion of the audit, drawn from all judgements: can the key leave its token, and who can use it?

use serde::{Deserialize, Serialize};

use super::finding::{Judgement, Verdict};
use super::rule::Rule;
use super::rules;

/// Whether a key can leave its token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CanLeave {
    /// It cannot, by all claims and probes.
    No,
    /// Not now, but it was outside of the token, or could have been.
    MayHaveLeft,
    /// There is no HSM: the key can be copied with the files of a software token.
    NoHsm,
    /// It can.
    Yes,
    /// The key could not be examined.
    NotAnswerable,
}

/// The conclusion for one configuration.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Conclusion {
    /// Whether the key can leave the token.
    pub can_leave: CanLeave,
    /// The same answer as a sentence.
    pub sentence: String,
    /// The claims, probes and findings that it is drawn from.
    pub rests_on: Vec<String>,
    /// Who can use the key.
    pub who_can_use_it: String,
}

/// A violation of any of these rules shows that the key can leave.
const EXTRACTION_RULES: [&Rule; 8] = [
    &rules::key::TWIN_HELD,
    &rules::key::READABLE,
    &rules::key::WRAPPABLE,
    &rules::key::SENSITIVE,
    &rules::key::EXTRACTABLE,
    &rules::key::CHANGE_TRIED,
    &rules::key::COPY_TRIED,
    &rules::key::WRAP_TRIED,
];
/// A violation of any of these rules shows that the key was outside, or could have been.
const PAST_EXTRACTION_RULES: [&Rule; 4] = [
    &rules::key::ALWAYS_SENSITIVE,
    &rules::key::NEVER_EXTRACTABLE,
    &rules::key::LOCAL,
    &rules::host::KEY_FILES,
];

impl Conclusion {
    /// Draws the conclusion from the judgements of all rules.
    pub(super) fn of(judgements: &[Judgement]) -> Self {
        let judgement_of = |rule: &'static Rule| {
            judgements
                .iter()
                .find(|judgement| judgement.rule == rule.id)
        };
        let violated = |rules: &[&'static Rule]| {
            let judgements = rules.iter().copied().filter_map(judgement_of);
            let violations = judgements.filter(|judgement| judgement.verdict == Verdict::Violated);
            violations.map(rule_and_evidence).collect::<Vec<_>>()
        };
        let has_verdict = |rule: &'static Rule, verdict| {
            judgement_of(rule).is_some_and(|judgement| judgement.verdict == verdict)
        };
        let tried = |rule| has_verdict(rule, Verdict::TriedAndRefused);
        let claimed = |rule| has_verdict(rule, Verdict::Claimed);
        let software = violated(&[&rules::token::HARDWARE]);
        let extraction = violated(&EXTRACTION_RULES);
        let past_extraction = violated(&PAST_EXTRACTION_RULES);
        let (can_leave, sentence, rests_on) = if !extraction.is_empty() {
            let sentence = "YES. This private key can leave its token.";
            (CanLeave::Yes, sentence.to_owned(), extraction)
        } else if !past_extraction.is_empty() {
            let sentence = "NOT NOW, BUT IT MAY HAVE. This private key has been outside of its token, or could have been.";
            (CanLeave::MayHaveLeft, sentence.to_owned(), past_extraction)
        } else if claimed(&rules::key::SENSITIVE) && claimed(&rules::key::EXTRACTABLE) {
            let mut rests_on =
                vec!["the module claims that it is sensitive and cannot be extracted".to_owned()];
            for (rule, probe) in [
                (&rules::key::READABLE, "reading it"),
                (&rules::key::WRAPPABLE, "wrapping it"),
                (
                    &rules::key::CHANGE_TRIED,
                    "making a key like it extractable",
                ),
                (
                    &rules::key::COPY_TRIED,
                    "copying a key like it as extractable",
                ),
                (&rules::key::WRAP_TRIED, "wrapping a key like it"),
            ] {
                if tried(rule) {
                    rests_on.push(format!("{probe} was tried, and refused"));
                }
            }
            let past = PAST_EXTRACTION_RULES
                .into_iter()
                .chain([&rules::key::TWIN_HELD])
                .filter(|rule| rule.id != rules::host::KEY_FILES.id);
            let past_unknown: Vec<_> = past
                .filter_map(judgement_of)
                .filter(|judgement| judgement.verdict == Verdict::NotAnswerable)
                .map(rule_and_evidence)
                .collect();
            let (can_leave, sentence) = match (
                software.is_empty(),
                past_unknown.is_empty(),
                tried(&rules::key::READABLE),
            ) {
                (false, ..) => (
                    CanLeave::NoHsm,
                    "THERE IS NO HSM. The token is a program: whoever copies its files and has the PIN has the key, \
                     though its calls do not give it out.",
                ),
                (true, false, _) => (
                    CanLeave::MayHaveLeft,
                    "NOT NOW, AS FAR AS CAN BE SEEN. Whether this private key was ever outside of its token is not told.",
                ),
                (true, true, true) => (
                    CanLeave::No,
                    "NO. Nothing that was claimed or tried lets this private key leave its token.",
                ),
                (true, true, false) => (
                    CanLeave::No,
                    "NO, BY THE MODULE'S WORD ALONE. Nothing that it claims lets this private key leave its token; it could not \
                     be tried.",
                ),
            };
            rests_on.splice(0..0, software);
            rests_on.extend(past_unknown);
            (can_leave, sentence.to_owned(), rests_on)
        } else {
            let sentence =
                "NOT ANSWERED. The key could not be looked at, or the module does not tell.";
            let key_rules = [
                &rules::key::SENSITIVE,
                &rules::key::EXTRACTABLE,
                &rules::key::READABLE,
            ];
            let reasons = key_rules.into_iter().filter_map(judgement_of);
            let reasons = reasons.map(rule_and_evidence).collect();
            (CanLeave::NotAnswerable, sentence.to_owned(), reasons)
        };
        Self {
            can_leave,
            sentence,
            rests_on,
            who_can_use_it: who_can_use_it(judgements),
        }
    }
}

fn rule_and_evidence(judgement: &Judgement) -> String {
    format!("{}: {}", judgement.rule, judgement.evidence.join("; "))
}

/// Who can use the key: by login and attributes, with the PIN's source and the proxy's callers.
fn who_can_use_it(judgements: &[Judgement]) -> String {
    let judgement_of = |rule: &Rule| {
        judgements
            .iter()
            .find(|judgement| judgement.rule == rule.id)
    };
    let evidence = |rule: &Rule| {
        let judgement = judgement_of(rule)?;
        Some(judgement.evidence.join("; "))
    };
    let holds = |rule: &Rule| {
        judgement_of(rule).is_some_and(|judgement| {
            !matches!(
                judgement.verdict,
                Verdict::Violated | Verdict::NotAnswerable
            )
        })
    };
    let mut text = match (holds(&rules::token::LOGIN), holds(&rules::key::HIDDEN)) {
        (true, true) => "Whoever has the PIN and reaches the token.".to_owned(),
        (false, _)
            if judgement_of(&rules::token::LOGIN)
                .is_some_and(|judgement| judgement.verdict == Verdict::Violated) =>
        {
            "Whoever reaches the token: it wants no login.".to_owned()
        }
        _ => "Whoever reaches the token, perhaps without a PIN: see key.hidden.".to_owned(),
    };
    if let Some(pin) = evidence(&rules::host::PIN) {
        text.push_str(&format!(" The PIN: {pin}."));
    }
    match judgement_of(&rules::host::CALLERS).map(|judgement| judgement.verdict) {
        None | Some(Verdict::NotAnswerable) => {}
        Some(_) => {
            let listens = evidence(&rules::host::LISTENS).unwrap_or_default();
            text.push_str(&format!(" Through the proxy: {listens}."));
        }
    }
    text
}
