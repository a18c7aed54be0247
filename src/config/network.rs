//! `[network]`: how connections leave this machine. Through which forward proxy the hub is reached, through which one what is
//! public is fetched, which hosts are reached without one, who resolves the hub's name, and from which address.

pub mod credentials;
pub mod no_proxy;
pub mod proxy_url;
mod variables;

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer};

use credentials::CredentialsSource;
use no_proxy::NoProxy;
use proxy_url::{FetchSetting, ProxySetting, ProxyUrl};

/// `[network]`: the way to the hub, and to what is fetched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkConfig {
    /// The forward proxy to the hub. `None`: the hub is connected to directly.
    pub proxy: Option<ForwardProxyConfig>,
    /// The forward proxy for key sets, CRLs and CA certificates. `None`: their servers are connected to directly.
    pub fetch_proxy: Option<ForwardProxyConfig>,
    /// The hosts of the hub that are connected to directly all the same.
    pub no_proxy: NoProxy,
    /// The hosts from which something is fetched directly all the same.
    pub fetch_no_proxy: NoProxy,
    /// Who resolves the hub's name where there is a forward proxy.
    pub resolve: ResolvedBy,
    /// The local address of connections. `None`: the system's choice.
    pub source_address: Option<IpAddr>,
    /// The variable of the environment that names a forward proxy, where the configuration says nothing of one: it is ignored.
    pub ignored_variable: Option<&'static str>,
}

/// A forward proxy, and what it takes to use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardProxyConfig {
    /// Where it is.
    pub url: ProxyUrl,
    /// The variable of the environment that names it. `None`: the configuration does.
    pub variable: Option<&'static str>,
    /// The source of user name and password. `None`: none are sent.
    pub credentials: Option<CredentialsSource>,
    /// The roots that its certificate leads to, if it is an https one. `None`: the public roots of this machine.
    pub anchors: Option<PathBuf>,
}

/// `resolve` of `[network]`: who resolves the hub's name where there is a forward proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResolvedBy {
    /// The forward proxy, which is sent the name.
    #[default]
    Proxy,
    /// This machine: the forward proxy is sent an address.
    Local,
}

impl ResolvedBy {
    /// Its name in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Proxy => "proxy",
            Self::Local => "local",
        }
    }
}

impl NetworkConfig {
    /// The forward proxy on the way to this host of the hub.
    pub fn proxy_for(&self, host: &str, port: u16) -> Option<&ForwardProxyConfig> {
        let proxy = self.proxy.as_ref();
        proxy.filter(|_| !self.no_proxy.covers(host, port))
    }

    /// The forward proxy on the way to this host, from which something public is fetched.
    pub fn fetch_proxy_for(&self, host: &str, port: u16) -> Option<&ForwardProxyConfig> {
        let proxy = self.fetch_proxy.as_ref();
        proxy.filter(|_| !self.fetch_no_proxy.covers(host, port))
    }

    /// Both forward proxies, each once.
    pub fn forward_proxies(&self) -> impl Iterator<Item = &ForwardProxyConfig> {
        let other = self
            .fetch_proxy
            .iter()
            .filter(|other| Some(*other) != self.proxy.as_ref());
        self.proxy.iter().chain(other)
    }
}

/// The section as it is written.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NetworkFile {
    proxy: Option<ProxySetting>,
    proxy_credentials: Option<CredentialsSource>,
    proxy_anchors: Option<PathBuf>,
    #[serde(default)]
    no_proxy: NoProxy,
    resolve: Option<ResolvedBy>,
    fetch_proxy: Option<FetchSetting>,
    fetch_proxy_credentials: Option<CredentialsSource>,
    #[serde(default, deserialize_with = "address")]
    source_address: Option<IpAddr>,
}

fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<IpAddr>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let address = text.parse().map_err(|_| {
        serde::de::Error::custom("write an IP address of this machine, such as \"192.0.2.1\"")
    });
    address.map(Some)
}

impl NetworkFile {
    /// The section, with what the environment has where it says so; otherwise the field that is wrong, and why. `has_proxy`:
    /// there is `[proxy]`, whose front end has to read the credentials.
    pub(super) fn checked(
        self,
        folder: &Path,
        has_proxy: bool,
    ) -> Result<NetworkConfig, (&'static str, String)> {
        let fields = [
            ("proxy_credentials", &self.proxy_credentials),
            ("fetch_proxy_credentials", &self.fetch_proxy_credentials),
        ];
        for (field, source) in fields {
            if let (true, Some(CredentialsSource::Env(_))) = (has_proxy, source) {
                let message = "no variable reaches the process of [proxy] that talks to the network: write { file = \"/path\" } or { credential = \"name\" }";
                return Err((field, message.to_owned()));
            }
        }
        let anchors = self.proxy_anchors.map(|path| folder.join(path));
        let absolute =
            |source: Option<CredentialsSource>| source.map(|one| one.relative_to(folder));
        let is_written = self.proxy.is_some();
        let found = |setting: ProxySetting, credentials: Option<CredentialsSource>| {
            Ok::<_, String>(match setting {
                ProxySetting::Direct => None,
                ProxySetting::Url(url) => Some(ForwardProxyConfig {
                    url,
                    variable: None,
                    credentials,
                    anchors: anchors.clone(),
                }),
                ProxySetting::Environment => variables::proxy()?.map(|found| ForwardProxyConfig {
                    url: found.url,
                    variable: Some(found.variable),
                    credentials: credentials.or(found.credentials),
                    anchors: anchors.clone(),
                }),
            })
        };
        let credentials = absolute(self.proxy_credentials);
        let setting = self.proxy.unwrap_or(ProxySetting::Direct);
        // The variable's list holds for the forward proxy that the variables name, and for no other.
        let written = self.no_proxy;
        let with_variable = || {
            let mut list = written.clone();
            list.add_variable(variables::no_proxy());
            list
        };
        let no_proxy = match &setting {
            ProxySetting::Environment => with_variable(),
            ProxySetting::Direct | ProxySetting::Url(_) => written.clone(),
        };
        if credentials.is_some() && setting == ProxySetting::Direct {
            return Err(("proxy_credentials", WITHOUT_PROXY.to_owned()));
        }
        let proxy = found(setting, credentials).map_err(|message| ("proxy", message))?;
        let of_fetches = absolute(self.fetch_proxy_credentials);
        let of_fetches_too = self.fetch_proxy.unwrap_or(FetchSetting::Same);
        let fetch_no_proxy = match &of_fetches_too {
            FetchSetting::Same => no_proxy.clone(),
            FetchSetting::Other(ProxySetting::Environment) => with_variable(),
            FetchSetting::Other(_) => written.clone(),
        };
        let fetch_proxy = match of_fetches_too {
            FetchSetting::Same if of_fetches.is_some() => {
                let message =
                    "`fetch_proxy` is not set: fetches use `proxy` and `proxy_credentials`";
                return Err(("fetch_proxy_credentials", message.to_owned()));
            }
            FetchSetting::Same => proxy.clone(),
            FetchSetting::Other(ProxySetting::Direct) if of_fetches.is_some() => {
                return Err(("fetch_proxy_credentials", WITHOUT_PROXY.to_owned()));
            }
            FetchSetting::Other(setting) => {
                found(setting, of_fetches).map_err(|message| ("fetch_proxy", message))?
            }
        };
        let is_https = |proxy: &Option<ForwardProxyConfig>| {
            proxy.as_ref().is_some_and(|proxy| proxy.url.is_https)
        };
        if anchors.is_some() && !is_https(&proxy) && !is_https(&fetch_proxy) {
            let message = "only a forward proxy at https:// has a certificate to be checked";
            return Err(("proxy_anchors", message.to_owned()));
        }
        Ok(NetworkConfig {
            proxy,
            fetch_proxy,
            no_proxy,
            fetch_no_proxy,
            resolve: self.resolve.unwrap_or_default(),
            source_address: self.source_address,
            ignored_variable: variables::first_set().filter(|_| !is_written),
        })
    }
}

const WITHOUT_PROXY: &str = "there is no forward proxy that they would be sent to";

#[cfg(test)]
#[path = "network_tests.rs"]
mod tests;
