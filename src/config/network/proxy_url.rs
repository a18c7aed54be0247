//! Where a forward proxy is: `http://host:port`, or `https://host:port` for one that is itself spoken to by TLS. A URL in the
//! configuration has no user name and no password: these have a source of their own.

use std::fmt;

use serde::{Deserialize, Deserializer};
use url::Url;

/// The place of a forward proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyUrl {
    /// Whether it is spoken to by TLS. That is another TLS than the one with the hub, and never has our certificate.
    pub is_https: bool,
    /// The DNS name in lower case, or an IP address (IPv6 without brackets).
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

impl fmt::Display for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_https { "https" } else { "http" };
        match self.host.contains(':') {
            true => write!(f, "{scheme}://[{}]:{}", self.host, self.port),
            false => write!(f, "{scheme}://{}:{}", self.host, self.port),
        }
    }
}

/// The form, for messages.
const FORM: &str = "write \"http://host:port\" or \"https://host:port\"";

impl ProxyUrl {
    /// The URL and the place that it names. No message repeats the text: it may hold a password.
    pub(super) fn parse(text: &str) -> Result<(Url, Self), String> {
        let url = match text.contains("://") {
            true => Url::parse(text).map_err(|error| format!("not a URL ({error}): {FORM}"))?,
            false => return Err(format!("the scheme is missing: {FORM}")),
        };
        let is_https = match url.scheme() {
            "http" => false,
            "https" => true,
            scheme if scheme.starts_with("socks") => {
                return Err(format!(
                    "SOCKS is not spoken, only HTTP CONNECT: most such servers have both; {FORM}"
                ));
            }
            _ => return Err(format!("not a scheme of a forward proxy: {FORM}")),
        };
        let bare =
            matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none();
        if !bare {
            return Err(format!("scheme, host and port only: {FORM}"));
        }
        let host = url.host_str().map(|host| host.trim_matches(['[', ']']));
        let host = host.filter(|host| !host.is_empty());
        let (Some(host), Some(port)) = (host, url.port_or_known_default()) else {
            return Err(format!("it names no host: {FORM}"));
        };
        let place = Self {
            is_https,
            host: host.to_owned(),
            port,
        };
        Ok((url, place))
    }

    /// As [`ProxyUrl::parse`], of a text in the configuration.
    fn configured(text: &str) -> Result<Self, String> {
        let (url, place) = Self::parse(text)?;
        match url.username().is_empty() && url.password().is_none() {
            true => Ok(place),
            false => Err(
                "no user name and no password here (what was written is not shown): put `user:password` into a file, and write proxy_credentials = { file = \"/path\" }"
                    .to_owned(),
            ),
        }
    }
}

/// `proxy` of `[network]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ProxySetting {
    Direct,
    Environment,
    Url(ProxyUrl),
}

impl<'de> Deserialize<'de> for ProxySetting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        setting(&text(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// `fetch_proxy` of `[network]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FetchSetting {
    /// The one of the hub.
    Same,
    Other(ProxySetting),
}

impl<'de> Deserialize<'de> for FetchSetting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match text(deserializer)?.as_str() {
            "same" => Ok(Self::Same),
            other => setting(other)
                .map(Self::Other)
                .map_err(serde::de::Error::custom),
        }
    }
}

fn setting(text: &str) -> Result<ProxySetting, String> {
    match text {
        "direct" => Ok(ProxySetting::Direct),
        "environment" => Ok(ProxySetting::Environment),
        url => ProxyUrl::configured(url).map(ProxySetting::Url),
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum TextOrOther {
    Text(String),
    Other(serde::de::IgnoredAny),
}

/// A text; anything else is not repeated, since it may hold a password.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    match TextOrOther::deserialize(deserializer)? {
        TextOrOther::Text(text) => Ok(text),
        TextOrOther::Other(_) => Err(serde::de::Error::custom(FORM)),
    }
}
