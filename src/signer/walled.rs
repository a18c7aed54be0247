//! A key in a signer process that somebody else supervises: what the front end of three processes has.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::{RemoteKey, SignerHealth};
use crate::config::Config;
use crate::engine::{EngineError, Sign};
use crate::error::Error;
use crate::identity::{Files, Identity, InToken, Validity};

/// A key in a signer process that somebody else supervises: the front end of three processes.
#[derive(Clone, Debug)]
pub struct WalledKey {
    key: Arc<RemoteKey>,
    in_token: InToken,
}

impl WalledKey {
    /// Asks a signer for its key, over channels that were inherited.
    ///
    /// # Errors
    /// The signer has none, or there is no signer.
    pub fn over(config: &Config, sockets: Vec<OwnedFd>) -> Result<Self, Error> {
        // Files first: of what is wrong there the signer says less.
        Files::read_valid(config, Validity::NowOrLater)?;
        let (key, in_token) = RemoteKey::over(config, sockets, None)?;
        let key = Arc::new(key);
        Ok(Self { key, in_token })
    }

    /// Chain and key, read and proved anew.
    ///
    /// # Errors
    /// They are no pair, or a file is not as it must be.
    pub fn identity(&self, config: &Config) -> Result<Identity, Error> {
        self.identity_valid(config, Validity::Now)
    }

    /// The same of a certificate whose time may begin later.
    pub(crate) fn identity_valid(
        &self,
        config: &Config,
        validity: Validity,
    ) -> Result<Identity, Error> {
        let key: Arc<dyn Sign> = Arc::<RemoteKey>::clone(&self.key);
        Files::read_valid(config, validity)?.identity(config, key, self.in_token.clone())
    }

    /// How the signer is, in its own words. Blocks, for a second at the most.
    ///
    /// # Errors
    /// It does not answer ([`EngineError::SignerSilent`]).
    pub fn health(&self) -> Result<SignerHealth, EngineError> {
        self.key.health()
    }
}
