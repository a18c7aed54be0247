//! The key that a signer process signs with: from its configuration to a token that is logged in and a policy for its requests.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::SignerError;
use super::hardening::Measure;
use super::policy::SigningPolicy;
use super::remote_key::KeyDescription;
use super::tls12_policy::Tls12Policy;
use crate::config::{CertificateSource, Config};
use crate::engine::{Sign as _, TokenEngine};
use crate::identity::{IdentityFiles, Validity, certificate_in_token, engine_on_caller_threads};
use crate::ledger::Recorder;
use crate::token::Token;
use crate::token::guard::Attendance;

/// A key of an open token, with the policy that its requests are checked against and the ledger's recorder.
pub(super) struct OpenKey {
    pub(super) engine: TokenEngine,
    pub(super) recorder: Recorder,
    pub(super) policy: SigningPolicy,
    /// The encoded [`super::remote_key::KeyDescription`].
    pub(super) description: Vec<u8>,
}

impl OpenKey {
    /// Opens token and key, and proves what it can without a handshake.
    ///
    /// # Errors
    /// What is configured is not there, or does not fit.
    pub(super) fn open(
        config: &Config,
        hardening: &[Measure],
        attendance: Attendance,
    ) -> Result<Self, SignerError> {
        // The front end decides when the certificate may be used.
        let files = IdentityFiles::read_valid(config, Validity::NowOrLater)?;
        let recorder = Recorder::open(config.ledger.as_ref())?;
        let token = Token::open(&config.token, attendance, recorder.clone())?;
        let anchors = files.anchors().clone();
        let chain = files.chain(config, || certificate_in_token(config, &token))?;
        let engine = engine_on_caller_threads(config, &token, chain.leaf())?;
        let certificate = match &config.c3.certificate {
            CertificateSource::File(_) => None,
            CertificateSource::Token(_) => Some(STANDARD.encode(chain.leaf().der())),
        };
        let description = KeyDescription {
            key: engine.key_uri(),
            spki: STANDARD.encode(engine.public_key().spki()),
            schemes: engine
                .schemes()
                .iter()
                .map(|scheme| scheme.name().to_owned())
                .collect(),
            device: token.device_info(),
            certificate,
            hardening: hardening.to_vec(),
        };
        let spki = engine.public_key().fingerprint();
        let tls12 = Tls12Policy::load(config, &anchors, engine.public_key(), chain);
        let policy = SigningPolicy::new(spki, engine.schemes(), config.signature_limit(), tls12);
        Ok(Self {
            recorder,
            policy,
            description: serde_json::to_vec(&description)
                .map_err(|error| SignerError::handover(&error))?,
            engine,
        })
    }
}
