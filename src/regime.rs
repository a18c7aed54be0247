//! What belongs to one scheme of banking APIs and not to this program: its services, host names and CAs, the subject of its
//! certificates, the claims of its tokens. It is data, one file for each scheme in `regimes/`, compiled in.

use std::sync::LazyLock;

use serde::Deserialize;

use crate::uuid_format::is_uuid;

/// The regime of a configuration that names none.
pub const DEFAULT: &str = "uae";

/// The files. A test parses each of them.
const FILES: [&str; 4] = [
    include_str!("../regimes/uae.toml"),
    include_str!("../regimes/plain.toml"),
    include_str!("../regimes/brazil.toml"),
    include_str!("../regimes/uk.toml"),
];

static ALL: LazyLock<Vec<Regime>> = LazyLock::new(|| {
    let parsed = FILES.iter().map(|text| toml::from_str(text));
    parsed.filter_map(Result::ok).collect()
});

/// A scheme.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Regime {
    /// Its name in the configuration.
    pub name: String,
    /// Its name for people.
    pub title: String,
    /// Nobody has tried it against the scheme's servers: what it says was read in documents.
    #[serde(default)]
    pub from_documents: bool,
    /// What issues the certificates, such as "Trust Framework".
    pub pki: String,
    /// The application of the scheme's directory to which the keys belong.
    #[serde(default)]
    pub application: Option<String>,
    /// The URL of an application's published keys (JWKS): `{keystore}` is the environment's, and what else stands in braces
    /// an attribute of the certificate's subject.
    #[serde(default)]
    pub key_set: Option<String>,
    /// The attributes of the subject of a certificate request, in their order. Empty: the scheme prescribes none.
    #[serde(default)]
    pub subject: Vec<SubjectAttribute>,
    /// The claims of the tokens of JWT Auth.
    pub claims: ClaimMap,
    /// What it accepts of keys.
    #[serde(default)]
    pub keys: KeyRules,
    /// Its services. Empty: the configuration names them, with their URLs.
    #[serde(default, rename = "service")]
    pub services: Vec<ServiceData>,
    /// Its environments.
    #[serde(rename = "environment")]
    pub environments: Vec<EnvironmentData>,
}

/// An attribute of the subject.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubjectAttribute {
    /// Its short name, or its object identifier.
    pub attribute: String,
    /// The form of its value.
    pub form: ValueForm,
    /// The value where the configuration has none.
    #[serde(default)]
    pub default: Option<String>,
}

/// The form of an attribute's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ValueForm {
    /// ISO 3166-1 alpha-2.
    Country,
    /// Any text.
    Text,
    /// RFC 9562.
    Uuid,
}

/// The attributes of the transport certificate's subject that the tokens of JWT Auth take their claims from.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClaimMap {
    /// For `iss`.
    pub iss: String,
    /// For `sub`.
    pub sub: String,
}

/// What a scheme accepts of keys.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRules {
    /// The kinds of keys, such as `RSA-2048`. Empty: each.
    #[serde(default)]
    pub accepted: Vec<String>,
    /// The days between notBefore and notAfter, at the most.
    #[serde(default)]
    pub max_lifetime_days: Option<i64>,
}

/// A service that the scheme names.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceData {
    /// Its name: in host names, before the path of a request to the proxy, and in metrics.
    pub name: String,
    /// Its name for people.
    pub title: String,
    /// The field of `[hub]` that replaces its origin.
    pub option: String,
    /// What `verify` asks of it.
    pub verify: VerifyRequest,
}

/// The request that `verify` makes, and the answer that is good.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VerifyRequest {
    /// The path of the GET.
    #[serde(default = "root")]
    pub path: String,
    /// What the answer shows.
    #[serde(default)]
    pub expect: Expectation,
    /// The status of the answer.
    #[serde(default = "ok")]
    pub status: u16,
    /// A text that is in the body.
    #[serde(default)]
    pub contains: Option<String>,
}

/// What the answer to `verify` shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expectation {
    /// The status, and the text if there is one.
    #[default]
    Status,
    /// `connectionEstablished`, `mtlsStatus` and the certificate that the server saw, as the API Hub answers
    /// `/hello-mtls`.
    HelloMtls,
}

/// An environment of the scheme, with the PKI that is paired with it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnvironmentData {
    /// Its name in the configuration.
    pub name: String,
    /// Whether customers' data is in it.
    #[serde(default)]
    pub is_production: bool,
    /// The name of its PKI, if that is not its own.
    #[serde(default)]
    pub pki: Option<String>,
    /// The host of a service: `{service}` and `{lfi_code}` are replaced. None: the configuration has URLs.
    #[serde(default)]
    pub host: Option<String>,
    /// The common names of its root and issuing CA that are documented.
    #[serde(default)]
    pub ca_names: Vec<String>,
    /// Where the certificates of these CAs are published, in PEM.
    #[serde(default)]
    pub anchor_urls: Vec<String>,
    /// Where the CRL of the issuing CA is published.
    #[serde(default)]
    pub crl_url: Option<String>,
    /// The base URL at which participants' public keys are published.
    #[serde(default)]
    pub keystore: Option<String>,
}

impl Regime {
    /// The regime of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        ALL.iter().find(|regime| regime.name == name)
    }

    /// The names of all regimes.
    pub fn names() -> Vec<&'static str> {
        ALL.iter().map(|regime| regime.name.as_str()).collect()
    }

    /// The fields of `[hub]` that replace the origin of a service, of all regimes.
    pub fn origin_options() -> Vec<&'static str> {
        let services = ALL.iter().flat_map(|regime| &regime.services);
        services.map(|service| service.option.as_str()).collect()
    }

    /// The environment of this name.
    pub fn environment(&self, name: &str) -> Option<&EnvironmentData> {
        self.environments
            .iter()
            .find(|environment| environment.name == name)
    }

    /// Whether the host names hold the code of the participant.
    pub fn takes_lfi_code(&self) -> bool {
        let mut hosts = self
            .environments
            .iter()
            .filter_map(|environment| environment.host.as_ref());
        hosts.any(|host| host.contains("{lfi_code}"))
    }
}

impl PartialEq for Regime {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Regime {}

impl ValueForm {
    /// Whether a value has the form.
    pub fn is_met_by(self, value: &str) -> bool {
        match self {
            Self::Country => {
                value.len() == 2 && value.bytes().all(|byte| byte.is_ascii_uppercase())
            }
            Self::Text => !value.trim().is_empty() && !value.chars().any(char::is_control),
            Self::Uuid => is_uuid(value.as_bytes()),
        }
    }

    /// The form in words.
    pub fn expected(self) -> &'static str {
        match self {
            Self::Country => "a country code of two capital letters",
            Self::Text => "a text",
            Self::Uuid => "a UUID",
        }
    }
}

impl Default for VerifyRequest {
    fn default() -> Self {
        Self {
            path: root(),
            expect: Expectation::default(),
            status: ok(),
            contains: None,
        }
    }
}

fn root() -> String {
    "/".to_owned()
}

fn ok() -> u16 {
    200
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_is_read_and_hosts_come_with_services() {
        for text in FILES {
            if let Err(error) = toml::from_str::<Regime>(text) {
                panic!("{error}\n{text}");
            }
        }
        assert_eq!(Regime::names(), ["uae", "plain", "brazil", "uk"]);
        for regime in ALL.iter() {
            for environment in &regime.environments {
                let has_host = environment.host.is_some();
                assert_eq!(has_host, !regime.services.is_empty(), "{}", regime.name);
            }
            for service in &regime.services {
                let name = service.name.bytes();
                assert!(name.clone().all(|byte| byte.is_ascii_lowercase()));
            }
        }
    }

    #[test]
    fn values_have_forms() {
        for (form, good, bad) in [
            (ValueForm::Country, "AE", "ae"),
            (ValueForm::Text, "Bank, P.J.S.C.", " "),
            (
                ValueForm::Uuid,
                "3f1c9d2e-5a64-4b7e-9f8d-0c2b7a6e1d35",
                "3f1c9d2e5a644b7e9f8d0c2b7a6e1d35",
            ),
        ] {
            assert!(form.is_met_by(good) && !form.is_met_by(bad), "{form:?}");
        }
    }
}
