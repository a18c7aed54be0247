//! The report of an audit. Its JSON is a contract, described by `docs/audit.schema.json`.

use serde::{Deserialize, Serialize};

use super::conclusion::Conclusion;
use super::environments_check;
use super::finding::{Judgement, plain};
use super::ledger_check::KeyUsage;
use super::rule::{Profile, Rule};
use super::rules;
use hsm_mtls::internal::config::KeyRole;
use hsm_mtls::internal::diagnostic::Diagnostic;
use hsm_mtls::internal::exit_code::ExitCode;
use hsm_mtls::internal::rfc3339;

/// The report on one or several configurations.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The version of the JSON; 0 until it is declared stable.
    pub schema: u32,
    /// The kind of document: `hsm-mtls-audit`.
    pub kind: &'static str,
    /// Name and version of this program.
    pub made_by: String,
    /// The time, as RFC 3339.
    pub made: String,
    /// The profile of the rules between environments.
    pub profile: Profile,
    /// Whether disposable keys were made and probed.
    pub active: bool,
    /// Whether there is no finding, and no audit ended early.
    pub good: bool,
    /// The number of findings.
    pub findings: usize,
    /// Each configuration.
    pub subjects: Vec<Subject>,
    /// The judgements on what several environments must not share.
    pub environments: Vec<Judgement>,
    /// All rules, with their texts.
    pub rules: Vec<&'static Rule>,
}

/// The result for one key of a configuration.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Subject {
    /// `C3` or `Sig4`, where the configuration has both keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The path of the configuration.
    pub configuration: String,
    /// `preprod` or `production`.
    pub environment: String,
    /// The profile that decided severities.
    pub profile: Profile,
    /// Whether the key can leave, and who can use it.
    pub answer: Conclusion,
    /// The error that ended the audit early.
    pub stopped: Option<Stopped>,
    /// The key's URI.
    pub key: Option<String>,
    /// The issuer of the certificate.
    pub issuer: Option<String>,
    /// Label and serial number of the token.
    pub token: Option<String>,
    /// The source of the PIN.
    pub pin_source: String,
    /// The source in a form that can be compared with another configuration's: links are resolved. `None` where a person
    /// types the PIN, or the source depends on the service.
    pub pin_place: Option<String>,
    /// Every private key that the user can see.
    pub keys: Vec<VisibleKey>,
    /// Attributes of token, key and certificate.
    pub facts: Vec<Facts>,
    /// The judgement of each rule.
    pub judgements: Vec<Judgement>,
    /// How often the key was used, by day and purpose.
    pub uses: Vec<KeyUsage>,
}

/// A private key that is visible to the user.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VisibleKey {
    /// Its URI.
    pub uri: String,
    /// SHA-256 of its public key; `None` where the token has none for it.
    pub public_key: Option<String>,
}

/// Names and values under a heading.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Facts {
    /// The heading.
    pub about: String,
    /// Names and values, in order.
    pub rows: Vec<(String, String)>,
}

/// The error that ended an audit early.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stopped {
    /// The message.
    pub error: String,
    /// What to do next.
    pub hint: String,
    /// Its exit code.
    pub exit: u8,
}

impl Stopped {
    pub(super) fn by(error: &dyn Diagnostic) -> Self {
        Self {
            error: plain(error.to_string()),
            hint: plain(error.hint()),
            exit: error.exit_code() as u8,
        }
    }

    pub(super) fn by_error_of(role: KeyRole, error: &dyn Diagnostic) -> Self {
        let stopped = Self::by(error);
        Self {
            hint: role.advice(&stopped.hint),
            ..stopped
        }
    }

    /// Why a rule is not answerable that was not reached.
    pub(super) fn reason(stopped: Option<&Self>) -> String {
        match stopped {
            Some(stopped) => format!("the audit got no further: {}", stopped.error),
            None => "it was not looked at".to_owned(),
        }
    }
}

impl Report {
    /// The report on these configurations. Judges what they must not share.
    pub fn new(profile: Profile, active: bool, subjects: Vec<Subject>) -> Self {
        let environments = environments_check::judge(&subjects, profile);
        let of_subjects = subjects.iter().flat_map(|subject| &subject.judgements);
        let all = of_subjects.chain(&environments);
        let findings = all.filter(|judgement| judgement.is_finding()).count();
        let stopped = subjects.iter().any(|subject| subject.stopped.is_some());
        let is_judged = |rule: &&Rule| {
            rule.category() == "environments"
                || subjects
                    .iter()
                    .any(|subject| subject.judgement_of(rule.id).is_some())
        };
        let rules = rules::all().filter(is_judged).collect();
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
            rules,
        }
    }

    /// Whether it is about several configurations, and not only about several keys of one.
    pub fn has_several_configurations(&self) -> bool {
        environments_check::are_several(&self.subjects)
    }

    /// The exit code of the command: an error that ended an audit comes before a finding.
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
    /// The configuration, and which of its keys where it has both.
    pub fn heading(&self) -> String {
        match &self.role {
            Some(role) => format!("{role} of {}", self.configuration),
            None => self.configuration.clone(),
        }
    }

    /// A copy for people: the error that ended the audit is printed once, and removed from the evidence of each rule that was
    /// not reached.
    pub fn without_repeated_error(&self) -> Self {
        let mut subject = self.clone();
        let Some(stopped) = &self.stopped else {
            return subject;
        };
        let suffix = format!(": {}", stopped.error);
        let evidence = subject.judgements.iter_mut();
        let evidence = evidence.flat_map(|judgement| &mut judgement.evidence);
        for text in evidence.chain(&mut subject.answer.rests_on) {
            if let Some(shortened) = text.strip_suffix(&suffix) {
                *text = shortened.to_owned();
            }
        }
        subject
    }

    /// The judgement of a rule.
    pub fn judgement_of(&self, rule: &str) -> Option<&Judgement> {
        self.judgements
            .iter()
            .find(|judgement| judgement.rule == rule)
    }
}
