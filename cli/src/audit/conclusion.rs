//! The answer to the question that a reviewer has, drawn from all that was judged: can the key leave, and
//! who can use it?

use serde::{Deserialize, Serialize};

use super::finding::{Judgement, Verdict};
use super::rule::Rule;
use super::rules;

/// Whether a key can leave its token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Leave {
    /// Nothing that was claimed or tried speaks for it.
    No,
    /// Not now, but it was outside, or could have been.
    MayHaveLeft,
    /// There is no HSM: what the calls of a program refuse, its files give.
    NoHsm,
    /// It can.
    Yes,
    /// It could not be looked at.
    NotAnswerable,
}

/// The answer to the question that a reviewer has.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Conclusion {
    /// Whether the key can leave the token.
    pub can_leave: Leave,
    /// The same as a sentence.
    pub sentence: String,
    /// What that rests on.
    pub rests_on: Vec<String>,
    /// Who can use the key.
    pub who_can_use_it: String,
}

/// Each is enough for the key to leave.
const LEAVES: [&Rule; 8] = [
    &rules::key::TWIN_HELD,
    &rules::key::READABLE,
    &rules::key::WRAPPABLE,
    &rules::key::SENSITIVE,
    &rules::key::EXTRACTABLE,
    &rules::key::CHANGE_TRIED,
    &rules::key::COPY_TRIED,
    &rules::key::WRAP_TRIED,
];
/// Each is enough for it to have been outside.
const LEFT: [&Rule; 4] = [
    &rules::key::ALWAYS_SENSITIVE,
    &rules::key::NEVER_EXTRACTABLE,
    &rules::key::LOCAL,
    &rules::host::KEY_FILES,
];

impl Conclusion {
    /// From what was judged.
    pub(super) fn of(judgements: &[Judgement]) -> Self {
        let judged = |rule: &'static Rule| judgements.iter().find(|made| made.rule == rule.id);
        let violated = |rules: &[&'static Rule]| {
            let made = rules.iter().copied().filter_map(judged);
            let against = made.filter(|made| made.verdict == Verdict::Violated);
            against
                .map(|made| format!("{}: {}", made.rule, made.evidence.join("; ")))
                .collect::<Vec<_>>()
        };
        let tried = |rule: &'static Rule| {
            judged(rule).is_some_and(|made| made.verdict == Verdict::TriedAndRefused)
        };
        let claimed =
            |rule: &'static Rule| judged(rule).is_some_and(|made| made.verdict == Verdict::Claimed);
        let software = violated(&[&rules::token::HARDWARE]);
        let (leaves, left) = (violated(&LEAVES), violated(&LEFT));
        let (can_leave, sentence, rests_on) = if !leaves.is_empty() {
            let said = "YES. This private key can leave its token.";
            (Leave::Yes, said.to_owned(), leaves)
        } else if !left.is_empty() {
            let said = "NOT NOW, BUT IT MAY HAVE. This private key has been outside of its token, or could have been.";
            (Leave::MayHaveLeft, said.to_owned(), left)
        } else if claimed(&rules::key::SENSITIVE) && claimed(&rules::key::EXTRACTABLE) {
            let mut rests_on =
                vec!["the module claims that it is sensitive and cannot be extracted".to_owned()];
            for (rule, what) in [
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
                    rests_on.push(format!("{what} was tried, and refused"));
                }
            }
            let untold = LEFT
                .into_iter()
                .chain([&rules::key::TWIN_HELD])
                .filter(|rule| rule.id != rules::host::KEY_FILES.id);
            let untold: Vec<_> = untold
                .filter_map(judged)
                .filter(|made| made.verdict == Verdict::NotAnswerable)
                .map(|made| format!("{}: {}", made.rule, made.evidence.join("; ")))
                .collect();
            let (leave, said) = match (
                software.is_empty(),
                untold.is_empty(),
                tried(&rules::key::READABLE),
            ) {
                (false, ..) => (
                    Leave::NoHsm,
                    "THERE IS NO HSM. The token is a program: whoever copies its files and has the PIN has the key, \
                     though its calls do not give it out.",
                ),
                (true, false, _) => (
                    Leave::MayHaveLeft,
                    "NOT NOW, AS FAR AS CAN BE SEEN. Whether this private key was ever outside of its token is not told.",
                ),
                (true, true, true) => (
                    Leave::No,
                    "NO. Nothing that was claimed or tried lets this private key leave its token.",
                ),
                (true, true, false) => (
                    Leave::No,
                    "NO, BY THE MODULE'S WORD ALONE. Nothing that it claims lets this private key leave its token; it could not \
                     be tried.",
                ),
            };
            rests_on.splice(0..0, software);
            rests_on.extend(untold);
            (leave, said.to_owned(), rests_on)
        } else {
            let said = "NOT ANSWERED. The key could not be looked at, or the module does not tell.";
            let open = [
                &rules::key::SENSITIVE,
                &rules::key::EXTRACTABLE,
                &rules::key::READABLE,
            ];
            let open = open.into_iter().filter_map(judged);
            let why = open.map(|made| format!("{}: {}", made.rule, made.evidence.join("; ")));
            (Leave::NotAnswerable, said.to_owned(), why.collect())
        };
        Self {
            can_leave,
            sentence,
            rests_on,
            who_can_use_it: who(judgements),
        }
    }
}

fn who(judgements: &[Judgement]) -> String {
    let judged = |rule: &Rule| judgements.iter().find(|made| made.rule == rule.id);
    let said = |rule: &Rule| {
        let made = judged(rule)?;
        Some(made.evidence.join("; "))
    };
    let holds = |rule: &Rule| {
        judged(rule)
            .is_some_and(|made| !matches!(made.verdict, Verdict::Violated | Verdict::NotAnswerable))
    };
    let mut text = match (holds(&rules::token::LOGIN), holds(&rules::key::HIDDEN)) {
        (true, true) => "Whoever has the PIN and reaches the token.".to_owned(),
        (false, _)
            if judged(&rules::token::LOGIN)
                .is_some_and(|made| made.verdict == Verdict::Violated) =>
        {
            "Whoever reaches the token: it wants no login.".to_owned()
        }
        _ => "Whoever reaches the token, perhaps without a PIN: see key.hidden.".to_owned(),
    };
    if let Some(pin) = said(&rules::host::PIN) {
        text.push_str(&format!(" The PIN: {pin}."));
    }
    match judged(&rules::host::CALLERS).map(|made| made.verdict) {
        None | Some(Verdict::NotAnswerable) => {}
        Some(_) => {
            let listens = said(&rules::host::LISTENS).unwrap_or_default();
            text.push_str(&format!(" Through the proxy: {listens}."));
        }
    }
    text
}
