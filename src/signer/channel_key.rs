//! One key of a signer process, as the other processes see it: implements [`Sign`] with requests over the channels to that
//! process. All keys of a signer share its channels.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::channel::OwnedResponse;
use super::channel_pool::{self, Channels};
use super::frame::Request;
use super::{SignerError, not_understood};
use crate::config::trust::Fingerprint;
use crate::engine::{AwaitedSignature, EngineError, Sign, SignRequest, Signature, SignatureFuture};
use crate::key::public::PublicKey;
use crate::key::scheme::Scheme;
use crate::metrics::KeyMetrics;

/// A key that signs in a signer process.
#[derive(Debug)]
pub(super) struct ChannelKey {
    channels: Arc<Channels>,
    uri: String,
    public_key: PublicKey,
    spki: Fingerprint,
    schemes: Vec<Scheme>,
    timeout: Duration,
    metrics: KeyMetrics,
}

impl ChannelKey {
    /// The key of a description: its URI, its SubjectPublicKeyInfo in base64, and the names of its schemes.
    ///
    /// # Errors
    /// The public key is of an unknown kind.
    pub(super) fn new(
        channels: &Arc<Channels>,
        uri: &str,
        spki: &str,
        schemes: &[String],
        timeout: Duration,
    ) -> Result<Self, SignerError> {
        let public_key = PublicKey::from_spki(&decode_base64(spki)?)
            .map_err(|key| not_understood(&format!("a public key of an unknown kind: {key}")))?;
        // In the signer's order, preferred first.
        let by_name = |name: &String| {
            let named = |scheme: &Scheme| scheme.name() == name;
            Scheme::ALL.into_iter().find(named)
        };
        Ok(Self {
            channels: Arc::clone(channels),
            metrics: KeyMetrics::new(uri),
            uri: uri.to_owned(),
            spki: public_key.fingerprint(),
            public_key,
            schemes: schemes.iter().filter_map(by_name).collect(),
            timeout,
        })
    }

    pub(super) fn metrics(&self) -> &KeyMetrics {
        &self.metrics
    }

    /// The frame of a request.
    fn frame<'a>(&self, request: &'a SignRequest<'a>) -> Result<Request<'a>, EngineError> {
        channel_pool::check_length(request.message)?;
        Ok(Request::Sign {
            spki: self.spki,
            request: *request,
        })
    }

    /// Counts a signature.
    fn observed(
        &self,
        request: &SignRequest<'_>,
        elapsed: Duration,
        response: Result<OwnedResponse, EngineError>,
    ) -> Result<Signature, EngineError> {
        let result = response.and_then(|response| match response {
            OwnedResponse::Signed(bytes) => Ok(Signature { bytes, elapsed }),
            OwnedResponse::Failed(error) => Err(EngineError::Reported(Box::new(error))),
            OwnedResponse::Described(_) | OwnedResponse::Health(_) => Err(wrong_response()),
        });
        let class = result.as_ref().map_or_else(EngineError::class, |_| "good");
        self.metrics
            .signature(request.purpose.name(), class, elapsed);
        let (waiting, in_use, all) = self.channels.counts();
        self.metrics.queue(waiting, in_use, all);
        result
    }
}

impl Sign for ChannelKey {
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
        let frame = self.frame(request);
        let response = frame.and_then(|frame| self.channels.request(&frame, request.deadline));
        self.observed(request, started.elapsed(), response)
    }

    fn sign_async<'a>(&'a self, request: &'a SignRequest<'a>) -> SignatureFuture<'a> {
        Box::pin(async move {
            let awaited = AwaitedSignature::begin(&self.metrics, request.purpose);
            let response = match self.frame(request) {
                Ok(frame) => self.channels.request_async(&frame, request.deadline).await,
                Err(error) => Err(error),
            };
            self.observed(request, awaited.end(), response)
        })
    }
}

pub(super) fn decode_base64(text: &str) -> Result<Vec<u8>, SignerError> {
    STANDARD
        .decode(text)
        .map_err(|error| not_understood(&error.to_string()))
}

pub(super) fn wrong_response() -> EngineError {
    EngineError::SignerGone {
        why: "it answered another question".to_owned(),
    }
}
