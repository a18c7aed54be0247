//! One configuration, from its file to the last record of its ledger. What stops it half-way leaves the
//! rules behind it not answerable, and says so.

use std::path::PathBuf;
use std::sync::Arc;

use super::custody::{Claim, Custody, tried};
use super::finding::{Judgements, Verdict};
use super::report::{Answer, Facts, KeySeen, Stopped, Subject};
use super::rule::Profile;
use super::{certificate, holder, host, neighbours, rules, uses};
use crate::certificate::{Certificate, read_file};
use crate::config::uri::Pkcs11Uri;
use crate::config::{CertificateSource, Config};
use crate::engine::{Purpose, TokenEngine, challenge};
use crate::error::Error;
use crate::identity::find_key;
use crate::key::claims::Claims;
use crate::key::disposable::try_on_disposable;
use crate::key::public::PublicKey;
use crate::key::{Key, find_all};
use crate::ledger::Recorder;
use crate::signer::hardening::Part;
use crate::token::guard::Attendance;
use crate::token::module::Module;
use crate::token::session::{Access, Session};
use crate::token::{Role, Token};

/// What is asked of an audit.
pub struct Asked<'a> {
    /// What the place is held to.
    pub profile: Profile,
    /// Whether disposable session keys may be made in the token.
    pub active: bool,
    /// Folders in which copies of the key are looked for.
    pub search: Vec<PathBuf>,
    /// Starts a signer process, and says what is in force in it.
    pub hardening: &'a dyn Fn(&Config) -> Result<Vec<Part>, Error>,
}

/// Audits one configuration.
pub fn audit(config: &Config, asked: &Asked<'_>, attendance: Attendance) -> Subject {
    let mut walk = Walk {
        config,
        asked,
        found: Judgements::new(asked.profile),
        facts: Vec::new(),
        key: None,
        keys: Vec::new(),
        token: None,
    };
    host::judge(config, &mut walk.found);
    holder::judge_module_file(&config.token, &mut walk.found);
    let mut given = match &config.c3.certificate {
        CertificateSource::File(path) if path.exists() => read_file(path).map_err(Error::from),
        _ => Ok(Vec::new()),
    };
    let stopped = walk.token(attendance, &mut given).err();
    let issuer = match &given {
        Ok(given) if !given.is_empty() => {
            certificate::judge(config, given, &mut walk.found);
            walk.facts_of(&given[0]);
            Some(given[0].issuer().to_string())
        }
        Ok(_) => {
            let why = "no certificate is installed yet";
            walk.found.rest(rules::of("certificate"), why);
            None
        }
        Err(error) => {
            walk.found.violated("certificate.chain", error.to_string());
            None
        }
    };
    let uses = uses::judge(config, &mut walk.found);
    let why = stopped.as_ref().map_or_else(
        || "it was not looked at".to_owned(),
        |error| format!("the audit got no further: {error}"),
    );
    let of_subjects = rules::all().filter(|rule| rule.room() != "environments");
    walk.found.rest(of_subjects, &why);
    walk.finish(stopped, issuer, uses)
}

struct Walk<'a> {
    config: &'a Config,
    asked: &'a Asked<'a>,
    found: Judgements,
    facts: Vec<Facts>,
    key: Option<String>,
    keys: Vec<KeySeen>,
    token: Option<String>,
}

type Given = Result<Vec<Certificate>, Error>;

impl Walk<'_> {
    /// All that needs the token.
    fn token(&mut self, attendance: Attendance, given: &mut Given) -> Result<(), Error> {
        let before = holder::mapped();
        let module = Module::load(&self.config.token)?;
        let walked = self.loaded(module, attendance, given);
        // Some modules pull in a library only when they are asked for something.
        holder::judge_libraries(&before, &mut self.found);
        walked
    }

    fn loaded(
        &mut self,
        module: Arc<Module>,
        attendance: Attendance,
        given: &mut Given,
    ) -> Result<(), Error> {
        let config = self.config;
        let recorder = Recorder::open(config.ledger.as_ref())?;
        let token = Token::select(module, &config.token, attendance, recorder)?;
        // Before the login: a PIN that is locked or low is told, and not tried.
        let holder = token.module().description();
        holder::judge_token(token.description(), holder, config, &mut self.found);
        self.facts_of_token(&token);
        // What can be seen without it?
        let shown = self.shown_without_login(&token)?;
        let logged_in = token.log_in(Role::User)?;
        let token = Arc::new(token);
        let session = token.session(Access::ReadOnly)?;
        holder::judge_validation(session.is_validated(), config, &mut self.found);
        if let CertificateSource::Token(_) = &config.c3.certificate {
            *given = neighbours::certificate_in_token(config, &token);
        }
        let leaf = given.as_ref().ok().and_then(|given| given.first());
        let expected = leaf.and_then(Certificate::public_key);
        let key = self.find_key(&token, expected)?;
        self.key = Some(key.uri().to_string());
        let custody = Custody {
            claims: key.claims(&session),
            reads: key.try_to_read(&session),
            wraps: key.try_to_wrap(&session, &token),
            shown_without_login: shown.filter(|_| logged_in),
            public_key: key.public_key().ok().cloned(),
            twins: self.twins(&key, &token, &session)?,
            other_certificates: neighbours::other_certificates(&key, leaf, &token, &session)?,
        };
        custody.judge(&mut self.found);
        self.facts.push(Facts {
            about: "The key, as the module claims it".to_owned(),
            rows: custody.claims.listed(),
        });
        if let Some(public) = &custody.public_key {
            let certificate = &config.c3.certificate;
            host::judge_key_files(&self.asked.search, certificate, public, &mut self.found);
            self.active(&token, &session, public, &custody.claims);
            self.signs(&token, key, public, expected);
            if expected.is_none() {
                let why = "there is no certificate yet, and a signer process wants one";
                self.found.open("host.hardening", why);
                return Ok(());
            }
            match (self.asked.hardening)(config) {
                Ok(parts) => host::judge_hardening(&parts, &mut self.found),
                Err(error) => self.found.open("host.hardening", error.to_string()),
            }
        }
        Ok(())
    }

    fn shown_without_login(&self, token: &Token) -> Result<Option<bool>, Error> {
        let session = token.session(Access::ReadOnly)?;
        // Where the module is loaded by others of this process, somebody may be logged in already.
        if session.logged_in() {
            return Ok(None);
        }
        let shown = find_all(&session, token, &self.config.c3.key)?;
        Ok(Some(!shown.is_empty()))
    }

    /// The configured key, also where it is not the certificate's.
    fn find_key(&mut self, token: &Arc<Token>, expected: Option<&PublicKey>) -> Result<Key, Error> {
        match find_key(self.config, token, expected) {
            Err(error) if expected.is_some() => match find_key(self.config, token, None) {
                Ok(key) => {
                    self.found.violated("certificate.pair", error.to_string());
                    Ok(key)
                }
                Err(_) => Err(error),
            },
            other => other,
        }
    }

    fn twins(&mut self, key: &Key, token: &Token, session: &Session) -> Result<Vec<String>, Error> {
        let all = find_all(session, token, &Pkcs11Uri::default())?;
        let public = key.public_key().ok();
        for key in &all {
            if let Ok(public) = key.public_key() {
                self.keys.push(KeySeen {
                    uri: key.uri().to_string(),
                    public_key: public.fingerprint().to_string(),
                });
            }
        }
        let twin =
            |other: &&Key| !other.is(key) && public.is_some() && other.public_key().ok() == public;
        let twins = all.iter().filter(twin);
        Ok(twins.map(|twin| twin.uri().to_string()).collect())
    }

    fn active(&mut self, token: &Token, session: &Session, public: &PublicKey, claims: &Claims) {
        let found = &mut self.found;
        if !self.asked.active {
            for rule in ["key.copy-tried", "key.change-tried", "key.wrap-tried"] {
                found.open(rule, "not tried: --active was not given");
            }
            return;
        }
        let claim = match claims.flag("CKA_EXTRACTABLE") {
            Some(false) => Claim::Yes("the module claims CKA_EXTRACTABLE false"),
            _ => Claim::No("the module does not claim CKA_EXTRACTABLE false"),
        };
        match try_on_disposable(session, token, public.algorithm(), claims) {
            Ok(done) => {
                let none = "nothing was tried, because a change was possible already";
                tried(found, "key.copy-tried", &done.copies, claim, none);
                tried(found, "key.change-tried", &done.changes, claim, none);
                tried(found, "key.wrap-tried", &done.wraps, claim, none);
            }
            Err(fault) => {
                for rule in ["key.copy-tried", "key.change-tried", "key.wrap-tried"] {
                    found.open(rule, format!("no disposable key can be made: {fault}"));
                }
            }
        }
    }

    fn signs(
        &mut self,
        token: &Arc<Token>,
        key: Key,
        public: &PublicKey,
        expected: Option<&PublicKey>,
    ) {
        let token = Arc::clone(token);
        let engine = TokenEngine::start(token, key, public.clone(), &self.config.token);
        let signed = engine
            .and_then(|engine| challenge(&engine, Purpose::Proof))
            .map_err(Error::from);
        let of_certificate = expected == Some(public);
        match signed {
            Ok(_) => {
                let whose = if of_certificate {
                    "the certificate"
                } else {
                    "the token"
                };
                let said = format!("a challenge verifies with the public key of {whose}");
                self.found.holds("key.signs", Verdict::Seen, said);
                if of_certificate {
                    let said = "a challenge that the key signed verifies with it";
                    self.found.holds("certificate.pair", Verdict::Seen, said);
                }
            }
            Err(error) => self.found.violated("key.signs", error.to_string()),
        }
    }

    fn facts_of_token(&mut self, token: &Token) {
        let holder = token.holder();
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
        stopped: Option<Error>,
        issuer: Option<String>,
        uses: Vec<uses::Use>,
    ) -> Subject {
        let mut judgements = self.found.list;
        let order: Vec<_> = rules::all().map(|rule| rule.id).collect();
        judgements.sort_by_key(|made| order.iter().position(|id| *id == made.rule));
        let stopped = stopped.map(|error| Stopped {
            error: error.to_string(),
            hint: error.hint(),
            exit: error.exit_code() as u8,
        });
        Subject {
            configuration: self.config.path.display().to_string(),
            environment: self.config.environment.to_string(),
            answer: Answer::of(&judgements),
            stopped,
            key: self.key.or_else(|| Some(self.config.c3.key.to_string())),
            issuer,
            token: self.token,
            pin_source: self.config.token.pin.to_string(),
            pin_place: host::pin_place(&self.config.token.pin),
            keys: self.keys,
            facts: self.facts,
            judgements,
            uses,
        }
    }
}
