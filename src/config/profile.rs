//! `profile` of `[[token]]`: the family of the HSM, where the module's file name does not tell it. Families differ in their
//! vendor-defined return values and in what reaches the device.

use std::path::Path;

use serde::Deserialize;

use super::{KeepAliveCall, SessionMode, TokenConfig};

/// A family of HSMs. What differs for it is simulated from the vendors' documents; none was tried on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// No family: the standard alone.
    Standard,
    /// Thales Luna 7, Luna Cloud HSM (DPoD)
    Luna,
    /// Entrust nShield
    Nshield,
    /// Utimaco
    Utimaco,
    /// AWS CloudHSM
    AwsCloudhsm,
    /// Azure Cloud HSM
    AzureCloudHsm,
    /// Google libkmsp11
    GoogleKms,
    /// YubiHSM 2
    #[serde(rename = "yubihsm2")]
    YubiHsm2,
    /// Nitrokey NetHSM
    Nethsm,
    /// Securosys Primus
    Primus,
}

/// The file names of the vendors' modules, as their documents give them.
const FILE_NAMES: [(&str, Profile); 11] = [
    ("libcryptoki2", Profile::Luna),
    ("libcknfast", Profile::Nshield),
    ("libcs_pkcs11_r2", Profile::Utimaco),
    ("libcs_pkcs11_r3", Profile::Utimaco),
    ("libcloudhsm_pkcs11", Profile::AwsCloudhsm),
    ("libazcloudhsm_pkcs11", Profile::AzureCloudHsm),
    ("libkmsp11", Profile::GoogleKms),
    ("yubihsm_pkcs11", Profile::YubiHsm2),
    ("libnethsm_pkcs11", Profile::Nethsm),
    ("nethsm-pkcs11", Profile::Nethsm),
    ("libprimusp11", Profile::Primus),
];

impl Profile {
    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Luna => "luna",
            Self::Nshield => "nshield",
            Self::Utimaco => "utimaco",
            Self::AwsCloudhsm => "aws-cloudhsm",
            Self::AzureCloudHsm => "azure-cloud-hsm",
            Self::GoogleKms => "google-kms",
            Self::YubiHsm2 => "yubihsm2",
            Self::Nethsm => "nethsm",
            Self::Primus => "primus",
        }
    }

    /// The family by the file name of the module.
    pub fn of_module(module: &Path) -> Self {
        let name = module.file_name().unwrap_or_default().to_string_lossy();
        let name = name.to_lowercase();
        let known = FILE_NAMES.iter().find(|(known, _)| name.starts_with(known));
        known.map_or(Self::Standard, |(_, profile)| *profile)
    }

    /// The keep-alive call that reaches the device: these modules answer C_GetSessionInfo by themselves.
    fn keep_alive_call(self) -> KeepAliveCall {
        match self {
            Self::YubiHsm2 | Self::Nethsm => KeepAliveCall::Random,
            _ => KeepAliveCall::SessionInfo,
        }
    }

    /// SDK 5 of AWS CloudHSM has read-write sessions only.
    fn session(self) -> SessionMode {
        match self {
            Self::AwsCloudhsm => SessionMode::ReadWrite,
            _ => SessionMode::Auto,
        }
    }
}

impl TokenConfig {
    /// The family of the HSM: as configured, or by the module's file name.
    pub fn profile(&self) -> Profile {
        self.profile
            .unwrap_or_else(|| Profile::of_module(&self.module))
    }

    /// The profile and where it is from, with what it sets; `None` for `standard` that nobody configured.
    pub fn profile_summary(&self) -> Option<String> {
        let profile = self.profile();
        let origin = match (self.profile, profile) {
            (None, Profile::Standard) => return None,
            (None, _) => "by the module's file name",
            (Some(_), _) => "as configured",
        };
        let mut summary = format!("{}, {origin}", profile.name());
        if self.keep_alive_call.is_none() && profile.keep_alive_call() == KeepAliveCall::Random {
            summary.push_str("; keep_alive_call = \"random\"");
        }
        if self.session.is_none() && profile.session() == SessionMode::ReadWrite {
            summary.push_str("; session = \"read-write\"");
        }
        Some(summary)
    }

    /// The call that keeps an idle session alive: as configured, or as the family needs it.
    pub fn keep_alive_call(&self) -> KeepAliveCall {
        self.keep_alive_call
            .unwrap_or_else(|| self.profile().keep_alive_call())
    }

    /// The kind of the sessions that sign: as configured, or as the family needs it.
    pub fn session(&self) -> SessionMode {
        self.session.unwrap_or_else(|| self.profile().session())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_told_by_the_modules_file_name() {
        for (path, profile) in [
            (
                "/usr/safenet/lunaclient/lib/libCryptoki2_64.so",
                Profile::Luna,
            ),
            ("/opt/nfast/toolkits/pkcs11/libcknfast.so", Profile::Nshield),
            ("/usr/lib/libcs_pkcs11_R3.so", Profile::Utimaco),
            (
                "/opt/cloudhsm/lib/libcloudhsm_pkcs11.so",
                Profile::AwsCloudhsm,
            ),
            (
                "/opt/azurecloudhsm/lib64/libazcloudhsm_pkcs11.so",
                Profile::AzureCloudHsm,
            ),
            ("/usr/lib/softhsm/libsofthsm2.so", Profile::Standard),
        ] {
            assert_eq!(Profile::of_module(Path::new(path)), profile, "{path}");
        }
    }

    #[test]
    fn names_are_those_of_the_configuration() -> Result<(), Box<dyn std::error::Error>> {
        for (_, profile) in FILE_NAMES.into_iter().chain([("", Profile::Standard)]) {
            let read: Profile = serde_json::from_str(&format!("\"{}\"", profile.name()))?;
            assert_eq!(read, profile);
        }
        Ok(())
    }
}
