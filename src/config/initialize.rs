//! `initialize` of `[[token]]`: a string that some modules want in pReserved of C_Initialize's arguments, where PKCS#11 has
//! nothing (NSS softokn: `configDir='sql:/etc/nss' ...`).

use std::ffi::{CStr, CString};
use std::fmt;

use serde::{Deserialize, Deserializer};

/// The string for pReserved. It is not printed: a module may take a password in it.
#[derive(Clone, PartialEq, Eq)]
pub struct InitializeString(CString);

impl InitializeString {
    /// The string as C_Initialize is given it.
    pub fn as_c_str(&self) -> &CStr {
        &self.0
    }

    /// The same with `{config_dir}` replaced by the folder of the configuration file.
    pub(super) fn in_folder(self, folder: &str) -> Self {
        let text = self.0.to_string_lossy().replace("{config_dir}", folder);
        Self(CString::new(text).unwrap_or(self.0))
    }
}

impl fmt::Debug for InitializeString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InitializeString(...)")
    }
}

impl<'de> Deserialize<'de> for InitializeString {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wrong =
            "`initialize` takes the text that the module's documentation gives, and no empty one";
        // Its error would repeat the value.
        let text =
            String::deserialize(deserializer).map_err(|_| serde::de::Error::custom(wrong))?;
        match CString::new(text) {
            Ok(text) if !text.is_empty() => Ok(Self(text)),
            _ => Err(serde::de::Error::custom(wrong)),
        }
    }
}
