//! Audits one configuration, from its file to the last record of its ledger. An error ends the audit early: the rules
//! that were not reached are not answerable, with the error as the reason.

use std::path::PathBuf;
use std::sync::Arc;

use super::conclusion::Conclusion;
use super::finding::{Judgements, Verdict, plain};
use super::key_check::WithoutLogin;
use super::probe_result::{Claim, judge_probes};
use super::report::{Facts, Stopped, Subject, VisibleKey};
use super::rule::{Profile, Rule};
use super::token_probe::{self, ProbeRequest, TokenProbe};
use super::{certificate_check, host_check, ledger_check, module_check, rules, token_check};
use hsm_mtls::internal::certificate::{Certificate, read_file};
use hsm_mtls::internal::config::{CertificateSource, Config};
use hsm_mtls::internal::diagnostic::Diagnostic as _;
use hsm_mtls::internal::engine::{Purpose, challenge};
use hsm_mtls::internal::identity::{IdentityError, engine_for_key};
use hsm_mtls::internal::key::Key;
use hsm_mtls::internal::key::public::PublicKey;
use hsm_mtls::internal::ledger::Recorder;
use hsm_mtls::internal::signer::SignerError;
use hsm_mtls::internal::signer::hardening::Measure;
use hsm_mtls::internal::token::Token;
use hsm_mtls::internal::token::guard::Attendance;
use hsm_mtls::internal::token::module::Module;

/// The options of an audit.
pub struct AuditOptions<'a> {
    /// The profile that decides severities.
    pub profile: Profile,
    /// Whether disposable session keys may be made in the token.
    pub active: bool,
    /// Folders that are searched for copies of the key.
    pub search: Vec<PathBuf>,
    /// Starts a signer process, and returns its hardening measures.
    pub hardening: &'a dyn Fn(&Config) -> Result<Vec<Measure>, SignerError>,
}

/// Audits one configuration.
pub fn audit(config: &Config, options: &AuditOptions<'_>, attendance: Attendance) -> Subject {
    let mut run = AuditRun {
        config,
        options,
        judgements: Judgements::new(options.profile),
        facts: Vec::new(),
        key: None,
        public_key: None,
        keys: Vec::new(),
        token: None,
    };
    host_check::judge(config, &mut run.judgements);
    module_check::judge_module_file(&config.token, &mut run.judgements);
    let mut certificates = match &config.c3.certificate {
        // A file whose existence cannot be checked is read: that gives the error.
        CertificateSource::File(path) if !matches!(path.try_exists(), Ok(false)) => {
            read_file(path).map_err(IdentityError::from)
        }
        _ => Ok(Vec::new()),
    };
    let libraries_before = module_check::mapped_libraries();
    // A program that another user wrote into the configuration is not run.
    let stopped = match config.check_file() {
        Err(error) => Some(Stopped::by(&error)),
        Ok(()) => {
            let ended = run.audit_token(attendance, &mut certificates);
            ended.err().map(|error| Stopped::by(&error))
        }
    };
    // After all uses of the token: the first login or signature may load further libraries.
    module_check::judge_libraries(&libraries_before, &mut run.judgements);
    let issuer = match &certificates {
        Ok(certificates) if !certificates.is_empty() => {
            certificate_check::judge(config, certificates, &mut run.judgements);
            run.add_certificate_facts(&certificates[0]);
            Some(certificates[0].issuer().to_string())
        }
        Ok(_) => {
            let reason = "no certificate is installed yet";
            run.judgements
                .rest_not_answerable(rules::certificate::RULES.iter().copied(), reason);
            None
        }
        Err(error) => {
            run.judgements
                .violated(&rules::certificate::CHAIN, error.to_string());
            None
        }
    };
    let uses = ledger_check::judge(config, run.public_key.as_deref(), &mut run.judgements);
    let reason = Stopped::reason(stopped.as_ref());
    let rules_of_subject = rules::all().filter(|rule| rule.category() != "environments");
    run.judgements
        .rest_not_answerable(rules_of_subject, &reason);
    run.finish(stopped, issuer, uses)
}

/// The state of a running audit.
struct AuditRun<'a> {
    config: &'a Config,
    options: &'a AuditOptions<'a>,
    judgements: Judgements,
    facts: Vec<Facts>,
    key: Option<String>,
    /// SHA-256 of the key's public key.
    public_key: Option<String>,
    keys: Vec<VisibleKey>,
    token: Option<String>,
}

/// The installed certificates, leaf first. Empty where none is installed yet.
type Certificates = Result<Vec<Certificate>, IdentityError>;

impl AuditRun<'_> {
    /// Judges all rules that need the token. Reads the certificate where it is in the token.
    fn audit_token(
        &mut self,
        attendance: Attendance,
        certificates: &mut Certificates,
    ) -> Result<(), IdentityError> {
        let config = self.config;
        let module = Module::load(&config.token)?;
        let recorder = Recorder::open(config.ledger.as_ref())?;
        let token = Token::select(module, &config.token, attendance, recorder)?;
        // Before the login: a locked PIN, or few tries left, is then in the report even if the login is refused.
        let module = token.module().description();
        token_check::judge(token.description(), module, config, &mut self.judgements);
        self.add_token_facts(&token);
        let (token, is_visible) = token_probe::visible_without_login(token, config.c3.key.clone())?;
        let logged_in = token.log_in(token.role())?;
        let without_login = match (is_visible, logged_in) {
            (_, false) => WithoutLogin::NotTried("this token was not to be logged in to"),
            (None, true) => WithoutLogin::NotTried("somebody in this process was logged in before"),
            (Some(true), true) => WithoutLogin::Visible,
            (Some(false), true) => WithoutLogin::Hidden,
        };
        let token = Arc::new(token);
        if let CertificateSource::Token(_) = &config.c3.certificate {
            *certificates = token_probe::certificate_in_token(config, &token);
        }
        let leaf = certificates
            .as_ref()
            .ok()
            .and_then(|certificates| certificates.first());
        let request = ProbeRequest {
            token: Arc::clone(&token),
            key: config.c3.key.clone(),
            certificate: leaf.and_then(|leaf| Some((leaf.public_key()?.clone(), leaf.subject()))),
            active: self.options.active,
        };
        let probe = request.run()?;
        self.key = Some(probe.key.uri().to_string());
        self.keys.clone_from(&probe.key_evidence.keys);
        probe
            .key_evidence
            .judge(without_login, &mut self.judgements);
        if let Some(error) = &probe.pair_error {
            self.judgements
                .violated(&rules::certificate::PAIR, error.clone());
        }
        self.facts.push(Facts {
            about: "The key, as the module claims it".to_owned(),
            rows: probe.key_evidence.claims.rows(),
        });
        self.judge_active_probes(&probe);
        if probe.key_evidence.public_key.is_none() {
            let reason = match probe.key.unsupported() {
                Some(unsupported) => format!("the key is {unsupported}, which is not supported"),
                None => "the token tells no public key, and no certificate is installed".to_owned(),
            };
            self.judgements.not_answerable(&rules::key::SIGNS, reason);
        }
        if let Some(public) = probe.key_evidence.public_key {
            self.public_key = Some(public.fingerprint().to_string());
            let certificate = &config.c3.certificate;
            host_check::judge_key_files(
                &self.options.search,
                certificate,
                &public,
                &mut self.judgements,
            );
            let of_certificate = leaf.is_some() && probe.pair_error.is_none();
            self.judge_signing(&token, probe.key, &public, of_certificate)?;
            if leaf.is_none() {
                let reason = "there is no certificate yet, and a signer process wants one";
                self.judgements
                    .not_answerable(&rules::host::HARDENING, reason);
                return Ok(());
            }
            match (self.options.hardening)(config) {
                Ok(measures) => host_check::judge_hardening(&measures, &mut self.judgements),
                Err(error) => self
                    .judgements
                    .not_answerable(&rules::host::HARDENING, error.to_string()),
            }
        }
        Ok(())
    }

    /// Judges the rules that `--active` tries with disposable keys.
    fn judge_active_probes(&mut self, probe: &TokenProbe) {
        const RULES: [&Rule; 3] = [
            &rules::key::COPY_TRIED,
            &rules::key::CHANGE_TRIED,
            &rules::key::WRAP_TRIED,
        ];
        let judgements = &mut self.judgements;
        let claim = match probe.key_evidence.claims.flag("CKA_EXTRACTABLE") {
            Some(false) => Claim::Yes("the module claims CKA_EXTRACTABLE false"),
            _ => Claim::No("the module does not claim CKA_EXTRACTABLE false"),
        };
        let reason = match &probe.active {
            Some(Ok(report)) => {
                let reason = "nothing was tried, because a change was possible already";
                let probes = [&report.copies, &report.changes, &report.wraps];
                for (rule, probes) in RULES.iter().zip(probes) {
                    judge_probes(judgements, rule, probes, claim, reason);
                }
                let left_behind = report.left_behind.clone();
                judgements.holds_unless(
                    &rules::key::TRIALS_GONE,
                    left_behind,
                    Verdict::Seen,
                    "each was destroyed",
                );
                return;
            }
            Some(Err(fault)) => format!("no disposable key can be made: {fault}"),
            None if self.options.active && probe.key.unsupported().is_some() => {
                "the key is of a kind that is not supported, so no key like it can be made"
                    .to_owned()
            }
            None if self.options.active => {
                "the token tells no public key, so no key like it can be made".to_owned()
            }
            None => "not tried: --active was not given".to_owned(),
        };
        for rule in RULES.into_iter().chain([&rules::key::TRIALS_GONE]) {
            judgements.not_answerable(rule, reason.clone());
        }
    }

    /// Judges whether the key signs a challenge, and whether it is the certificate's. A token that is not
    /// available is an error: that says nothing of the key.
    fn judge_signing(
        &mut self,
        token: &Arc<Token>,
        key: Key,
        public: &PublicKey,
        of_certificate: bool,
    ) -> Result<(), IdentityError> {
        let engine = engine_for_key(self.config, token, key, public.clone());
        let signed = engine.and_then(|engine| Ok(challenge(&engine, Purpose::Proof)?));
        match signed {
            Ok(_) => {
                let owner = if of_certificate {
                    "the certificate"
                } else {
                    "the token"
                };
                let evidence = format!("a challenge verifies with the public key of {owner}");
                self.judgements
                    .holds(&rules::key::SIGNS, Verdict::Seen, evidence);
                if of_certificate {
                    let evidence = "a challenge that the key signed verifies with it";
                    self.judgements
                        .holds(&rules::certificate::PAIR, Verdict::Seen, evidence);
                }
            }
            Err(error) if error.is_transient() => return Err(error),
            Err(error) => self
                .judgements
                .violated(&rules::key::SIGNS, error.to_string()),
        }
        Ok(())
    }

    fn add_token_facts(&mut self, token: &Token) {
        let device = token.device_info();
        let description = token.description();
        self.token = Some(format!("{} ({})", description.label, description.serial));
        let yes_or_no = |is_set: bool| if is_set { "yes" } else { "no" }.to_owned();
        let rows = [
            ("token", device.token),
            ("firmware", device.firmware),
            ("module", device.module),
            (
                "SHA-256 of the module",
                device.module_fingerprint.unwrap_or_default(),
            ),
            ("library", device.library),
            ("PKCS#11", device.cryptoki),
            ("device (CKF_HW_SLOT)", yes_or_no(description.hardware_slot)),
            ("login wanted", yes_or_no(description.login_required)),
        ];
        self.facts.push(Facts {
            about: "Token and module, as they say".to_owned(),
            rows: rows.map(|(name, value)| (name.to_owned(), value)).into(),
        });
    }

    fn add_certificate_facts(&mut self, leaf: &Certificate) {
        let rows = [
            ("subject", leaf.subject().to_string()),
            ("issuer", leaf.issuer().to_string()),
            ("x5t#S256", leaf.x5t_s256()),
            ("not before", leaf.not_before()),
            ("not after", leaf.not_after()),
        ];
        self.facts.push(Facts {
            about: "The certificate".to_owned(),
            rows: rows.map(|(name, value)| (name.to_owned(), value)).into(),
        });
    }

    /// The result: judgements in the order of the rules, texts without control characters.
    fn finish(
        self,
        stopped: Option<Stopped>,
        issuer: Option<String>,
        uses: Vec<ledger_check::KeyUsage>,
    ) -> Subject {
        let mut judgements = self.judgements.list;
        let order: Vec<_> = rules::all().map(|rule| rule.id).collect();
        judgements.sort_by_key(|judgement| order.iter().position(|id| *id == judgement.rule));
        let mut facts = self.facts;
        for (_, value) in facts.iter_mut().flat_map(|facts| &mut facts.rows) {
            *value = plain(std::mem::take(value));
        }
        Subject {
            configuration: self.config.path.display().to_string(),
            environment: self.config.environment.to_string(),
            profile: self.options.profile,
            answer: Conclusion::of(&judgements),
            stopped,
            key: self.key.or_else(|| Some(self.config.c3.key.to_string())),
            issuer: issuer.map(plain),
            token: self.token.map(plain),
            pin_source: self.config.token.pin.to_string(),
            pin_place: host_check::comparable_pin_source(&self.config.token.pin),
            keys: self.keys,
            facts,
            judgements,
            uses,
        }
    }
}
