//! Audits one configuration, from its file to the last record of its ledger. An error ends the audit early: the rules
//! that were not reached are not answerable, with the error as the reason.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::both_keys::{WITH_C3, is_in_common, rules_of};
use super::conclusion::Conclusion;
use super::finding::{Judgements, Verdict, plain};
use super::key_check::WithoutLogin;
use super::report::{Facts, Stopped, Subject, VisibleKey};
use super::rule::Profile;
use super::token_probe::{self, ProbeRequest};
use super::{
    active_check, certificate_check, facts, host_check, ledger_check, module_check, rules,
    token_check,
};
use hsm_mtls::internal::certificate::{Certificate, read_file};
use hsm_mtls::internal::config::{CertificateSource, Config, KeyRole};
use hsm_mtls::internal::diagnostic::Diagnostic as _;
use hsm_mtls::internal::engine::{Purpose, TokenEngine, challenge, challenge_by};
use hsm_mtls::internal::identity::{IdentityError, SIG4_SCHEME, check_ps256, engine_for_key};
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

/// The result for one key.
pub(super) struct Audited {
    pub(super) subject: Subject,
    /// SHA-256 of its public key, where that is known.
    pub(super) public_key: Option<String>,
}

/// Audits the key of `config`. For Sig4 that is [`Config::for_sig4`], and `whole` the whole configuration; without it, all that
/// does not concern one key is judged too.
pub(super) fn audit_key(
    config: &Config,
    options: &AuditOptions<'_>,
    attendance: Attendance,
    whole: Option<&Config>,
) -> Audited {
    let mut run = AuditRun {
        config,
        options,
        // A token of its own is judged, and one that both keys are in only once.
        judges_token: whole.is_none_or(|whole| whole.sig4_token.is_some()),
        judgements: Judgements::new(options.profile),
        facts: Vec::new(),
        key: None,
        public_key: None,
        keys: Vec::new(),
        token: None,
    };
    let role = config.c3.role;
    if whole.is_some() {
        let in_common = rules_of(role).filter(|rule| is_in_common(rule, run.judges_token));
        run.judgements.rest_not_answerable(in_common, WITH_C3);
    } else {
        host_check::judge(config, &mut run.judgements);
    }
    if run.judges_token {
        module_check::judge_module_file(&config.token, &mut run.judgements);
    }
    let mut certificates = match &config.c3.certificate {
        // A file whose existence cannot be checked is read: that gives the error.
        CertificateSource::File(path) if !matches!(path.try_exists(), Ok(false)) => {
            read_file(path).map_err(IdentityError::from)
        }
        _ => Ok(Vec::new()),
    };
    let libraries_before = module_check::mapped_libraries();
    // A program that another user wrote into the configuration is not run.
    let stopped = match whole.unwrap_or(config).check_file() {
        Err(error) => Some(Stopped::by(&error)),
        Ok(()) => {
            let ended = run.audit_token(attendance, &mut certificates);
            ended.err().map(|error| Stopped::by_error_of(role, &error))
        }
    };
    // After all uses of the token: the first login or signature may load further libraries.
    if run.judges_token {
        module_check::judge_libraries(&libraries_before, &mut run.judgements);
    }
    let issuer = match &certificates {
        Ok(certificates) if !certificates.is_empty() => {
            certificate_check::judge(config, certificates, &mut run.judgements);
            run.facts.push(facts::of_certificate(&certificates[0]));
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
    let public_key = run.public_key.clone();
    let uses = match role {
        KeyRole::C3 => ledger_check::judge(config, public_key.as_deref(), &mut run.judgements),
        KeyRole::Sig4 => {
            ledger_check::judge_uses(config, public_key.as_deref(), &mut run.judgements)
        }
    };
    let reason = Stopped::reason(stopped.as_ref());
    run.judgements.rest_not_answerable(rules_of(role), &reason);
    Audited {
        subject: run.finish(stopped, issuer, uses),
        public_key,
    }
}

/// The state of a running audit.
struct AuditRun<'a> {
    config: &'a Config,
    options: &'a AuditOptions<'a>,
    judges_token: bool,
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
        if self.judges_token {
            token_check::judge(token.description(), module, config, &mut self.judgements);
        }
        let description = token.description();
        self.token = Some(format!("{} ({})", description.label, description.serial));
        self.facts.push(facts::of_token(&token));
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
        probe.key_evidence.judge(
            self.config.environment.regime(),
            without_login,
            &mut self.judgements,
        );
        if let Some(error) = &probe.pair_error {
            self.judgements
                .violated(&rules::certificate::PAIR, error.clone());
        }
        self.facts.push(Facts {
            about: "The key, as the module claims it".to_owned(),
            rows: probe.key_evidence.claims.rows(),
        });
        active_check::judge(&probe, self.options.active, &mut self.judgements);
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
            if config.c3.role == KeyRole::Sig4 {
                // The signer process is judged with C3.
                return Ok(());
            }
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
        let role = self.config.c3.role;
        let signed = engine.and_then(|engine| sign(role, &engine));
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
            role: None,
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

/// Signs a challenge: by the preferred scheme for C3, by that of JWT Auth for Sig4.
fn sign(role: KeyRole, engine: &TokenEngine) -> Result<Duration, IdentityError> {
    if role == KeyRole::C3 {
        return Ok(challenge(engine, Purpose::Proof)?);
    }
    check_ps256(engine)?;
    Ok(challenge_by(engine, SIG4_SCHEME, Purpose::Proof)?)
}
