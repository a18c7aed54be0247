//! The keys in a signer process: C3's, which implements [`Sign`], and that of Sig4, with what the signer says of itself.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::channel::OwnedResponse;
use super::channel_key::{ChannelKey, decode_base64, wrong_response};
use super::channel_pool::Channels;
use super::frame::Request;
use super::hardening::Measure;
use super::signer_supervisor::SupervisedSigner;
use super::{START_STEPS, SignerError, SignerHealth, not_understood};
use crate::config::Config;
use crate::config::pin::PinSource;
use crate::engine::{EngineError, ReportedError, Sign, SignRequest, Signature, SignatureFuture};
use crate::identity::{Identity, IdentityFiles, RemoteSig4, Validity};
use crate::key::public::PublicKey;
use crate::key::scheme::Scheme;
use crate::metrics;
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
    pub(super) sig4: Option<Sig4Description>,
    /// Why there is none, although it is configured.
    pub(super) sig4_error: Option<ReportedError>,
    pub(super) hardening: Vec<Measure>,
}

/// A signer's description of its Sig4 key.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sig4Description {
    pub(super) key: String,
    pub(super) spki: String,
    pub(super) schemes: Vec<String>,
    pub(super) certificate: Option<String>,
}

/// The keys that sign in a signer process. As [`Sign`] it is the C3 key.
#[derive(Debug)]
pub struct RemoteKey {
    channels: Arc<Channels>,
    /// A channel for health checks, which must not wait for signatures.
    health_channel: Option<Arc<Channels>>,
    c3: ChannelKey,
    /// With its certificate in DER, if that is configured to be in the token.
    sig4: Option<(Arc<ChannelKey>, Option<Vec<u8>>)>,
    device: DeviceInfo,
    /// The certificate in DER, if it is configured to be in the token.
    certificate: Option<Vec<u8>>,
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
        sockets: Vec<OwnedFd>,
        signer: Option<SupervisedSigner>,
    ) -> Result<Self, SignerError> {
        SignerChannels::of(sockets).connect(config, signer)
    }
}

/// The channels to a signer process that has not described its key yet.
#[derive(Clone, Debug)]
pub(crate) struct SignerChannels {
    channels: Arc<Channels>,
    health_channel: Option<Arc<Channels>>,
}

impl SignerChannels {
    pub(crate) fn of(mut sockets: Vec<OwnedFd>) -> Self {
        let health_channel = (sockets.len() > 1).then(|| sockets.pop()).flatten();
        Self {
            health_channel: health_channel.map(|socket| Arc::new(Channels::new(vec![socket]))),
            channels: Arc::new(Channels::new(sockets)),
        }
    }

    /// [`RemoteKey::connect`]. Where it fails it can be tried again.
    pub(crate) fn connect(
        &self,
        config: &Config,
        signer: Option<SupervisedSigner>,
    ) -> Result<RemoteKey, SignerError> {
        let Self {
            channels,
            health_channel,
        } = self.clone();
        let is_asked =
            |pin: &PinSource| matches!(pin, PinSource::Prompt | PinSource::ProtectedPath);
        let timeout = match config.tokens().any(|token| is_asked(&token.pin)) {
            true => MANUAL_PIN_TIMEOUT,
            false => config.start_time(START_STEPS) + config.token.timeout,
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
        let timeout = config.token.timeout;
        let key = |uri: &str, spki: &str, schemes: &[String], timeout| {
            ChannelKey::new(&channels, uri, spki, schemes, timeout)
        };
        let c3 = key(
            &description.key,
            &description.spki,
            &description.schemes,
            timeout,
        )?;
        if let Some(error) = description.sig4_error.filter(|_| config.sig4.is_some()) {
            return Err(EngineError::Reported(Box::new(error)).into());
        }
        let sig4 = description.sig4.map(|sig4| {
            let certificate = sig4.certificate.as_deref().map(decode_base64).transpose()?;
            let of_sig4 = config.token_of_sig4().timeout;
            let key = key(&sig4.key, &sig4.spki, &sig4.schemes, of_sig4)?;
            Ok::<_, SignerError>((Arc::new(key), certificate))
        });
        let sig4 = sig4.transpose()?;
        let certificate = description.certificate.as_deref();
        let certificate = certificate.map(decode_base64).transpose()?;
        Ok(RemoteKey {
            channels,
            health_channel,
            c3,
            sig4,
            device: description.device,
            certificate,
            hardening: description.hardening,
            replaced: AtomicU32::new(0),
            signer,
        })
    }
}

impl RemoteKey {
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
        let sig4 = self.sig4.as_ref().map(|(signer, certificate)| RemoteSig4 {
            signer: Arc::<ChannelKey>::clone(signer),
            certificate: certificate.clone(),
        });
        Ok(files.identity(config, signer, certificate, sig4, self.device.clone())?)
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
        self.c3.metrics().token_up(health.error().is_none());
        // A supervisor in this process counts them by itself.
        if let (None, Some(replaced)) = (&self.signer, health.replaced()) {
            let before = self.replaced.fetch_max(replaced, Ordering::Relaxed);
            metrics::signers_replaced(replaced.saturating_sub(before));
        }
    }
}

impl Sign for RemoteKey {
    fn key_uri(&self) -> String {
        self.c3.key_uri()
    }

    fn public_key(&self) -> &PublicKey {
        self.c3.public_key()
    }

    fn schemes(&self) -> &[Scheme] {
        self.c3.schemes()
    }

    fn deadline(&self) -> Instant {
        self.c3.deadline()
    }

    fn sign(&self, request: &SignRequest<'_>) -> Result<Signature, EngineError> {
        self.c3.sign(request)
    }

    fn sign_async<'a>(&'a self, request: &'a SignRequest<'a>) -> SignatureFuture<'a> {
        self.c3.sign_async(request)
    }
}
