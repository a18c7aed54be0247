//! `identity` of `[[token]]`: by what a token is known again after an outage, and in the records of refused PINs.

use serde::Deserialize;

use super::uri::Pkcs11Uri;

/// What of CK_TOKEN_INFO names the token, beside its manufacturer. What is left out may vary: the members of a cluster may
/// answer with serial numbers of their own (Nitrokey NetHSM). It is not derived from `uri`: one that names the label alone is
/// the usual case, and another token with the same label is not to be taken for the same one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TokenIdentity {
    /// Label and serial number.
    #[default]
    LabelAndSerial,
    /// The label: the serial number may vary.
    Label,
    /// The serial number: the label may vary.
    Serial,
}

impl TokenIdentity {
    /// Whether the label is part of it.
    pub fn has_label(self) -> bool {
        self != Self::Serial
    }

    /// Whether the serial number is part of it.
    pub fn has_serial(self) -> bool {
        self != Self::Label
    }

    /// What is wrong with the URI of the token: it has to name what its identity is, and nothing that may vary.
    pub(super) fn contradiction(self, uri: &Pkcs11Uri) -> Option<&'static str> {
        match self {
            Self::Label if uri.token.is_none() => {
                Some("the label alone is the token's identity, so `uri` has to name it: `token=`")
            }
            Self::Serial if uri.serial.is_none() => Some(
                "the serial number alone is the token's identity, so `uri` has to name it: `serial=`",
            ),
            _ => self.names_what_varies(uri),
        }
    }

    /// What is wrong with a URI of the token or of an object in it: it names something that may vary.
    pub(super) fn names_what_varies(self, uri: &Pkcs11Uri) -> Option<&'static str> {
        match self {
            Self::Label if uri.serial.is_some() => {
                Some("the serial number may vary by `identity = \"label\"`, so no URI can name it")
            }
            Self::Serial if uri.token.is_some() => {
                Some("the label may vary by `identity = \"serial\"`, so no URI can name it")
            }
            _ => None,
        }
    }
}
