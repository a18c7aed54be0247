//! The report: the answer first, then what was judged, and what it rests on. JSON of it is a contract,
//! described by `docs/audit.schema.json`.

use serde::{Deserialize, Serialize};

use super::environments;
use super::finding::{Judgement, Verdict};
use super::rule::{Profile, Rule};
use super::rules;
use super::uses::Use;
use crate::error::ExitCode;
use crate::rfc3339;

/// What is written: of one or several configurations.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The form of this; 0 until it is declared stable.
    pub schema: u32,
    /// What it is.
    pub kind: &'static str,
    /// Which program made it.
    pub made_by: String,
    /// When, as RFC 3339.
    pub made: String,
    /// What it was held to.
    pub profile: Profile,
    /// Whether trials on disposable keys were made.
    pub active: bool,
    /// Whether there is no finding, and all could be looked at.
    pub good: bool,
    /// How many findings there are.
    pub findings: usize,
    /// Each configuration.
    pub subjects: Vec<Subject>,
    /// What several environments must not share.
    pub environments: Vec<Judgement>,
    /// The rules that were asked, in words.
    pub rules: Vec<&'static Rule>,
}

/// What was found of one configuration.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Subject {
    /// The file.
    pub configuration: String,
    /// `preprod` or `production`.
    pub environment: String,
    /// Whether the key can leave, and who can use it.
    pub answer: Answer,
    /// What stopped the audit half-way, if anything did.
    pub stopped: Option<Stopped>,
    /// The key's URI.
    pub key: Option<String>,
    /// The issuer of the certificate.
    pub issuer: Option<String>,
    /// Label and serial number of the token.
    pub token: Option<String>,
    /// Where the PIN comes from.
    pub pin_source: String,
    /// The same where it can be held against another's: links are followed. None where a person is asked,
    /// and where the place depends on the service.
    pub pin_place: Option<String>,
    /// Every private key that the user can see.
    pub keys: Vec<KeySeen>,
    /// What was read, under headings.
    pub facts: Vec<Facts>,
    /// Every rule.
    pub judgements: Vec<Judgement>,
    /// What the key was used for, day by day.
    pub uses: Vec<Use>,
}

/// A private key that can be seen.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeySeen {
    /// Its URI.
    pub uri: String,
    /// SHA-256 of its public key.
    pub public_key: String,
}

/// Names and what they stand for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Facts {
    /// What they are about.
    pub about: String,
    /// In order.
    pub rows: Vec<(String, String)>,
}

/// What stopped an audit half-way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stopped {
    /// The error.
    pub error: String,
    /// The next step.
    pub hint: String,
    /// The exit code that it has.
    pub exit: u8,
}

/// Whether a key can leave its token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Leave {
    /// Nothing that was claimed or tried speaks for it.
    No,
    /// Not now, but it was outside, or could have been.
    MayHaveLeft,
    /// It can.
    Yes,
    /// It could not be looked at.
    NotAnswerable,
}

/// The answer to the question that a reviewer has.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Answer {
    /// Whether the key can leave the token.
    pub can_leave: Leave,
    /// The same as a sentence.
    pub sentence: String,
    /// What that rests on.
    pub rests_on: Vec<String>,
    /// Who can use the key.
    pub who_can_use_it: String,
}

impl Report {
    /// Puts together what was found of each configuration.
    pub fn new(profile: Profile, active: bool, subjects: Vec<Subject>) -> Self {
        let environments = environments::judge(&subjects, profile);
        let of_subjects = subjects.iter().flat_map(|subject| &subject.judgements);
        let all = of_subjects.chain(&environments);
        let findings = all.filter(|made| made.is_finding()).count();
        let stopped = subjects.iter().any(|subject| subject.stopped.is_some());
        Self {
            schema: 0,
            kind: "hsm-mtls-audit",
            made_by: format!("hsm-mtls {}", env!("CARGO_PKG_VERSION")),
            made: rfc3339::now(),
            profile,
            active,
            good: findings == 0 && !stopped,
            findings,
            subjects,
            environments,
            rules: rules::all().collect(),
        }
    }

    /// How the command ends: what stopped an audit comes before a finding.
    pub fn exit_code(&self) -> ExitCode {
        let stopped = self
            .subjects
            .iter()
            .filter_map(|subject| subject.stopped.as_ref());
        let mut codes: Vec<_> = stopped.map(|stopped| ExitCode::of(stopped.exit)).collect();
        if self.findings > 0 {
            codes.push(ExitCode::Finding);
        }
        ExitCode::nearest_to_token(codes)
    }
}

impl Subject {
    /// What was said of a rule.
    pub fn judged(&self, rule: &str) -> Option<&Judgement> {
        self.judgements.iter().find(|made| made.rule == rule)
    }
}

/// Each is enough for the key to leave.
const LEAVES: [&str; 7] = [
    "key.readable",
    "key.wrappable",
    "key.sensitive",
    "key.extractable",
    "key.change-tried",
    "key.copy-tried",
    "key.wrap-tried",
];
/// Each is enough for it to have been outside.
const LEFT: [&str; 4] = [
    "key.always-sensitive",
    "key.never-extractable",
    "key.local",
    "host.key-files",
];

impl Answer {
    /// From what was judged.
    pub(super) fn of(judgements: &[Judgement]) -> Self {
        let judged = |rule: &&str| judgements.iter().find(|made| made.rule == **rule);
        let violated = |rules: &[&'static str]| {
            let made = rules.iter().filter_map(judged);
            let against = made.filter(|made| made.verdict == Verdict::Violated);
            against
                .map(|made| format!("{}: {}", made.rule, made.evidence.join("; ")))
                .collect::<Vec<_>>()
        };
        let tried = |rule: &'static str| {
            judged(&rule).is_some_and(|made| made.verdict == Verdict::TriedAndRefused)
        };
        let claimed =
            |rule: &'static str| judged(&rule).is_some_and(|made| made.verdict == Verdict::Claimed);
        let software = !violated(&["token.hardware"]).is_empty();
        let (leaves, left) = (violated(&LEAVES), violated(&LEFT));
        let (can_leave, mut sentence, rests_on) = if !leaves.is_empty() {
            let said = "YES. This private key can leave its token.";
            (Leave::Yes, said.to_owned(), leaves)
        } else if !left.is_empty() {
            let said = "NOT NOW, BUT IT MAY HAVE. This private key has been outside of its token, or could have been.";
            (Leave::MayHaveLeft, said.to_owned(), left)
        } else if claimed("key.sensitive") && claimed("key.extractable") {
            let mut rests_on =
                vec!["the module claims that it is sensitive and cannot be extracted".to_owned()];
            if tried("key.readable") {
                rests_on.push("reading it was tried, and refused".to_owned());
            }
            if tried("key.wrappable") {
                rests_on.push("wrapping it was tried, and refused".to_owned());
            }
            for (rule, what) in [
                ("key.change-tried", "making a key like it extractable"),
                ("key.copy-tried", "copying a key like it as extractable"),
                ("key.wrap-tried", "wrapping a key like it"),
            ] {
                if tried(rule) {
                    rests_on.push(format!("{what} was tried, and refused"));
                }
            }
            let said =
                "NO. Nothing that was claimed or tried lets this private key leave its token.";
            (Leave::No, said.to_owned(), rests_on)
        } else {
            let said = "NOT ANSWERED. The key could not be looked at, or the module does not tell.";
            let open = ["key.sensitive", "key.extractable", "key.readable"].iter();
            let open = open.filter_map(judged);
            let why = open.map(|made| format!("{}: {}", made.rule, made.evidence.join("; ")));
            (Leave::NotAnswerable, said.to_owned(), why.collect())
        };
        if software {
            sentence.push_str(
                " But the token is a program: whoever reads its files and the PIN has the key.",
            );
        }
        Self {
            can_leave,
            sentence,
            rests_on,
            who_can_use_it: who(judgements),
        }
    }
}

fn who(judgements: &[Judgement]) -> String {
    let judged = |rule: &str| judgements.iter().find(|made| made.rule == rule);
    let said = |rule: &str| {
        let made = judged(rule)?;
        Some(made.evidence.join("; "))
    };
    let holds = |rule: &str| {
        judged(rule)
            .is_some_and(|made| !matches!(made.verdict, Verdict::Violated | Verdict::NotAnswerable))
    };
    let mut text = match (holds("token.login"), holds("key.hidden")) {
        (true, true) => "Whoever has the PIN and reaches the token.".to_owned(),
        (false, _)
            if judged("token.login").is_some_and(|made| made.verdict == Verdict::Violated) =>
        {
            "Whoever reaches the token: it wants no login.".to_owned()
        }
        _ => "Whoever reaches the token, perhaps without a PIN: see key.hidden.".to_owned(),
    };
    if let Some(pin) = said("host.pin") {
        text.push_str(&format!(" The PIN: {pin}."));
    }
    match judged("host.callers").map(|made| made.verdict) {
        None | Some(Verdict::NotAnswerable) => {}
        Some(_) => {
            let listens = said("host.listens").unwrap_or_default();
            text.push_str(&format!(" Through the proxy: {listens}."));
        }
    }
    text
}
