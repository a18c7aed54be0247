//! One configuration, from its file to the last record of its ledger. What stops it half-way leaves the
//! rules behind it not answerable, and says so.

use std::path::PathBuf;
use std::sync::Arc;

use super::conclusion::Conclusion;
use super::finding::{Judgements, Verdict, plain};
use super::key_check::WithoutLogin;
use super::probe_result::{Claim, judge_probes};
use super::report::{Facts, KeySeen, Stopped, Subject};
use super::rule::{Profile, Rule};
use super::token_probe::{self, Question, TokenProbe};
use super::{
    certificate_check as certificate, host_check as host, ledger_check as key_usage, rules,
    token_check as holder,
};
use hsm_mtls::internal::certificate::{Certificate, read_file};
use hsm_mtls::internal::config::{CertificateSource, Config};
use hsm_mtls::internal::diagnostic::Diagnostic as _;
use hsm_mtls::internal::engine::{Purpose, TokenEngine, challenge};
use hsm_mtls::internal::identity::IdentityError;
use hsm_mtls::internal::key::Key;
use hsm_mtls::internal::key::public::PublicKey;
use hsm_mtls::internal::ledger::Recorder;
use hsm_mtls::internal::signer::SignerError;
use hsm_mtls::internal::signer::hardening::Measure;
use hsm_mtls::internal::token::guard::Attendance;
use hsm_mtls::internal::token::module::Module;
use hsm_mtls::internal::token::{Role, Token};

/// What is asked of an audit.
pub struct Asked<'a> {
    /// What the place is held to.
    pub profile: Profile,
    /// Whether disposable session keys may be made in the token.
    pub active: bool,
    /// Folders in which copies of the key are looked for.
    pub search: Vec<PathBuf>,
    /// Starts a signer process, and says what is in force in it.
    pub hardening: &'a dyn Fn(&Config) -> Result<Vec<Measure>, SignerError>,
}

/// Audits one configuration.
pub fn audit(config: &Config, asked: &Asked<'_>, attendance: Attendance) -> Subject {
    let mut walk = Walk {
        config,
        asked,
        found: Judgements::new(asked.profile),
        facts: Vec::new(),
        key: None,
        public_key: None,
        keys: Vec::new(),
        token: None,
    };
    host::judge(config, &mut walk.found);
    holder::judge_module_file(&config.token, &mut walk.found);
    let mut given = match &config.c3.certificate {
        // One that may not be looked at is not one that is not there.
        CertificateSource::File(path) if !matches!(path.try_exists(), Ok(false)) => {
            read_file(path).map_err(IdentityError::from)
        }
        _ => Ok(Vec::new()),
    };
    let before = holder::mapped();
    let stopped = walk.token(attendance, &mut given).err();
    // At the end: some libraries are pulled in by the first login or signature.
    holder::judge_libraries(&before, &mut walk.found);
    let issuer = match &given {
        Ok(given) if !given.is_empty() => {
            certificate::judge(config, given, &mut walk.found);
            walk.facts_of(&given[0]);
            Some(given[0].issuer().to_string())
        }
        Ok(_) => {
            let why = "no certificate is installed yet";
            walk.found
                .rest(rules::certificate::RULES.iter().copied(), why);
            None
        }
        Err(error) => {
            walk.found
                .violated(&rules::certificate::CHAIN, error.to_string());
            None
        }
    };
    let uses = key_usage::judge(config, walk.public_key.as_deref(), &mut walk.found);
    let why = stopped.as_ref().map_or_else(
        || "it was not looked at".to_owned(),
        |error| format!("the audit got no further: {error}"),
    );
    let of_subjects = rules::all().filter(|rule| rule.category() != "environments");
    walk.found.rest(of_subjects, &why);
    walk.finish(stopped, issuer, uses)
}

struct Walk<'a> {
    config: &'a Config,
    asked: &'a Asked<'a>,
    found: Judgements,
    facts: Vec<Facts>,
    key: Option<String>,
    /// SHA-256 of it.
    public_key: Option<String>,
    keys: Vec<KeySeen>,
    token: Option<String>,
}

type Given = Result<Vec<Certificate>, IdentityError>;

impl Walk<'_> {
    /// All that needs the token.
    fn token(&mut self, attendance: Attendance, given: &mut Given) -> Result<(), IdentityError> {
        let config = self.config;
        let module = Module::load(&config.token)?;
        let recorder = Recorder::open(config.ledger.as_ref())?;
        let token = Token::select(module, &config.token, attendance, recorder)?;
        // Before the login: a PIN that is locked or low is told, and not tried.
        let holder = token.module().description();
        holder::judge_token(token.description(), holder, config, &mut self.found);
        self.facts_of_token(&token);
        // What can be seen without it?
        let (token, shown) = token_probe::shown_without_login(token, config.c3.key.clone())?;
        let logged_in = token.log_in(Role::User)?;
        let without_login = match (shown, logged_in) {
            (_, false) => WithoutLogin::NotTried("this token was not to be logged in to"),
            (None, true) => WithoutLogin::NotTried("somebody in this process was logged in before"),
            (Some(true), true) => WithoutLogin::Shown,
            (Some(false), true) => WithoutLogin::Hidden,
        };
        let token = Arc::new(token);
        if let CertificateSource::Token(_) = &config.c3.certificate {
            *given = token_probe::certificate_in_token(config, &token);
        }
        let leaf = given.as_ref().ok().and_then(|given| given.first());
        let seen = Question {
            token: Arc::clone(&token),
            key: config.c3.key.clone(),
            certificate: leaf.and_then(|leaf| Some((leaf.public_key()?.clone(), leaf.subject()))),
            active: self.asked.active,
        };
        let seen = seen.ask()?;
        self.key = Some(seen.key.uri().to_string());
        self.keys.clone_from(&seen.custody.keys);
        seen.custody.judge(without_login, &mut self.found);
        if let Some(why) = &seen.no_pair {
            self.found.violated(&rules::certificate::PAIR, why.clone());
        }
        self.facts.push(Facts {
            about: "The key, as the module claims it".to_owned(),
            rows: seen.custody.claims.rows(),
        });
        self.active(&seen);
        if seen.custody.public_key.is_none() {
            let why = match seen.key.unsupported() {
                Some(kind) => format!("the key is {kind}, which is not supported"),
                None => "the token tells no public key, and no certificate is installed".to_owned(),
            };
            self.found.open(&rules::key::SIGNS, why);
        }
        if let Some(public) = seen.custody.public_key {
            self.public_key = Some(public.fingerprint().to_string());
            let certificate = &config.c3.certificate;
            host::judge_key_files(&self.asked.search, certificate, &public, &mut self.found);
            let of_certificate = leaf.is_some() && seen.no_pair.is_none();
            self.signs(&token, seen.key, &public, of_certificate);
            if leaf.is_none() {
                let why = "there is no certificate yet, and a signer process wants one";
                self.found.open(&rules::host::HARDENING, why);
                return Ok(());
            }
            match (self.asked.hardening)(config) {
                Ok(parts) => host::judge_hardening(&parts, &mut self.found),
                Err(error) => self.found.open(&rules::host::HARDENING, error.to_string()),
            }
        }
        Ok(())
    }

    fn active(&mut self, seen: &TokenProbe) {
        const RULES: [&Rule; 3] = [
            &rules::key::COPY_TRIED,
            &rules::key::CHANGE_TRIED,
            &rules::key::WRAP_TRIED,
        ];
        let found = &mut self.found;
        let claim = match seen.custody.claims.flag("CKA_EXTRACTABLE") {
            Some(false) => Claim::Yes("the module claims CKA_EXTRACTABLE false"),
            _ => Claim::No("the module does not claim CKA_EXTRACTABLE false"),
        };
        let why = match &seen.tried {
            Some(Ok(done)) => {
                let none = "nothing was tried, because a change was possible already";
                for (rule, trials) in RULES.iter().zip([&done.copies, &done.changes, &done.wraps]) {
                    judge_probes(found, rule, trials, claim, none);
                }
                let left = done.left_behind.clone();
                found.by(
                    &rules::key::TRIALS_GONE,
                    left,
                    Verdict::Seen,
                    "each was destroyed",
                );
                return;
            }
            Some(Err(fault)) => format!("no disposable key can be made: {fault}"),
            None if self.asked.active && seen.key.unsupported().is_some() => {
                "the key is of a kind that is not supported, so no key like it can be made"
                    .to_owned()
            }
            None if self.asked.active => {
                "the token tells no public key, so no key like it can be made".to_owned()
            }
            None => "not tried: --active was not given".to_owned(),
        };
        for rule in RULES.into_iter().chain([&rules::key::TRIALS_GONE]) {
            found.open(rule, why.clone());
        }
    }

    fn signs(&mut self, token: &Arc<Token>, key: Key, public: &PublicKey, of_certificate: bool) {
        let token = Arc::clone(token);
        let engine = TokenEngine::start(token, key, public.clone(), &self.config.token);
        let signed = engine
            .and_then(|engine| challenge(&engine, Purpose::Proof))
            .map_err(IdentityError::from);
        match signed {
            Ok(_) => {
                let whose = if of_certificate {
                    "the certificate"
                } else {
                    "the token"
                };
                let said = format!("a challenge verifies with the public key of {whose}");
                self.found.holds(&rules::key::SIGNS, Verdict::Seen, said);
                if of_certificate {
                    let said = "a challenge that the key signed verifies with it";
                    self.found
                        .holds(&rules::certificate::PAIR, Verdict::Seen, said);
                }
            }
            Err(error) => self.found.violated(&rules::key::SIGNS, error.to_string()),
        }
    }

    fn facts_of_token(&mut self, token: &Token) {
        let holder = token.device_info();
        let described = token.description();
        self.token = Some(format!("{} ({})", described.label, described.serial));
        let yes = |set: bool| if set { "yes" } else { "no" }.to_owned();
        let rows = [
            ("token", holder.token),
            ("firmware", holder.firmware),
            ("module", holder.module),
            (
                "SHA-256 of the module",
                holder.module_fingerprint.unwrap_or_default(),
            ),
            ("library", holder.library),
            ("PKCS#11", holder.cryptoki),
            ("device (CKF_HW_SLOT)", yes(described.hardware_slot)),
            ("login wanted", yes(described.login_required)),
        ];
        self.facts.push(Facts {
            about: "Token and module, as they say".to_owned(),
            rows: rows.map(|(name, value)| (name.to_owned(), value)).into(),
        });
    }

    fn facts_of(&mut self, leaf: &Certificate) {
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

    fn finish(
        self,
        stopped: Option<IdentityError>,
        issuer: Option<String>,
        uses: Vec<key_usage::KeyUsage>,
    ) -> Subject {
        let mut judgements = self.found.list;
        let order: Vec<_> = rules::all().map(|rule| rule.id).collect();
        judgements.sort_by_key(|made| order.iter().position(|id| *id == made.rule));
        let stopped = stopped.map(|error| Stopped {
            error: plain(error.to_string()),
            hint: plain(error.hint()),
            exit: error.exit_code() as u8,
        });
        let mut facts = self.facts;
        for (_, value) in facts.iter_mut().flat_map(|facts| &mut facts.rows) {
            *value = plain(std::mem::take(value));
        }
        Subject {
            configuration: self.config.path.display().to_string(),
            environment: self.config.environment.to_string(),
            profile: self.asked.profile,
            answer: Conclusion::of(&judgements),
            stopped,
            key: self.key.or_else(|| Some(self.config.c3.key.to_string())),
            issuer: issuer.map(plain),
            token: self.token.map(plain),
            pin_source: self.config.token.pin.to_string(),
            pin_place: host::pin_place(&self.config.token.pin),
            keys: self.keys,
            facts,
            judgements,
            uses,
        }
    }
}
