//! The identity: a certificate chain and its private key, proved to belong together. Later stages use only a proved pair.

mod error;
mod files;
mod key_of_certificate;
pub mod same_client;
mod sig4;

use std::sync::Arc;
use std::time::Duration;

use crate::certificate::anchors::Chain;
use crate::config::Config;
use crate::engine::{self, EngineError, Sign};
use crate::ledger::{Ledger, LedgerError, Recorder};
use crate::token::Token;
use crate::token::device_info::DeviceInfo;
use crate::token::guard::Attendance;
pub use error::IdentityError;
pub(crate) use files::RemoteSig4;
pub use files::{IdentityFiles, Validity};
pub(crate) use key_of_certificate::engine_on_caller_threads;
pub use key_of_certificate::{
    certificate_in_token, engine_for_certificate, engine_for_key, engine_without_certificate,
    find_key,
};
pub use sig4::{SCHEME as SIG4_SCHEME, Sig4Error, SigningIdentity, check_ps256, claim_set};

/// A certificate chain, and the key that signs for its leaf.
#[derive(Debug)]
pub struct Identity {
    chain: Chain,
    signer: Arc<dyn Sign>,
    proof: Duration,
    device: Option<DeviceInfo>,
    sig4: Option<SigningIdentity>,
    // Keeps the login for as long as the key is in use.
    token: Option<Arc<Token>>,
}

impl Identity {
    /// Opens token, key, certificate and ledger as configured, checks that the certificate is valid now and for TLS
    /// clients, and proves the pair.
    ///
    /// # Errors
    /// One of the stages fails; the error is that of the stage.
    pub fn open(config: &Config, attendance: Attendance) -> Result<Self, IdentityError> {
        Self::open_recorded(config, attendance, || {
            Recorder::open(config.ledger.as_ref())
        })
    }

    /// [`Identity::open`] with a ledger of the application's in place of the configured one.
    ///
    /// # Errors
    /// As [`Identity::open`].
    pub fn open_with_ledger(
        config: &Config,
        attendance: Attendance,
        ledger: Arc<dyn Ledger>,
    ) -> Result<Self, IdentityError> {
        Self::open_recorded(config, attendance, || Ok(Recorder::new(ledger)))
    }

    fn open_recorded(
        config: &Config,
        attendance: Attendance,
        recorder: impl FnOnce() -> Result<Recorder, LedgerError>,
    ) -> Result<Self, IdentityError> {
        // The files first: an error in them is found without a login.
        let mut files = IdentityFiles::read(config)?;
        let files_of_sig4 = files.take_sig4();
        let recorder = recorder()?;
        let token = Token::open(&config.token, attendance.clone(), recorder.clone())?;
        let chain = files.chain(config, || certificate_in_token(config, &token))?;
        let signer = engine_for_certificate(config, &token, chain.leaf())?;
        let mut identity = Self::prove(chain, Arc::new(signer))?;
        if let Some((files, view)) = files_of_sig4.zip(config.for_sig4()) {
            let token = match &config.sig4_token {
                Some(of_sig4) => Token::open(of_sig4, attendance, recorder)
                    .map_err(|error| Sig4Error::from(IdentityError::from(error)))?,
                None => Arc::clone(&token),
            };
            let opened = files
                .chain(&view, || certificate_in_token(&view, &token))
                .and_then(|chain| {
                    let signer = engine_for_certificate(&view, &token, chain.leaf())?;
                    Ok((chain, signer))
                });
            let (chain, signer) = opened.map_err(Sig4Error::from)?;
            let leaf = identity.chain.leaf();
            let proved = SigningIdentity::prove(config, leaf, &chain, Arc::new(signer))?;
            identity.sig4 = Some(proved);
        }
        identity.device = Some(token.device_info());
        identity.token = Some(token);
        Ok(identity)
    }

    /// Proves that `signer` has the private key of the chain's leaf: compares the public keys, and has a random challenge
    /// signed and verified. The comparison alone would rely on the token's metadata.
    ///
    /// # Errors
    /// Chain and key do not belong together, or the key does not sign.
    pub fn prove(chain: Chain, signer: Arc<dyn Sign>) -> Result<Self, EngineError> {
        if chain.leaf().public_key() != Some(signer.public_key()) {
            return Err(EngineError::NotThePair {
                uri: signer.key_uri(),
            });
        }
        let proof = engine::prove(signer.as_ref())?;
        Ok(Self {
            chain,
            signer,
            proof,
            device: None,
            sig4: None,
            token: None,
        })
    }

    /// The chain, leaf first.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// The key.
    pub fn signer(&self) -> &Arc<dyn Sign> {
        &self.signer
    }

    /// The signing identity; `None` without `[sig4]`.
    pub fn sig4(&self) -> Option<&SigningIdentity> {
        self.sig4.as_ref()
    }

    /// The module and the token that hold the key, if they are known.
    pub fn device_info(&self) -> Option<DeviceInfo> {
        self.device.clone()
    }

    /// The duration of the proof's signature.
    pub fn proof(&self) -> Duration {
        self.proof
    }
}
