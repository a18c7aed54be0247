//! The keys for the connections with the hub, opened in the front end: that of one token, or those of several, each with a signer
//! process of its own.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::ProxyError;
use hsm_mtls::internal::client::connector::Connector;
use hsm_mtls::internal::client::failover::key_tokens::KeyTokens;
use hsm_mtls::internal::config::Config;
use hsm_mtls::internal::config::proxy::ProxyConfig;
use hsm_mtls::internal::identity::{Identity, Validity};
use hsm_mtls::internal::signer::RemoteKey;
use hsm_mtls::internal::tls::Tls;

/// The keys, each proved to be that of its certificate, and the connector that uses them.
pub(super) struct OpenedKeys {
    /// That of the only token, or of the first of several whose key was proved.
    pub(super) identity: Arc<Identity>,
    pub(super) connector: Connector,
    pub(super) signers: Signers,
}

/// The signer processes.
#[derive(Clone)]
pub(super) enum Signers {
    One(Arc<RemoteKey>),
    /// One for each token.
    Several(Arc<KeyTokens>),
}

impl OpenedKeys {
    /// Opens the keys, with the channels to their signers, and checks that they are those of their certificates. Blocks until one
    /// can be used.
    ///
    /// # Errors
    /// No key can be used, or something in the configuration is wrong.
    pub(super) fn open(
        config: &Config,
        channels: Vec<OwnedFd>,
        proxy: &ProxyConfig,
        validity: Validity,
    ) -> Result<Self, ProxyError> {
        let protocols: &[&[u8]] = match proxy.h2 {
            true => &[b"h2", b"http/1.1"],
            false => &[b"http/1.1"],
        };
        if config.key_tokens() > 1 {
            let tokens = KeyTokens::open(config, channels, protocols, validity)?;
            return Ok(Self {
                identity: Arc::clone(&tokens.first.identity),
                connector: tokens.connector.clone(),
                signers: Signers::Several(Arc::new(tokens)),
            });
        }
        let key = RemoteKey::connect_inherited(config, channels)?;
        let identity = key.identity_valid(config, validity)?;
        let tls = Tls::new(config, &identity)?;
        Ok(Self {
            connector: Connector::with_protocols(config, &tls, protocols)?,
            identity: Arc::new(identity),
            signers: Signers::One(key),
        })
    }
}
