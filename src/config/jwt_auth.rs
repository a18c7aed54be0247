//! `jwt` of `[proxy]`: which services are sent tokens of `[sig4]`.

use serde::{Deserialize, Deserializer};

use super::service::Service;

/// `jwt` of `[proxy]`: the services whose requests carry a token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum JwtAuth {
    /// None: an application's own `Authorization` is forwarded.
    #[default]
    Off,
    /// The one of this name.
    Service(String),
    /// All, as `"both"` where there are two.
    All,
}

impl JwtAuth {
    /// Whether requests to this service carry a token.
    pub fn covers(&self, service: Service) -> bool {
        match self {
            Self::Off => false,
            Self::Service(one) => one == service.label(),
            Self::All => true,
        }
    }

    /// Its name in the configuration.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Off => "off",
            Self::Service(name) => name,
            Self::All => "both",
        }
    }

    /// The service that it names.
    pub(super) fn named(&self) -> Option<&str> {
        match self {
            Self::Service(name) => Some(name),
            Self::Off | Self::All => None,
        }
    }
}

impl<'de> Deserialize<'de> for JwtAuth {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok(match text.as_str() {
            "off" => Self::Off,
            "both" | "all" => Self::All,
            _ => Self::Service(text),
        })
    }
}
