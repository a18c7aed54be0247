//! An `https` origin: where a service is. The client certificate is presented to configured origins only.

use std::fmt::{self, Display};
use std::net::Ipv6Addr;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};
use url::Url;

/// An `https` origin: a host and a port. Its `Display` is a URL without a path, such as `https://hub.example:8443`.
///
/// The client certificate is presented to configured origins only.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The DNS name in lower case, or an IP address (IPv6 without brackets).
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

impl Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}", self.authority())
    }
}

impl FromStr for Origin {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let url = Url::parse(text).map_err(|error| url_error(text, error))?;
        if !text.contains("://") {
            return Err("the scheme is missing; write https://host or https://host:port");
        }
        if url.scheme() != "https" {
            return Err("only https: a certificate is never offered in the clear");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(
                "no user name and no password: the hub knows its client by the certificate",
            );
        }
        let bare =
            matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none();
        if !bare {
            return Err("scheme, host and port only: the hub has no base path");
        }
        let origin =
            Self::of(&url).ok_or("names no host; write https://host or https://host:port")?;
        match origin.host.ends_with('.') {
            true => Err("the host name ends with a dot: write it without"),
            false => Ok(origin),
        }
    }
}

/// What is wrong with a URL that does not parse.
fn url_error(text: &str, error: url::ParseError) -> &'static str {
    let authority = text.split_once("://").map(|(_, rest)| rest);
    match (error, authority) {
        (_, None) => "the scheme is missing; write https://host or https://host:port",
        (_, Some(rest)) if rest.parse::<Ipv6Addr>().is_ok() || has_bare_ipv6(rest) => {
            "an IPv6 address stands in brackets: https://[::1]:8443"
        }
        (url::ParseError::InvalidPort, _) => "a port is a number up to 65535",
        _ => "not a URL; write https://host or https://host:port",
    }
}

/// Whether the authority is an IPv6 address without brackets, followed by a port.
fn has_bare_ipv6(authority: &str) -> bool {
    let authority = authority.split('/').next().unwrap_or(authority);
    let (address, port) = authority.rsplit_once(':').unwrap_or((authority, ""));
    address.parse::<Ipv6Addr>().is_ok() && port.bytes().all(|byte| byte.is_ascii_digit())
}

impl Origin {
    /// The origin of an `https` URL. `None`: it has another scheme, or no host.
    pub fn of(url: &Url) -> Option<Self> {
        if url.scheme() != "https" {
            return None;
        }
        Some(Self {
            host: url.host_str()?.trim_matches(['[', ']']).to_owned(),
            port: url.port_or_known_default()?,
        })
    }

    /// The authority as in URLs and the Host header: the host, and the port unless it is 443.
    pub fn authority(&self) -> String {
        match self.port {
            443 => self.host_in_url(),
            _ => self.host_and_port(),
        }
    }

    /// Host and port, also where the port is 443.
    pub fn host_and_port(&self) -> String {
        format!("{}:{}", self.host_in_url(), self.port)
    }

    fn host_in_url(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]", self.host),
            false => self.host.clone(),
        }
    }
}

impl<'de> Deserialize<'de> for Origin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_https_host_and_port_only() {
        let origin: Origin = "https://Hub.Example:8443/".parse().unwrap();
        assert_eq!(origin.to_string(), "https://hub.example:8443");
        let v6: Origin = "https://[::1]:8443".parse().unwrap();
        assert_eq!(
            (v6.host.as_str(), v6.to_string().as_str()),
            ("::1", "https://[::1]:8443")
        );
        for bad in [
            "http://hub.example",
            "https://hub.example/base",
            "https://a@hub.example",
            "https://hub.example?x=1",
            "hub.example",
            "https://hub.example.",
            "",
        ] {
            assert!(bad.parse::<Origin>().is_err(), "{bad}");
        }
    }
}
