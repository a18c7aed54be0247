//! The keys that a signer process signs with: from its configuration to a token that is logged in and a policy for the requests of
//! each key.
//!
//! C3 is what the process is for: where its key cannot be opened, there is none. Sig4 has a state of its own: while its token is
//! away, handshakes are signed, and it is tried again.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::SignerError;
use super::hardening::Measure;
use super::jwt_policy::JwtPolicy;
use super::policy::{KeyUse, SigningPolicy};
use super::remote_key::{KeyDescription, Sig4Description};
use super::tls12_policy::Tls12Policy;
use crate::certificate::Certificate;
use crate::config::signature_rate::SignatureLimit;
use crate::config::trust::Fingerprint;
use crate::config::{CertificateSource, Config};
use crate::engine::{
    EngineHealth, Purpose, ReportedError, Sign as _, TokenEngine, delay_after_failed_start,
};
use crate::exit_code::ExitCode;
use crate::identity::{
    IdentityError, IdentityFiles, Sig4Error, Validity, certificate_in_token, claim_set,
    engine_on_caller_threads,
};
use crate::ledger::Recorder;
use crate::poison::IgnorePoison as _;
use crate::token::guard::Attendance;
use crate::token::{Token, TokenError};

/// The pause after a module that did not answer: the call that hangs keeps a thread.
const PAUSE_AFTER_HANG: Duration = Duration::from_secs(60);

/// The keys of open tokens, and the ledger's recorder.
pub(super) struct OpenKeys {
    c3: Arc<OpenKey>,
    sig4: Option<Mutex<Sig4State>>,
    /// The keys have one token: what befalls it befalls both.
    share_token: bool,
    config: Config,
    token: Arc<Token>,
    leaf: Certificate,
    pub(super) recorder: Recorder,
    hardening: Vec<Measure>,
}

/// A key of an open token, with the policy that its requests are checked against.
pub(super) struct OpenKey {
    pub(super) engine: TokenEngine,
    pub(super) policy: SigningPolicy,
    /// The timeout of a signature.
    pub(super) timeout: Duration,
    /// The certificate in base64, if only this process can read it.
    certificate: Option<String>,
}

/// The Sig4 key.
enum Sig4State {
    Ready(Arc<OpenKey>),
    Failed {
        error: ReportedError,
        failures: u32,
        /// `None`: a person has to act first.
        retry_at: Option<Instant>,
    },
}

impl OpenKeys {
    /// Opens tokens and keys, and proves what it can without a handshake.
    ///
    /// # Errors
    /// What is configured for C3 is not there, or does not fit.
    pub(super) fn open(
        config: &Config,
        hardening: &[Measure],
        attendance: Attendance,
    ) -> Result<Self, SignerError> {
        // The front end decides when the certificate may be used.
        let mut files = IdentityFiles::read_valid(config, Validity::NowOrLater)?;
        files.take_sig4();
        let recorder = Recorder::open(config.ledger.as_ref())?;
        let token = Token::open(&config.token, attendance.clone(), recorder.clone())?;
        let anchors = files.anchors().clone();
        let chain = files.chain(config, || certificate_in_token(config, &token))?;
        let engine = engine_on_caller_threads(config, &token, chain.leaf())?;
        let leaf = chain.leaf().clone();
        let tls12 = Tls12Policy::load(config, &anchors, engine.public_key(), chain);
        let key_use = KeyUse::ClientAuth(Box::new(tls12));
        let c3 = OpenKey::new(engine, config.signature_limit(), key_use, config, &leaf);
        let mut keys = Self {
            c3: Arc::new(c3),
            sig4: None,
            share_token: config.sig4_token.is_none(),
            config: config.clone(),
            token,
            leaf,
            recorder,
            hardening: hardening.to_vec(),
        };
        if config.sig4.is_some() {
            keys.sig4 = Some(Mutex::new(keys.open_sig4(attendance, 0)));
        }
        Ok(keys)
    }

    /// The key with this SubjectPublicKeyInfo; that of C3, whose policy refuses the request, if there is none.
    ///
    /// # Errors
    /// It is for the Sig4 key, which could not be opened.
    pub(super) fn key(
        &self,
        spki: Fingerprint,
        purpose: Purpose,
    ) -> Result<Arc<OpenKey>, ReportedError> {
        match self
            .sig4
            .as_ref()
            .map(|sig4| sig4.lock().ignore_poison())
            .as_deref()
        {
            Some(Sig4State::Ready(key)) if key.engine.public_key().fingerprint() == spki => {
                Ok(Arc::clone(key))
            }
            Some(Sig4State::Failed { error, .. }) if purpose == Purpose::Jwt => Err(error.clone()),
            _ => Ok(Arc::clone(&self.c3)),
        }
    }

    /// Opens the Sig4 key again, if it could not be opened and another try is due.
    pub(super) fn retry_sig4(&self) {
        let Some(sig4) = &self.sig4 else {
            return;
        };
        let failures = match &*sig4.lock().ignore_poison() {
            Sig4State::Failed {
                failures,
                retry_at: Some(at),
                ..
            } if *at <= Instant::now() => *failures,
            _ => return,
        };
        // Without the lock: requests are answered meanwhile.
        let state = self.open_sig4(Attendance::Unattended, failures);
        *sig4.lock().ignore_poison() = state;
    }

    /// Whether the Sig4 key is not open.
    pub(super) fn lacks_sig4(&self) -> bool {
        self.sig4.is_some() && self.ready_sig4().is_none()
    }

    /// The policy that says how many refusals are recorded.
    pub(super) fn policy(&self) -> &SigningPolicy {
        &self.c3.policy
    }

    /// All keys that are open.
    pub(super) fn all(&self) -> Vec<Arc<OpenKey>> {
        let sig4 = self.ready_sig4();
        std::iter::once(Arc::clone(&self.c3)).chain(sig4).collect()
    }

    /// The health of C3, and of Sig4 as far as it has the same token: the outage of another token is none of the handshakes'.
    pub(super) fn health(&self) -> EngineHealth {
        let health = self.c3.engine.health();
        let Some(sig4) = self.ready_sig4() else {
            return health;
        };
        let of_sig4 = sig4.engine.health();
        let signed = [health.last_signature_ms, of_sig4.last_signature_ms];
        EngineHealth {
            sessions_in_use: health.sessions_in_use + of_sig4.sessions_in_use,
            max_sessions: health.max_sessions + of_sig4.max_sessions,
            waiting: health.waiting + of_sig4.waiting,
            outage: health
                .outage
                .or(of_sig4.outage.filter(|_| self.share_token)),
            last_signature_ms: match self.share_token {
                true => signed.into_iter().flatten().min(),
                false => health.last_signature_ms,
            },
            replaced: health.replaced,
        }
    }

    /// The recoveries in vain of the token of C3.
    pub(super) fn recoveries_in_vain(&self) -> u32 {
        let of_c3 = self.c3.engine.recoveries_in_vain();
        let sig4 = self.ready_sig4().filter(|_| self.share_token);
        of_c3.max(sig4.map_or(0, |sig4| sig4.engine.recoveries_in_vain()))
    }

    /// The encoded [`KeyDescription`].
    pub(super) fn description(&self) -> Vec<u8> {
        let (sig4, sig4_error) = match self
            .sig4
            .as_ref()
            .map(|sig4| sig4.lock().ignore_poison())
            .as_deref()
        {
            Some(Sig4State::Ready(key)) => (Some(key.describe()), None),
            Some(Sig4State::Failed { error, .. }) => (None, Some(error.clone())),
            None => (None, None),
        };
        let Sig4Description {
            key,
            spki,
            schemes,
            certificate,
        } = self.c3.describe();
        let description = KeyDescription {
            key,
            spki,
            schemes,
            device: self.token.device_info(),
            certificate,
            sig4,
            sig4_error,
            hardening: self.hardening.clone(),
        };
        // Serialisation of strings and numbers does not fail.
        serde_json::to_vec(&description).unwrap_or_default()
    }

    fn ready_sig4(&self) -> Option<Arc<OpenKey>> {
        match &*self.sig4.as_ref()?.lock().ignore_poison() {
            Sig4State::Ready(key) => Some(Arc::clone(key)),
            Sig4State::Failed { .. } => None,
        }
    }

    fn open_sig4(&self, attendance: Attendance, failures: u32) -> Sig4State {
        let error = match self.open_sig4_key(attendance) {
            Ok(key) => return Sig4State::Ready(Arc::new(key)),
            Err(error) => error,
        };
        let hangs = matches!(
            &error,
            IdentityError::Sig4(Sig4Error::Identity(error))
                if matches!(**error, IdentityError::Token(TokenError::NoAnswer { .. }))
        );
        let error = ReportedError::of(error.into());
        let failures = failures.saturating_add(1);
        tracing::error!(
            error = error.message,
            hint = error.hint,
            "the Sig4 key is not open"
        );
        let delay = match hangs {
            true => PAUSE_AFTER_HANG,
            false => delay_after_failed_start(&error, failures),
        };
        let passes = error.exit == ExitCode::Token as u8;
        Sig4State::Failed {
            error,
            failures,
            retry_at: passes.then(|| Instant::now() + delay),
        }
    }

    fn open_sig4_key(&self, attendance: Attendance) -> Result<OpenKey, IdentityError> {
        let config = &self.config;
        let opened = || {
            let no_section = || TokenError::Empty;
            let view = config.for_sig4().ok_or_else(no_section)?;
            let files = IdentityFiles::read_valid(&view, Validity::NowOrLater)?;
            let token = match &config.sig4_token {
                Some(of_sig4) => Token::open(of_sig4, attendance, self.recorder.clone())?,
                None => Arc::clone(&self.token),
            };
            let chain = files.chain(&view, || certificate_in_token(&view, &token))?;
            let engine = engine_on_caller_threads(&view, &token, chain.leaf())?;
            Ok((view, chain, engine))
        };
        let (view, chain, engine) =
            opened().map_err(|error: IdentityError| Sig4Error::from(error))?;
        let claim_set = claim_set(config, &self.leaf, chain.leaf())?;
        if engine.public_key() == self.c3.engine.public_key() {
            let uri = engine.key_uri();
            return Err(Sig4Error::SameKey { uri }.into());
        }
        if self.share_token {
            self.c3.engine.share_sessions(&engine);
        }
        let limit = config.sig4.as_ref().map(|sig4| sig4.signature_limit());
        let limit = limit.unwrap_or_else(|| config.signature_limit());
        let key_use = KeyUse::Jwt(JwtPolicy::new(claim_set));
        Ok(OpenKey::new(engine, limit, key_use, &view, chain.leaf()))
    }
}

impl OpenKey {
    /// The key of a configuration's `[c3]`.
    fn new(
        engine: TokenEngine,
        limit: SignatureLimit,
        key_use: KeyUse,
        config: &Config,
        leaf: &Certificate,
    ) -> Self {
        let spki = engine.public_key().fingerprint();
        Self {
            policy: SigningPolicy::new(spki, engine.schemes(), limit, key_use),
            engine,
            timeout: config.token.timeout,
            certificate: match &config.c3.certificate {
                CertificateSource::File(_) => None,
                CertificateSource::Token(_) => Some(STANDARD.encode(leaf.der())),
            },
        }
    }

    fn describe(&self) -> Sig4Description {
        let schemes = self.engine.schemes().iter();
        Sig4Description {
            key: self.engine.key_uri(),
            spki: STANDARD.encode(self.engine.public_key().spki()),
            schemes: schemes.map(|scheme| scheme.name().to_owned()).collect(),
            certificate: self.certificate.clone(),
        }
    }
}
