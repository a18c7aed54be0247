//! `[hub]`: where the services are, and timeouts. Where the regime knows the services, their origins follow from the
//! environment, and a field of each replaces it; where it knows none, `[hub.services]` has them all.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::LazyLock;
use std::time::Duration;

use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::environment::{Environment, LfiCode};
use super::field;
use super::origin::Origin;
use super::service::{ConfiguredServices, HubService, Service};
use crate::regime::Regime;

/// `[hub]`: the services and their origins, and timeouts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubConfig {
    /// The services, at least one. The client certificate is presented to their origins and to no other.
    pub services: Vec<HubService>,
    /// The timeout of name resolution, TCP connect and TLS handshake together, including the token's signature (default
    /// 10 s).
    pub connect_timeout: Duration,
    /// The timeout of the whole response (default 30 s).
    pub response_timeout: Duration,
}

impl HubConfig {
    /// The service of this name.
    pub fn named(&self, label: &str) -> Option<&HubService> {
        let mut services = self.services.iter();
        services.find(|service| service.service.label() == label)
    }

    /// The names of the services, in quotation marks.
    pub(super) fn names(&self) -> Vec<String> {
        let labels = self.services.iter().map(|service| service.service.label());
        labels.map(|label| format!("\"{label}\"")).collect()
    }

    /// All origins.
    pub fn origins(&self) -> Vec<&Origin> {
        self.services
            .iter()
            .map(|service| &service.origin)
            .collect()
    }
}

/// The fields of the section: those of its services' origins, of all regimes, and those that are in each.
pub(super) static FIELDS: LazyLock<&'static [&'static str]> = LazyLock::new(|| {
    let mut fields = Regime::origin_options();
    fields.extend(OF_EACH_REGIME);
    Box::leak(fields.into_boxed_slice())
});

const OF_EACH_REGIME: [&str; 3] = ["services", "connect_timeout", "response_timeout"];

/// The section as it is written.
#[derive(Default)]
pub(super) struct HubFile {
    origins: BTreeMap<&'static str, Origin>,
    services: ConfiguredServices,
    connect_timeout: Option<Duration>,
    response_timeout: Option<Duration>,
}

impl HubFile {
    /// The section, checked against regime and environment; otherwise the field that is wrong, and why.
    pub(super) fn checked(
        self,
        environment: Environment,
        lfi_code: Option<&LfiCode>,
    ) -> Result<HubConfig, (String, String)> {
        let regime = environment.regime();
        let is_own = |option: &str| regime.services.iter().any(|one| one.option == option);
        if let Some(option) = self.origins.keys().find(|option| !is_own(option)) {
            let message = format!(
                "regime {:?} has no service of this name; write [hub.services.NAME] with url",
                regime.name
            );
            return Err(((*option).to_owned(), message));
        }
        for origin in self.origins.values() {
            if let Some(other) = environment.other_owner(origin) {
                return Err(("hub".to_owned(), foreign(environment, other, origin)));
            }
        }
        let mut origins = self.origins;
        let known = regime.services.iter().filter_map(|data| {
            let service = Service::of(data);
            let documented = || environment.origin(service, lfi_code);
            let origin = origins.remove(data.option.as_str()).or_else(documented)?;
            let verify = data.verify.clone();
            Some(HubService {
                service,
                origin,
                verify,
            })
        });
        let mut services: Vec<_> = known.collect();
        match (services.is_empty(), self.services.first()) {
            (false, None) => {}
            (true, Some(_)) => {
                services = self.services.into_services();
                for service in &services {
                    if let Some(other) = environment.other_owner(&service.origin) {
                        let field = format!("hub.services.{}", service.service.label());
                        return Err((field, foreign(environment, other, &service.origin)));
                    }
                }
            }
            (true, None) => {
                let message = format!(
                    "regime {:?} knows no services: write [hub.services.NAME] with url = \"https://host\", NAME being a word of yours",
                    regime.name
                );
                return Err(("hub".to_owned(), message));
            }
            (false, Some(name)) => {
                let options = regime.services.iter().map(|one| one.option.as_str());
                let message = format!(
                    "regime {:?} knows its services: {} of [hub] replace their origins",
                    regime.name,
                    options.collect::<Vec<_>>().join(" and ")
                );
                return Err((format!("hub.services.{name}"), message));
            }
        }
        Ok(HubConfig {
            services,
            connect_timeout: self.connect_timeout.unwrap_or(Duration::from_secs(10)),
            response_timeout: self.response_timeout.unwrap_or(Duration::from_secs(30)),
        })
    }
}

/// Why an origin is refused that is a documented host of another environment.
fn foreign(environment: Environment, other: Environment, origin: &Origin) -> String {
    match other.regime() == environment.regime() {
        true => format!("{origin} is a host of the {other} environment"),
        false => {
            let regime = &other.regime().name;
            format!(
                "{origin} is a host of the {other} environment of regime {regime:?}: write regime = {regime:?}"
            )
        }
    }
}

impl<'de> Deserialize<'de> for HubFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_struct("hub", &FIELDS, HubVisitor)
    }
}

struct HubVisitor;

impl<'de> Visitor<'de> for HubVisitor {
    type Value = HubFile;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the section [hub]")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<HubFile, A::Error> {
        let mut file = HubFile::default();
        while let Some(HubField(field)) = map.next_key()? {
            match field {
                "services" => file.services = map.next_value()?,
                "connect_timeout" => file.connect_timeout = Some(map.next_value::<Timeout>()?.0),
                "response_timeout" => file.response_timeout = Some(map.next_value::<Timeout>()?.0),
                option => {
                    file.origins.insert(option, map.next_value()?);
                }
            }
        }
        Ok(file)
    }
}

/// The name of a field of the section.
struct HubField(&'static str);

impl<'de> Deserialize<'de> for HubField {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let known = FIELDS.iter().find(|field| **field == name);
        known
            .map(|field| Self(field))
            .ok_or_else(|| de::Error::unknown_field(&name, &FIELDS))
    }
}

#[derive(Deserialize)]
struct Timeout(#[serde(deserialize_with = "field::duration")] Duration);
