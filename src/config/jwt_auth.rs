//! `jwt` of `[proxy]`: which services are sent tokens of `[sig4]`.

use serde::{Deserialize, Deserializer};

use super::environment::Service;

/// `jwt` of `[proxy]`: the services whose requests carry a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum JwtAuth {
    /// None: an application's own `Authorization` is forwarded.
    #[default]
    Off,
    /// This one.
    Service(Service),
    /// Both.
    Both,
}

impl JwtAuth {
    /// Whether requests to this service carry a token.
    pub fn covers(self, service: Service) -> bool {
        match self {
            Self::Off => false,
            Self::Service(one) => one == service,
            Self::Both => true,
        }
    }

    /// Its name in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Service(service) => service.label(),
            Self::Both => "both",
        }
    }
}

impl<'de> Deserialize<'de> for JwtAuth {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let services = Service::ALL.map(Self::Service);
        let mut known = [Self::Off, Self::Both].into_iter().chain(services);
        known
            .find(|known| known.as_str() == text)
            .ok_or_else(|| serde::de::Error::custom("write \"off\", \"cm\", \"hh\" or \"both\""))
    }
}
