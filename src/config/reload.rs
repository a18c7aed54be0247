//! What makes a running proxy reload (`reload` of `[proxy]`), which files it watches for that, and whether a reload can apply a
//! changed configuration, or it takes a restart.

use std::path::Path;

use serde::Deserialize;

use super::Config;
use super::listener::Callers;

/// `reload` of `[proxy]`: what makes the proxy reload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReloadTrigger {
    /// SIGHUP.
    #[default]
    Signal,
    /// SIGHUP, and each replacement of one of [`Config::watched_files`].
    Watch,
}

impl ReloadTrigger {
    /// Its name in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Signal => "signal",
            Self::Watch => "watch",
        }
    }
}

impl Config {
    /// The files whose replacement makes the proxy reload: certificates, trust anchors, CRLs and caller tokens, which other
    /// programs renew. Empty where only SIGHUP does. The configuration itself is not among them: it is edited by people, who
    /// save what is not finished.
    pub fn watched_files(&self) -> Vec<&Path> {
        let Some(proxy) = &self.proxy else {
            return Vec::new();
        };
        if proxy.reload == ReloadTrigger::Signal {
            return Vec::new();
        }
        let caller_tokens = proxy.listeners.iter().filter_map(|it| match &it.callers {
            Callers::Token(path) => Some(path.as_path()),
            _ => None,
        });
        let trust = [&*self.trust.anchors].into_iter();
        let trust = trust.chain(self.trust.crl_files());
        let certificates = self.certificate_files();
        certificates.chain(trust).chain(caller_tokens).collect()
    }

    /// The first section that differs from that of `other` and cannot be reloaded: sockets, origins and limits are set
    /// up at the start. `None`: a reload can apply all differences.
    pub fn needs_restart(&self, other: &Self) -> Option<&'static str> {
        let listeners = |config: &Self| config.proxy.as_ref().map(|proxy| proxy.listeners.clone());
        let operations = |config: &Self| {
            config
                .proxy
                .as_ref()
                .and_then(|proxy| proxy.operations.clone())
        };
        let sections = [
            (
                "`regime`",
                self.environment.regime() != other.environment.regime(),
            ),
            ("`environment`", self.environment != other.environment),
            ("`lfi_code`", self.lfi_code != other.lfi_code),
            ("[hub]", self.hub != other.hub),
            ("[network]", self.network != other.network),
            ("[sig4]", self.sig4.is_some() != other.sig4.is_some()),
            ("[[proxy.listener]]", listeners(self) != listeners(other)),
            ("[proxy.operations]", operations(self) != operations(other)),
            ("[proxy]", self.proxy != other.proxy),
        ];
        let changed = sections.into_iter().find(|(_, differs)| *differs);
        changed.map(|(section, _)| section)
    }
}
