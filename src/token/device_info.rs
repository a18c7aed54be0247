//! Versions and identity of the module and the token that hold a key, for evidence files and the audit.

use serde::{Deserialize, Serialize};

use super::Token;

/// Module and token, from CK_INFO and CK_TOKEN_INFO.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeviceInfo {
    /// The module's file.
    pub module: String,
    /// SHA-256 of that file's current content; `None` if it cannot be read.
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
    /// The module and the token, for a record of a key that this token holds.
    pub fn device_info(&self) -> DeviceInfo {
        let version = |(major, minor): (u8, u8)| format!("{major}.{minor}");
        let library = self.module.description();
        DeviceInfo {
            module: self.module.path().display().to_string(),
            module_fingerprint: self.module.fingerprint().ok().map(|hash| hash.to_string()),
            library: format!("{} {}", library.description, version(library.version)),
            cryptoki: version(library.cryptoki),
            token: self.description.uri().to_string(),
            firmware: version(self.description.firmware),
        }
    }
}
