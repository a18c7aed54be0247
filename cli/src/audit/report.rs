//! The report: the answer first, then what was judged, and what it rests on. JSON of it is a contract,
//! described by `docs/audit.schema.json`.

use serde::{Deserialize, Serialize};

use super::conclusion::Conclusion;
use super::environments_check as environments;
use super::finding::Judgement;
use super::ledger_check::KeyUsage;
use super::rule::{Profile, Rule};
use super::rules;
use hsm_mtls::internal::exit_code::ExitCode;
use hsm_mtls::internal::rfc3339;

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
    /// What is between environments was held to.
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
    /// What it was held to.
    pub profile: Profile,
    /// Whether the key can leave, and who can use it.
    pub answer: Conclusion,
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
    pub uses: Vec<KeyUsage>,
}

/// A private key that can be seen.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeySeen {
    /// Its URI.
    pub uri: String,
    /// SHA-256 of its public key; `None` where it is not told.
    pub public_key: Option<String>,
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
    /// The same for people: why the audit got no further is said once, and not with each rule that it left open.
    pub fn reason_said_once(&self) -> Self {
        let mut subject = self.clone();
        let Some(stopped) = &self.stopped else {
            return subject;
        };
        let reason = format!(": {}", stopped.error);
        let evidence = subject.judgements.iter_mut();
        let evidence = evidence.flat_map(|made| &mut made.evidence);
        for text in evidence.chain(&mut subject.answer.rests_on) {
            if let Some(shortened) = text.strip_suffix(&reason) {
                *text = shortened.to_owned();
            }
        }
        subject
    }

    /// What was said of a rule.
    pub fn judged(&self, rule: &str) -> Option<&Judgement> {
        self.judgements.iter().find(|made| made.rule == rule)
    }
}
