//! The environment of a configuration, and what follows from it: host names, PKI, keystore. One setting chooses hub and PKI
//! together, so that a sandbox certificate is never presented to a production host.

use std::fmt::{self, Display};

use serde::{Deserialize, Deserializer};

use super::ca_generation::split_generation;
use super::origin::Origin;
use super::service::Service;
use crate::regime::{EnvironmentData, Regime};

/// An environment of a regime; each is paired with one PKI.
#[derive(Clone, Copy, Debug)]
pub struct Environment {
    regime: &'static Regime,
    data: &'static EnvironmentData,
}

impl Environment {
    /// The environment of this name.
    pub fn named(regime: &'static Regime, name: &str) -> Option<Self> {
        let data = regime.environment(name)?;
        Some(Self { regime, data })
    }

    /// All environments of the regime.
    pub fn all(regime: &'static Regime) -> impl Iterator<Item = Self> {
        let all = regime.environments.iter();
        all.map(move |data| Self { regime, data })
    }

    /// Its regime.
    pub fn regime(self) -> &'static Regime {
        self.regime
    }

    /// Its name in the configuration.
    pub fn as_str(self) -> &'static str {
        &self.data.name
    }

    /// Whether customers' data is in it.
    pub fn is_production(self) -> bool {
        self.data.is_production
    }

    /// The other environments, which must never be mixed with this one.
    pub fn others(self) -> impl Iterator<Item = Self> {
        Self::all(self.regime).filter(move |other| *other != self)
    }

    /// The other environment of whose documented CAs one has this common name, of any generation.
    pub fn other_that_documents(self, ca: &str) -> Option<Self> {
        self.others().find(|other| other.documents_ca(ca))
    }

    /// Whether an origin is one of this environment's documented hosts, of any participant: that of the host name which fits
    /// best, as the hosts of one may end with those of another.
    pub fn owns(self, origin: &Origin) -> bool {
        let fit = |environment: Self| {
            let suffix = environment.host_suffix()?;
            origin.host.ends_with(suffix).then_some(suffix.len())
        };
        fit(self).is_some_and(|own| self.others().filter_map(fit).all(|other| other < own))
    }

    /// The other environment, of this regime or another, of which an origin is a documented host.
    pub fn other_owner(self, origin: &Origin) -> Option<Self> {
        let all = Regime::names().into_iter().filter_map(Regime::named);
        let mut others = all.flat_map(Self::all).filter(|other| *other != self);
        others.find(|other| other.owns(origin))
    }

    /// What all its hosts end with.
    fn host_suffix(self) -> Option<&'static str> {
        let (_, suffix) = self.data.host.as_deref()?.rsplit_once('}')?;
        Some(suffix)
    }

    /// What issues its certificates, such as "Sandbox Trust Framework".
    pub fn pki(self) -> String {
        let name = self.data.pki.as_ref().unwrap_or(&self.data.name);
        format!("{name} {}", self.regime.pki)
    }

    /// The name of its PKI alone, such as "Sandbox", as certificates and pages spell it.
    pub fn pki_name(self) -> &'static str {
        self.data.pki.as_ref().unwrap_or(&self.data.name)
    }

    /// The common names that the scheme documents for root and issuing CA of this environment.
    /// Older CAs have other names: a certificate is accepted by its chain, never by these names.
    pub fn documented_ca_names(self) -> &'static [String] {
        &self.data.ca_names
    }

    /// Whether the common name of a CA is one of the documented ones, of any generation.
    pub fn documents_ca(self, common_name: &str) -> bool {
        let name = |name| split_generation(name).map_or(name, |(name, _)| name);
        let mut documented = self.data.ca_names.iter();
        documented.any(|known| name(known) == name(common_name))
    }

    /// Where the scheme documents the certificates of its CAs, in PEM; empty where it does not.
    pub fn anchor_urls(self) -> &'static [String] {
        &self.data.anchor_urls
    }

    /// Where the scheme documents the CRL of its issuing CA.
    pub fn crl_url(self) -> Option<&'static str> {
        self.data.crl_url.as_deref()
    }

    /// The base URL at which participants' public keys (JWKS) are published.
    pub fn keystore(self) -> Option<&'static str> {
        self.data.keystore.as_deref()
    }

    /// The URL at which the public keys of an application are published (JWKS). `attribute` has the values of its
    /// certificate's subject, by the attributes' short names. `None`: the scheme documents none, or an attribute is missing.
    pub fn key_set_url(self, attribute: impl Fn(&str) -> Option<String>) -> Option<String> {
        let mut rest = self.regime.key_set.as_deref()?;
        let mut url = String::new();
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}')?;
            url.push_str(before);
            match name {
                "keystore" => url.push_str(self.keystore()?),
                name => url.push_str(&attribute(name)?),
            }
            rest = after;
        }
        url.push_str(rest);
        Some(url)
    }

    /// The documented origin of a service for a participant. `None`: the configuration has its URL.
    pub fn origin(self, service: Service, lfi_code: Option<&LfiCode>) -> Option<Origin> {
        let mut host = self
            .data
            .host
            .as_deref()?
            .replace("{service}", service.label());
        if let Some(code) = lfi_code {
            host = host.replace("{lfi_code}", &code.0);
        }
        let port = 443;
        Some(Origin { host, port })
    }
}

impl PartialEq for Environment {
    fn eq(&self, other: &Self) -> bool {
        self.regime == other.regime && self.data.name == other.data.name
    }
}

impl Eq for Environment {}

impl Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The code of a participant within host names: `^[a-z0-9]+$`.
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

/// The name of a regime.
pub(super) fn regime<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<&'static Regime>, D::Error> {
    let name = String::deserialize(deserializer)?;
    Regime::named(&name).map(Some).ok_or_else(|| {
        let names = Regime::names();
        let names: Vec<_> = names.iter().map(|name| format!("\"{name}\"")).collect();
        serde::de::Error::custom(format!("write one of {}", names.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(name: &str) -> Environment {
        Environment::named(Regime::named("uae").unwrap(), name).unwrap()
    }

    #[test]
    fn hosts_follow_from_environment_and_code() {
        let code = LfiCode("mybank".to_owned());
        let regime = Regime::named("uae").unwrap();
        let host = |name, number: usize| {
            let service = Service::of(&regime.services[number]);
            let origin = environment(name).origin(service, Some(&code));
            origin.unwrap().to_string()
        };
        assert_eq!(
            host("preprod", 0),
            "https://cm.mybank.preprod.apihub.openfinance.ae"
        );
        assert_eq!(
            host("production", 1),
            "https://hh.mybank.apihub.openfinance.ae"
        );
    }

    #[test]
    fn a_host_is_of_one_environment() {
        for (host, preprod, production) in [
            ("cm.bank.preprod.apihub.openfinance.ae", true, false),
            ("cm.bank.apihub.openfinance.ae", false, true),
            ("cm.bank.apihub.openfinance.ae.example", false, false),
        ] {
            let origin: Origin = format!("https://{host}").parse().unwrap();
            let owns = |name| environment(name).owns(&origin);
            assert_eq!((owns("preprod"), owns("production")), (preprod, production));
        }
    }

    #[test]
    fn each_generation_of_a_documented_ca_is_of_its_environment() {
        let sandbox = "Al Tareq Sandbox Trust Framework Issuing CA - G2";
        assert!(environment("preprod").documents_ca(sandbox));
        assert!(!environment("production").documents_ca(sandbox));
        assert!(!environment("preprod").documents_ca("Issuing CA"));
    }

    #[test]
    fn the_key_set_is_found_by_the_subject() {
        let attribute = |name: &str| Some(format!("<{name}>"));
        let url = environment("production").key_set_url(attribute).unwrap();
        assert_eq!(
            url,
            "https://keystore.directory.openfinance.ae/<OU>/<CN>/application.jwks"
        );
        assert_eq!(environment("preprod").key_set_url(|_| None), None);
    }
}
