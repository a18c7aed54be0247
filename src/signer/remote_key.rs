//! A key in a signer process: implements [`Sign`] with requests over the channels to that process.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::channel::{self, Channels, OwnedResponse};
use super::frame::Request;
use super::hardening::Measure;
use super::signer_supervisor::SupervisedSigner;
use super::{START_STEPS, SignerError, SignerHealth, not_understood};
use crate::config::Config;
use crate::config::pin::PinSource;
use crate::config::trust::Fingerprint;
use crate::engine::{EngineError, Sign, SignRequest, Signature};
use crate::identity::{Identity, IdentityFiles, Validity};
use crate::key::public::PublicKey;
use crate::key::scheme::Scheme;
use crate::metrics::{self, KeyMetrics};
use crate::token::device_info::DeviceInfo;

/// The timeout of a health check. A signer answers it at once, unless it hangs.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(1);

/// The timeout of the first request if an operator types the PIN.
const MANUAL_PIN_TIMEOUT: Duration = Duration::from_secs(3600);

/// A signer's description of its key, sent as JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyDescription {
    pub(super) key: String,
    pub(super) spki: String,
    pub(super) schemes: Vec<String>,
    #[serde(rename = "holder")]
    pub(super) device: DeviceInfo,
    pub(super) certificate: Option<String>,
    pub(super) hardening: Vec<Measure>,
}

/// A key that signs in a signer process.
#[derive(Debug)]
pub struct RemoteKey {
    channels: Channels,
    /// A channel for health checks, which must not wait for signatures.
    health_channel: Option<Channels>,
    uri: String,
    public_key: PublicKey,
    spki: Fingerprint,
    schemes: Vec<Scheme>,
    device: DeviceInfo,
    /// The certificate in DER, if it is configured to be in the token.
    certificate: Option<Vec<u8>>,
    timeout: Duration,
    metrics: KeyMetrics,
    hardening: Vec<Measure>,
    /// The processes that were replaced, as the signer last said.
    replaced: AtomicU32,
    // The last field, so that the signer is stopped after its channels are closed.
    signer: Option<SupervisedSigner>,
}

impl RemoteKey {
    /// Requests the description of a signer's key. `signer` is given if this process supervises the signer.
    ///
    /// # Errors
    /// The signer has no key, or there is no signer.
    pub fn connect(
        config: &Config,
        mut sockets: Vec<OwnedFd>,
        signer: Option<SupervisedSigner>,
    ) -> Result<Self, SignerError> {
        let health_channel = (sockets.len() > 1).then(|| sockets.pop()).flatten();
        let health_channel = health_channel.map(|socket| Channels::new(vec![socket]));
        let channels = Channels::new(sockets);
        let timeout = match &config.token.pin {
            PinSource::Prompt | PinSource::ProtectedPath => MANUAL_PIN_TIMEOUT,
            _ => config.token.start_timeout * START_STEPS + config.token.timeout,
        };
        let json = match channels.request(&Request::Describe, Instant::now() + timeout)? {
            OwnedResponse::Described(json) => json,
            OwnedResponse::Failed(error) => {
                return Err(EngineError::Reported(Box::new(error)).into());
            }
            OwnedResponse::Signed(_) | OwnedResponse::Health(_) => {
                return Err(not_understood("the answer to another question"));
            }
        };
        let description: KeyDescription =
            serde_json::from_slice(&json).map_err(|error| not_understood(&error.to_string()))?;
        let spki = decode_base64(&description.spki)?;
        let public_key = PublicKey::from_spki(&spki)
            .map_err(|key| not_understood(&format!("a public key of an unknown kind: {key}")))?;
        // In the signer's order, preferred first.
        let by_name = |name: &String| {
            let named = |scheme: &Scheme| scheme.name() == name;
            Scheme::ALL.into_iter().find(named)
        };
        let schemes = description.schemes.iter().filter_map(by_name).collect();
        let certificate = description.certificate.as_deref();
        let certificate = certificate.map(decode_base64).transpose()?;
        Ok(Self {
            channels,
            health_channel,
            metrics: KeyMetrics::new(&description.key),
            uri: description.key,
            spki: public_key.fingerprint(),
            public_key,
            schemes,
            device: description.device,
            certificate,
            timeout: config.token.timeout,
            hardening: description.hardening,
            replaced: AtomicU32::new(0),
            signer,
        })
    }

    /// Connects to a signer that another process supervises, over inherited channels: for the front end.
    ///
    /// # Errors
    /// A file of the identity is missing or invalid, the signer has no key, or there is no signer.
    pub fn connect_inherited(
        config: &Config,
        sockets: Vec<OwnedFd>,
    ) -> Result<Arc<Self>, SignerError> {
        // The files first: their errors say more than the signer's.
        IdentityFiles::read_valid(config, Validity::NowOrLater)?;
        Ok(Arc::new(Self::connect(config, sockets, None)?))
    }

    /// Reads chain and trust anchors again, and proves that this is the chain's key.
    ///
    /// # Errors
    /// Chain and key do not belong together, or a file is missing or invalid.
    pub fn identity(self: &Arc<Self>, config: &Config) -> Result<Identity, SignerError> {
        self.identity_valid(config, Validity::Now)
    }

    /// [`RemoteKey::identity`] with a certificate that may become valid later.
    ///
    /// # Errors
    /// As [`RemoteKey::identity`].
    pub fn identity_valid(
        self: &Arc<Self>,
        config: &Config,
        validity: Validity,
    ) -> Result<Identity, SignerError> {
        self.identity_of(config, IdentityFiles::read_valid(config, validity)?)
    }

    pub(super) fn identity_of(
        self: &Arc<Self>,
        config: &Config,
        files: IdentityFiles,
    ) -> Result<Identity, SignerError> {
        let signer: Arc<dyn Sign> = Arc::<Self>::clone(self);
        let certificate = self.certificate.as_deref();
        Ok(files.identity(config, signer, certificate, self.device.clone())?)
    }

    /// The hardening of the signer process.
    pub fn hardening(&self) -> &[Measure] {
        &self.hardening
    }

    /// The process id of the signer, if this process supervises it.
    pub fn pid(&self) -> Option<u32> {
        self.signer.as_ref()?.pid()
    }

    /// The signer's health. Blocks for at most a second.
    ///
    /// # Errors
    /// The signer does not answer ([`EngineError::SignerSilent`]).
    pub fn health(&self) -> Result<SignerHealth, EngineError> {
        let channels = self.health_channel.as_ref().unwrap_or(&self.channels);
        match channels.request(&Request::Health, Instant::now() + HEALTH_TIMEOUT) {
            Ok(OwnedResponse::Health(json)) => {
                let health = SignerHealth::from_json(&json)?;
                self.record(&health);
                Ok(health)
            }
            Ok(OwnedResponse::Failed(error)) => Err(EngineError::Reported(Box::new(error))),
            Ok(OwnedResponse::Described(_) | OwnedResponse::Signed(_)) => Err(wrong_response()),
            Err(EngineError::Deadline(_) | EngineError::Stopped) => Err(EngineError::SignerSilent),
            Err(error) => Err(error),
        }
    }

    /// Records in the metrics what the signer process says of its token.
    fn record(&self, health: &SignerHealth) {
        self.metrics.token_up(health.error().is_none());
        // A supervisor in this process counts them by itself.
        if let (None, Some(replaced)) = (&self.signer, health.replaced()) {
            let before = self.replaced.fetch_max(replaced, Ordering::Relaxed);
            metrics::signers_replaced(replaced.saturating_sub(before));
        }
    }

    fn request_signature(&self, request: &SignRequest<'_>) -> Result<Vec<u8>, EngineError> {
        channel::check_length(request.message)?;
        let (spki, deadline) = (self.spki, request.deadline);
        let request = Request::Sign {
            spki,
            request: *request,
        };
        match self.channels.request(&request, deadline)? {
            OwnedResponse::Signed(bytes) => Ok(bytes),
            OwnedResponse::Failed(error) => Err(EngineError::Reported(Box::new(error))),
            OwnedResponse::Described(_) | OwnedResponse::Health(_) => Err(wrong_response()),
        }
    }
}

impl Sign for RemoteKey {
    fn key_uri(&self) -> String {
        self.uri.clone()
    }

    fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    fn schemes(&self) -> &[Scheme] {
        &self.schemes
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.timeout
    }

    fn sign(&self, request: &SignRequest<'_>) -> Result<Signature, EngineError> {
        let started = Instant::now();
        let result = self.request_signature(request);
        let elapsed = started.elapsed();
        let class = result.as_ref().map_or_else(EngineError::class, |_| "good");
        self.metrics
            .signature(request.purpose.name(), class, elapsed);
        let (waiting, in_use, all) = self.channels.counts();
        self.metrics.queue(waiting, in_use, all);
        result.map(|bytes| Signature { bytes, elapsed })
    }
}

fn decode_base64(text: &str) -> Result<Vec<u8>, SignerError> {
    STANDARD
        .decode(text)
        .map_err(|error| not_understood(&error.to_string()))
}

fn wrong_response() -> EngineError {
    EngineError::SignerGone {
        why: "it answered another question".to_owned(),
    }
}
