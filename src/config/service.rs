//! The services that the client certificate is presented to: those that the regime names, or those of `[hub.services]`.

use std::collections::BTreeMap;
use std::sync::Mutex;

use serde::{Deserialize, Deserializer};
use url::{Position, Url};

use super::origin::Origin;
use crate::poison::IgnorePoison as _;
use crate::regime::{ServiceData, ValueForm, VerifyRequest};

/// The name of a service. It is as cheap to pass on as a number.
#[derive(Clone, Copy, Debug)]
pub struct Service {
    label: &'static str,
    title: &'static str,
}

impl Service {
    /// A service of a regime.
    pub fn of(data: &'static ServiceData) -> Self {
        Self {
            label: &data.name,
            title: &data.title,
        }
    }

    /// Its short name: in URLs of the proxy, in metrics and records.
    pub fn label(self) -> &'static str {
        self.label
    }

    /// The name for people.
    pub fn name(self) -> &'static str {
        self.title
    }
}

impl PartialEq for Service {
    fn eq(&self, other: &Self) -> bool {
        self.label == other.label
    }
}

impl Eq for Service {}

/// A service, where it is, and what `verify` asks of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubService {
    /// The service.
    pub service: Service,
    /// Its origin.
    pub origin: Origin,
    /// The request of `verify`.
    pub verify: VerifyRequest,
}

/// Characters that change the direction of text: they would reverse a line of output.
const DIRECTION: [char; 12] = [
    '\u{061c}', '\u{200e}', '\u{200f}', '\u{202a}', '\u{202b}', '\u{202c}', '\u{202d}', '\u{202e}',
    '\u{2066}', '\u{2067}', '\u{2068}', '\u{2069}',
];

/// `[hub.services]`: services by their names, in alphabetical order.
#[derive(Debug, Default)]
pub(super) struct ConfiguredServices(BTreeMap<String, ServiceFile>);

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ServiceFile {
    url: Origin,
    title: Option<String>,
    #[serde(default)]
    verify: VerifyRequest,
}

impl ConfiguredServices {
    /// The name of the first one.
    pub(super) fn first(&self) -> Option<&str> {
        self.0.keys().next().map(String::as_str)
    }

    pub(super) fn into_services(self) -> Vec<HubService> {
        let services = self.0.into_iter().map(|(name, file)| HubService {
            service: kept(&name, file.title.as_deref().unwrap_or(&name)),
            origin: file.url,
            verify: file.verify,
        });
        services.collect()
    }
}

/// The service of this name and title, kept for as long as the process lives: the metrics want names that do. A
/// configuration that names others takes a restart, so there are as many as the configurations of a process name.
fn kept(label: &str, title: &str) -> Service {
    static KEPT: Mutex<Vec<Service>> = Mutex::new(Vec::new());
    let mut all = KEPT.lock().ignore_poison();
    let known = all
        .iter()
        .find(|service| service.label == label && service.title == title);
    if let Some(known) = known {
        return *known;
    }
    let leak = |text: &str| -> &'static str { Box::leak(text.to_owned().into_boxed_str()) };
    let service = Service {
        label: leak(label),
        title: leak(title),
    };
    all.push(service);
    service
}

impl<'de> Deserialize<'de> for ConfiguredServices {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let services = BTreeMap::<ServiceName, ServiceFile>::deserialize(deserializer)?;
        for file in services.values() {
            let title = file.title.as_deref().unwrap_or("-");
            if !ValueForm::Text.is_met_by(title) || title.contains(DIRECTION) || title.len() > 64 {
                return Err(serde::de::Error::custom(
                    "`title` is a text of up to 64 bytes, the name of the service for people",
                ));
            }
            let path = &file.verify.path;
            let url = Url::parse(&format!("{}{path}", file.url));
            // As it is sent: nothing of it is encoded or dropped.
            let is_path =
                path.starts_with('/') && url.is_ok_and(|url| url[Position::BeforePath..] == **path);
            let is_text = |text: &String| ValueForm::Text.is_met_by(text);
            if !is_path
                || !file.verify.contains.iter().all(is_text)
                || !(100..=599).contains(&file.verify.status)
            {
                return Err(serde::de::Error::custom(
                    "`verify` is { path = \"/health\", status = 200 }, and maybe contains = \"a text of the body\"",
                ));
            }
        }
        let services = services.into_iter().map(|(name, file)| (name.0, file));
        Ok(Self(services.collect()))
    }
}

/// A name that fits into a path, a metric and before the colon of `request GET name:/path`: a letter, then letters, digits and hyphens.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct ServiceName(String);

impl<'de> Deserialize<'de> for ServiceName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let is_name = (1..=32).contains(&name.len())
            && name.starts_with(|first: char| first.is_ascii_lowercase())
            && name.bytes().all(allowed);
        // These are read otherwise where a service may stand.
        let is_taken = ["http", "https", "off", "both", "all"].contains(&name.as_str());
        match is_name && !is_taken {
            true => Ok(Self(name)),
            false => Err(serde::de::Error::custom(
                "the name of a service is up to 32 of a-z, 0-9 and -, and begins with a letter; not http, https, off, both or all",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<HubService>, String> {
        let services: Result<ConfiguredServices, _> = toml::from_str(text);
        let services = services.map_err(|error| error.message().to_owned());
        services.map(ConfiguredServices::into_services)
    }

    #[test]
    fn services_have_names_urls_and_what_verify_asks() {
        let services = read(
            "pay = { url = 'https://a.example', title = 'Payments', verify = { path = '/up', status = 204 } }\n\
             accounts = { url = 'https://b.example:8443' }",
        );
        let services = services.unwrap();
        let labels: Vec<_> = services.iter().map(|one| one.service.label()).collect();
        assert_eq!(labels, ["accounts", "pay"]);
        assert_eq!(services[0].verify, VerifyRequest::default());
        assert_eq!(services[1].service.name(), "Payments");
        assert_eq!(services[1].verify.status, 204);
        let again = read("pay = { url = 'https://a.example', title = 'Payments' }").unwrap();
        let label = |service: Service| service.label().as_ptr();
        assert_eq!(label(again[0].service), label(services[1].service));
    }

    #[test]
    fn names_urls_and_paths_that_nobody_could_call_are_refused() {
        for (text, expected) in [
            (
                "Pay = { url = 'https://a.example' }",
                "begins with a letter",
            ),
            ("https = { url = 'https://a.example' }", "not http"),
            ("pay = { url = 'http://a.example' }", "only https"),
            ("pay = { uri = 'https://a.example' }", "unknown field"),
            (
                "a = { url = 'https://a.example', title = 'A\\nB' }"
                    .replace('\'', "\"")
                    .as_str(),
                "`title` is",
            ),
            (
                "a = { url = 'https://a.example', verify = { path = 'up' } }",
                "`verify` is",
            ),
            (
                r#"a = { url = 'https://a.example', verify = { path = "/up\r\nX: 1" } }"#,
                "`verify` is",
            ),
            (
                r#"a = { url = 'https://a.example', title = "A\u202eB" }"#,
                "`title` is",
            ),
            (
                "a = { url = 'https://a.example', verify = { status = 20 } }",
                "`verify` is",
            ),
        ] {
            let message = read(text).unwrap_err();
            assert!(message.contains(expected), "{text}: {message}");
        }
    }
}
