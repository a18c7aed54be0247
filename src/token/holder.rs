//! What holds a key, as a record of it has to name it: module and token.

use serde::{Deserialize, Serialize};

use super::Token;

/// Module and token, by what they say of themselves.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Holder {
    /// The module's file.
    pub module: String,
    /// SHA-256 of that file as it is now; `None` where it cannot be read.
    pub module_fingerprint: Option<String>,
    /// libraryDescription and libraryVersion
    pub library: String,
    /// cryptokiVersion
    pub cryptoki: String,
    /// The token: label, manufacturer, model and serial number.
    pub token: String,
    /// firmwareVersion
    pub firmware: String,
}

impl Token {
    /// What holds the keys of this token.
    pub fn holder(&self) -> Holder {
        let version = |(major, minor): (u8, u8)| format!("{major}.{minor}");
        let library = self.module.description();
        Holder {
            module: self.module.path().display().to_string(),
            module_fingerprint: self.module.fingerprint().ok().map(|hash| hash.to_string()),
            library: format!("{} {}", library.description, version(library.version)),
            cryptoki: version(library.cryptoki),
            token: self.description.uri().to_string(),
            firmware: version(self.description.firmware),
        }
    }
}
