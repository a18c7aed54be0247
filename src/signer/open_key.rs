//! The keys that a signer process signs with: from its configuration to a token that is logged in and a policy for the requests of
//! each key.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::SignerError;
use super::hardening::Measure;
use super::jwt_policy::JwtPolicy;
use super::policy::{KeyUse, SigningPolicy};
use super::remote_key::{KeyDescription, Sig4Description};
use super::tls12_policy::Tls12Policy;
use crate::certificate::Certificate;
use crate::config::trust::Fingerprint;
use crate::config::{CertificateSource, Config};
use crate::engine::{EngineHealth, Sign as _, TokenEngine};
use crate::identity::{
    IdentityError, IdentityFiles, Sig4Error, Validity, certificate_in_token, claim_set,
    engine_on_caller_threads,
};
use crate::ledger::Recorder;
use crate::token::Token;
use crate::token::guard::Attendance;

/// The keys of open tokens, and the ledger's recorder.
pub(super) struct OpenKeys {
    c3: OpenKey,
    sig4: Option<OpenKey>,
    pub(super) recorder: Recorder,
    /// The encoded [`super::remote_key::KeyDescription`].
    pub(super) description: Vec<u8>,
}

/// A key of an open token, with the policy that its requests are checked against.
pub(super) struct OpenKey {
    pub(super) engine: TokenEngine,
    pub(super) policy: SigningPolicy,
}

impl OpenKeys {
    /// Opens tokens and keys, and proves what it can without a handshake.
    ///
    /// # Errors
    /// What is configured is not there, or does not fit.
    pub(super) fn open(
        config: &Config,
        hardening: &[Measure],
        attendance: Attendance,
    ) -> Result<Self, SignerError> {
        // The front end decides when the certificate may be used.
        let mut files = IdentityFiles::read_valid(config, Validity::NowOrLater)?;
        let files_of_sig4 = files.take_sig4();
        let recorder = Recorder::open(config.ledger.as_ref())?;
        let token = Token::open(&config.token, attendance.clone(), recorder.clone())?;
        let anchors = files.anchors().clone();
        let chain = files.chain(config, || certificate_in_token(config, &token))?;
        let engine = engine_on_caller_threads(config, &token, chain.leaf())?;
        let leaf = chain.leaf().clone();
        let tls12 = Tls12Policy::load(config, &anchors, engine.public_key(), chain);
        let limit = config.signature_limit();
        let c3 = OpenKey::new(engine, limit, KeyUse::ClientAuth(Box::new(tls12)));
        let sig4 = match files_of_sig4 {
            Some(files) => open_sig4(config, files, &leaf, &token, attendance, &recorder)?,
            None => None,
        };
        if let (Some((sig4, _)), None) = (&sig4, &config.sig4_token) {
            c3.engine.share_sessions(&sig4.engine);
        }
        let description = KeyDescription {
            key: c3.engine.key_uri(),
            spki: STANDARD.encode(c3.engine.public_key().spki()),
            schemes: c3.scheme_names(),
            device: token.device_info(),
            certificate: in_token(&config.c3.certificate, &leaf),
            sig4: sig4.as_ref().map(|(key, certificate)| Sig4Description {
                key: key.engine.key_uri(),
                spki: STANDARD.encode(key.engine.public_key().spki()),
                schemes: key.scheme_names(),
                certificate: certificate.clone(),
            }),
            hardening: hardening.to_vec(),
        };
        Ok(Self {
            c3,
            sig4: sig4.map(|(key, _)| key),
            recorder,
            description: serde_json::to_vec(&description)
                .map_err(|error| SignerError::handover(&error))?,
        })
    }

    /// The key with this SubjectPublicKeyInfo; that of C3, whose policy refuses the request, if there is none.
    pub(super) fn key(&self, spki: Fingerprint) -> &OpenKey {
        match &self.sig4 {
            Some(sig4) if sig4.engine.public_key().fingerprint() == spki => sig4,
            _ => &self.c3,
        }
    }

    /// The policy that says how many refusals are recorded.
    pub(super) fn policy(&self) -> &SigningPolicy {
        &self.c3.policy
    }

    /// All keys.
    pub(super) fn engines(&self) -> impl Iterator<Item = &TokenEngine> {
        let keys = std::iter::once(&self.c3).chain(&self.sig4);
        keys.map(|key| &key.engine)
    }

    /// The health of all keys: an outage of one is one of the whole, and the last signature is any key's.
    pub(super) fn health(&self) -> EngineHealth {
        let health = self.c3.engine.health();
        let Some(sig4) = &self.sig4 else {
            return health;
        };
        let of_sig4 = sig4.engine.health();
        let signed = [health.last_signature_ms, of_sig4.last_signature_ms];
        EngineHealth {
            sessions_in_use: health.sessions_in_use + of_sig4.sessions_in_use,
            max_sessions: health.max_sessions + of_sig4.max_sessions,
            waiting: health.waiting + of_sig4.waiting,
            outage: health.outage.or(of_sig4.outage),
            last_signature_ms: signed.into_iter().flatten().min(),
            replaced: health.replaced,
        }
    }

    /// The recoveries in vain of the key that has most of them.
    pub(super) fn recoveries_in_vain(&self) -> u32 {
        let counts = self.engines().map(TokenEngine::recoveries_in_vain);
        counts.max().unwrap_or_default()
    }
}

impl OpenKey {
    fn new(
        engine: TokenEngine,
        limit: crate::config::signature_rate::SignatureLimit,
        key_use: KeyUse,
    ) -> Self {
        let spki = engine.public_key().fingerprint();
        let policy = SigningPolicy::new(spki, engine.schemes(), limit, key_use);
        Self { engine, policy }
    }

    fn scheme_names(&self) -> Vec<String> {
        let schemes = self.engine.schemes().iter();
        schemes.map(|scheme| scheme.name().to_owned()).collect()
    }
}

/// The Sig4 key, and its certificate if that is in the token.
fn open_sig4(
    config: &Config,
    files: IdentityFiles,
    c3: &Certificate,
    token: &Arc<Token>,
    attendance: Attendance,
    recorder: &Recorder,
) -> Result<Option<(OpenKey, Option<String>)>, IdentityError> {
    let (Some(view), Some(sig4)) = (config.for_sig4(), config.sig4.as_ref()) else {
        return Ok(None);
    };
    let opened = || {
        let token = match &config.sig4_token {
            Some(of_sig4) => Token::open(of_sig4, attendance, recorder.clone())?,
            None => Arc::clone(token),
        };
        let chain = files.chain(&view, || certificate_in_token(&view, &token))?;
        let engine = engine_on_caller_threads(&view, &token, chain.leaf())?;
        Ok((chain, engine))
    };
    let (chain, engine) = opened().map_err(|error: IdentityError| Sig4Error::from(error))?;
    let claim_set = claim_set(config, c3, chain.leaf())?;
    let certificate = in_token(&view.c3.certificate, chain.leaf());
    let key_use = KeyUse::Jwt(JwtPolicy::new(claim_set));
    let key = OpenKey::new(engine, sig4.signature_limit(), key_use);
    Ok(Some((key, certificate)))
}

/// The certificate, where only this process can read it.
fn in_token(source: &CertificateSource, leaf: &Certificate) -> Option<String> {
    match source {
        CertificateSource::File(_) => None,
        CertificateSource::Token(_) => Some(STANDARD.encode(leaf.der())),
    }
}
