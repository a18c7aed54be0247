//! A new certificate, key or trust bundle without a restart. All of it is opened and proved before
//! anything of the old is let go.

use std::sync::{Arc, PoisonError};

use super::house::Door;
use super::operations::Operations;
use super::traffic;
use crate::client::connector::Connector;
use crate::config::Config;
use crate::config::proxy::ProxyConfig;
use crate::error::Error;
use crate::identity::Identity;
use crate::signer::WalledKey;
use crate::tls::Tls;

/// What is opened anew.
pub(super) struct Reload {
    pub(super) config: Arc<Config>,
    pub(super) proxy: ProxyConfig,
    pub(super) key: WalledKey,
    pub(super) doors: Vec<Arc<Door>>,
    pub(super) operations: Arc<Operations>,
}

/// The identity, proved, and what makes connections with it.
pub(super) fn prepare(
    config: &Config,
    proxy: &ProxyConfig,
    key: &WalledKey,
) -> Result<(Identity, Connector), Error> {
    let identity = key.identity(config)?;
    let tls = Tls::new(config, &identity)?;
    let protocols: &[&[u8]] = match proxy.h2 {
        true => &[b"h2", b"http/1.1"],
        false => &[b"http/1.1"],
    };
    let connector = Connector::with_protocols(config, &tls, protocols)?;
    Ok((identity, connector))
}

impl Reload {
    /// Opens everything anew; what fails stays as it was, and is said aloud.
    pub(super) async fn run(&self) {
        let (config, proxy, key) = (
            Arc::clone(&self.config),
            self.proxy.clone(),
            self.key.clone(),
        );
        let prepared = tokio::task::spawn_blocking(move || prepare(&config, &proxy, &key)).await;
        let good = match prepared {
            Ok(Ok((identity, connector))) => {
                let leaf = identity.chain().leaf();
                tracing::warn!(subject = %leaf.subject(), not_after = leaf.not_after(), "reloaded");
                let certificate = &self.operations.certificate;
                *certificate.lock().unwrap_or_else(PoisonError::into_inner) = leaf.clone();
                for upstream in &self.operations.house.upstreams {
                    upstream.renew(connector.clone());
                }
                true
            }
            Ok(Err(error)) => {
                tracing::error!(%error, hint = error.hint(), "NOT reloaded: the old certificate, key and anchors stay in use");
                false
            }
            Err(error) => {
                tracing::error!(%error, "NOT reloaded: the old certificate, key and anchors stay in use");
                false
            }
        };
        let mut files = Vec::new();
        files.extend(self.doors.iter().map(|door| door.reload()));
        files.push(self.operations.house.log.reopen(&self.proxy.access_log));
        for error in files.into_iter().filter_map(Result::err) {
            tracing::error!(%error, hint = error.hint(), "not opened anew: the old one stays in use");
        }
        traffic::reloaded(good);
    }
}
