//! Which way a connection takes: directly to the host, or through a forward proxy. One of these is for the hub and one for what
//! is fetched.

use std::net::IpAddr;
use std::sync::Arc;

use super::forward_proxy::{ForwardProxy, ForwardProxyError, ForwardProxyFailure, Limit};
use super::happy_eyeballs::sort_addresses;
use super::transport_stream::TransportStream;
use crate::config::Config;
use crate::config::network::ResolvedBy;
use crate::config::network::no_proxy::NoProxy;
use crate::config::origin::Origin;
use crate::tls::TlsError;

/// The most addresses of the hub that a forward proxy is asked for, one after the other.
const MAX_ADDRESSES: usize = 4;

/// The ways. Clones share what is known of the forward proxy.
#[derive(Clone, Debug)]
pub(super) struct Routes {
    proxy: Option<Arc<ForwardProxy>>,
    no_proxy: NoProxy,
    resolve: ResolvedBy,
    pub(super) source_address: Option<IpAddr>,
}

impl Routes {
    /// The ways to the hub.
    ///
    /// # Errors
    /// The anchors of the forward proxy cannot be used.
    pub(super) fn to_hub(config: &Config) -> Result<Self, TlsError> {
        let network = &config.network;
        let proxy = network.proxy.as_ref();
        let proxy = proxy.map(|proxy| ForwardProxy::new(config, proxy));
        Ok(Self {
            proxy: proxy.transpose()?.map(Arc::new),
            no_proxy: network.no_proxy.clone(),
            resolve: network.resolve,
            source_address: network.source_address,
        })
    }

    /// The ways to what is public: key sets, CRLs, CA certificates.
    ///
    /// # Errors
    /// The anchors of the forward proxy cannot be used.
    pub(super) fn of_fetches(config: &Config) -> Result<Self, TlsError> {
        let network = &config.network;
        let proxy = network.fetch_proxy.as_ref();
        let proxy = proxy.map(|proxy| ForwardProxy::new(config, proxy));
        Ok(Self {
            proxy: proxy.transpose()?.map(Arc::new),
            no_proxy: network.fetch_no_proxy.clone(),
            // That no name leaves this machine is about the hub's.
            resolve: ResolvedBy::Proxy,
            source_address: network.source_address,
        })
    }

    /// The forward proxy on the way to this host. `None`: it is connected to directly.
    pub(super) fn forward_proxy(&self, origin: &Origin) -> Option<&Arc<ForwardProxy>> {
        let proxy = self.proxy.as_ref();
        proxy.filter(|_| !self.no_proxy.covers(&origin.host, origin.port))
    }

    /// Whether the name is resolved here, and the forward proxy is told an address.
    pub(super) fn resolves_here(&self) -> bool {
        self.resolve == ResolvedBy::Local
    }

    /// A tunnel to one of these addresses: the next is tried where the forward proxy does not reach one.
    ///
    /// # Errors
    /// The error of the last one.
    pub(super) async fn tunnel_to_address(
        proxy: &ForwardProxy,
        addresses: &[std::net::SocketAddr],
        limit: Limit,
    ) -> Result<TransportStream, ForwardProxyError> {
        let sorted = sort_addresses(addresses, None);
        let mut tried = sorted.iter().take(MAX_ADDRESSES).peekable();
        while let Some(address) = tried.next() {
            let tunnel = proxy.tunnel(&address.to_string(), limit).await;
            let is_unreached = |failure: &ForwardProxyFailure| matches!(failure, ForwardProxyFailure::Refused(refusal) if matches!(refusal.status, 500 | 502..=504));
            match &tunnel {
                Err(error) if tried.peek().is_some() && is_unreached(&error.failure) => {}
                _ => return tunnel,
            }
        }
        proxy.tunnel("", limit).await
    }
}
