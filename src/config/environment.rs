//! The environments of the Open Finance scheme, and what follows from each: host names, Trust Framework, keystore. One
//! setting chooses hub and Trust Framework together, so that a sandbox certificate is never presented to a production host.

use std::fmt::{self, Display};
use std::net::Ipv6Addr;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};
use url::Url;

use super::ca_generation::split_generation;

/// An API Hub environment; each is paired with one Trust Framework.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Environment {
    /// Pre-production hub, paired with the *Sandbox* Trust Framework.
    Preprod,
    /// Production hub, paired with the *Production* Trust Framework.
    Production,
}

impl Environment {
    /// Its name in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Preprod => "preprod",
            Self::Production => "production",
        }
    }

    /// The other environment, which must never be mixed with this one.
    pub fn other(self) -> Self {
        match self {
            Self::Preprod => Self::Production,
            Self::Production => Self::Preprod,
        }
    }

    /// Whether an origin is one of this environment's documented hosts, of any LFI.
    pub fn owns(self, origin: &Origin) -> bool {
        let Some(rest) = origin.host.strip_suffix(".apihub.openfinance.ae") else {
            return false;
        };
        let preprod = rest.ends_with(".preprod");
        match self {
            Self::Preprod => preprod,
            Self::Production => !preprod,
        }
    }

    /// The name of the paired Trust Framework, as its certificates and pages spell it.
    pub fn trust_framework(self) -> &'static str {
        match self {
            Self::Preprod => "Sandbox",
            Self::Production => "Production",
        }
    }

    /// The common names that the scheme documents for this Trust Framework's root and issuing CA.
    /// Older CAs have other names: a certificate is accepted by its chain, never by these names.
    pub fn documented_ca_names(self) -> [String; 2] {
        ["Root", "Issuing"].map(|role| {
            format!(
                "Al Tareq {} Trust Framework {role} CA - G1",
                self.trust_framework()
            )
        })
    }

    /// Whether the common name of a CA is one of the documented ones, of any generation.
    pub fn documents_ca(self, common_name: &str) -> bool {
        let documented = self.documented_ca_names();
        let name = |name| split_generation(name).map(|(name, _)| name);
        let wanted = name(common_name);
        wanted.is_some() && documented.iter().any(|known| name(known) == wanted)
    }

    /// Where the scheme documents the certificates of its Issuing CA and its Root, in PEM.
    pub fn anchor_urls(self) -> [String; 2] {
        ["issuer-ca", "root-ca"].map(|name| format!("https://{}/{name}.pem", self.crl_host()))
    }

    /// Where the scheme documents the CRL of its Issuing CA.
    pub fn crl_url(self) -> String {
        format!("http://{}/issuer.crl", self.crl_host())
    }

    fn crl_host(self) -> &'static str {
        match self {
            Self::Preprod => "crl.sandbox.pki.openfinance.ae",
            Self::Production => "crl.pki.openfinance.ae",
        }
    }

    /// The URL at which the public keys of an application are published (JWKS), by the organisation id (OU) and client
    /// id (CN) of its certificate. The Trust Framework's user guide says "OU and O" and its API OU and CN: this follows
    /// the API.
    pub fn jwks_url(self, organization_id: &str, client_id: &str) -> String {
        format!(
            "{}/{organization_id}/{client_id}/application.jwks",
            self.keystore()
        )
    }

    /// The base URL at which participants' public keys (JWKS) are published.
    pub fn keystore(self) -> &'static str {
        match self {
            Self::Preprod => "https://keystore.sandbox.directory.openfinance.ae",
            Self::Production => "https://keystore.directory.openfinance.ae",
        }
    }

    /// The documented origin of a hub service for an LFI.
    pub fn origin(self, service: Service, lfi_code: &LfiCode) -> Origin {
        let stage = match self {
            Self::Preprod => "preprod.",
            Self::Production => "",
        };
        Origin {
            host: format!(
                "{}.{lfi_code}.{stage}apihub.openfinance.ae",
                service.label()
            ),
            port: 443,
        }
    }
}

impl Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Environment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "preprod" => Ok(Self::Preprod),
            "production" => Ok(Self::Production),
            _ => Err(serde::de::Error::custom(
                "write \"preprod\" (paired with the Sandbox Trust Framework) or \"production\"",
            )),
        }
    }
}

/// The two services of the hub that an LFI's authorisation server calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// The Consent Manager (CM).
    ConsentManager,
    /// Headless Heimdall (HH), the authorisation server.
    HeadlessHeimdall,
}

impl Service {
    /// Both services, in the order of the onboarding page.
    pub const ALL: [Self; 2] = [Self::ConsentManager, Self::HeadlessHeimdall];

    /// The DNS label in host names: `cm` or `hh`.
    pub fn label(self) -> &'static str {
        match self {
            Self::ConsentManager => "cm",
            Self::HeadlessHeimdall => "hh",
        }
    }

    /// The name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::ConsentManager => "Consent Manager",
            Self::HeadlessHeimdall => "Headless Heimdall",
        }
    }
}

/// The code of an LFI within host names: `^[a-z0-9]+$`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LfiCode(String);

impl Display for LfiCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for LfiCode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let code = String::deserialize(deserializer)?;
        // A DNS label has at most 63 characters (RFC 1035, section 2.3.4).
        let fits = (1..=63).contains(&code.len());
        if fits
            && code
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        {
            Ok(Self(code))
        } else {
            Err(serde::de::Error::custom(
                "`lfi_code` is made of a-z and 0-9 only, as in the host names that the scheme gave you",
            ))
        }
    }
}

/// An `https` origin: a host and a port. Its `Display` is a URL without a path, such as `https://cm.example:8443`.
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
        Self::of(&url).ok_or("names no host; write https://host or https://host:port")
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
    fn hosts_follow_from_environment_and_code() {
        let code = LfiCode("mybank".to_owned());
        let host =
            |environment: Environment, service| environment.origin(service, &code).to_string();
        assert_eq!(
            host(Environment::Preprod, Service::ConsentManager),
            "https://cm.mybank.preprod.apihub.openfinance.ae"
        );
        assert_eq!(
            host(Environment::Production, Service::HeadlessHeimdall),
            "https://hh.mybank.apihub.openfinance.ae"
        );
    }

    #[test]
    fn an_origin_is_https_host_and_port_only() {
        let origin: Origin = "https://CM.Example:8443/".parse().unwrap();
        assert_eq!(origin.to_string(), "https://cm.example:8443");
        let v6: Origin = "https://[::1]:8443".parse().unwrap();
        assert_eq!(
            (v6.host.as_str(), v6.to_string().as_str()),
            ("::1", "https://[::1]:8443")
        );
        for bad in [
            "http://cm.example",
            "https://cm.example/base",
            "https://a@cm.example",
            "https://cm.example?x=1",
            "cm.example",
            "",
        ] {
            assert!(bad.parse::<Origin>().is_err(), "{bad}");
        }
    }
}
