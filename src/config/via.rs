//! `via` of `[proxy]`: the name by which the proxy adds itself to the `Via` header of requests.

use serde::{Deserialize, Deserializer};

use super::environment::LfiCode;

/// The proxy's entry in the `Via` header (RFC 9110, section 7.6.3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Via {
    /// `hsm-mtls-` and the `lfi_code`; `hsm-mtls` in a regime that has none.
    #[default]
    LfiCode,
    /// This pseudonym.
    Name(String),
    /// No entry: for a hub that treats requests from intermediaries differently.
    Off,
}

impl Via {
    /// The pseudonym in the entry; `None` if there is no entry.
    pub fn name(&self, lfi_code: Option<&LfiCode>) -> Option<String> {
        match self {
            Self::LfiCode => Some(match lfi_code {
                Some(code) => format!("hsm-mtls-{code}"),
                None => "hsm-mtls".to_owned(),
            }),
            Self::Name(name) => Some(name.clone()),
            Self::Off => None,
        }
    }
}

impl<'de> Deserialize<'de> for Via {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        match text.as_str() {
            "off" => Ok(Self::Off),
            name if (1..=64).contains(&name.len()) && name.bytes().all(token) => {
                Ok(Self::Name(text))
            }
            _ => Err(serde::de::Error::custom(
                "a name of up to 64 letters, digits, - or ., or \"off\"",
            )),
        }
    }
}
