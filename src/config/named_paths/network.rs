//! The paths of `[network]`: the credentials for a forward proxy, which are a secret, and the roots that its certificate leads to.

use super::PathList;
use crate::config::network::credentials::CredentialsSource;
use crate::config::network::{ForwardProxyConfig, NetworkConfig};
use crate::config::paths::{Extent, PathRole};
use crate::owner_and_mode::Protection;

impl PathList {
    pub(super) fn add_network(&mut self, network: &NetworkConfig) {
        let NetworkConfig {
            proxy: _,
            fetch_proxy: _,
            no_proxy: _,
            fetch_no_proxy: _,
            resolve: _,
            source_address: _,
            ignored_variable: _,
        } = network;
        let mut anchors_of_both = None;
        for proxy in network.forward_proxies() {
            let ForwardProxyConfig {
                url: _,
                variable: _,
                credentials,
                anchors,
            } = proxy;
            let protection = match credentials {
                Some(CredentialsSource::File(_)) => Some(Protection::Secret),
                Some(CredentialsSource::Credential(_)) => Some(Protection::Credential),
                Some(CredentialsSource::Env(_) | CredentialsSource::Url(..)) | None => None,
            };
            let file = credentials.as_ref().and_then(CredentialsSource::file);
            if let Some((path, protection)) = file.zip(protection) {
                self.add(&path, PathRole::ProxyCredentials, Extent::File, protection);
            }
            anchors_of_both = anchors_of_both.or(anchors.as_ref());
        }
        if let Some(path) = anchors_of_both {
            self.file(path, PathRole::ProxyAnchors);
        }
    }
}
