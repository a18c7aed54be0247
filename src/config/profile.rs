//! `profile` of `[[token]]`: the family of the HSM. Families differ in their vendor-defined return values, in what reaches
//! the device, and in the sessions that they have. What is known of each is data (`family`); which one applies is `choice`.

mod choice;
mod cloud_hsms;
mod device_state;
mod family;
mod local_tokens;
mod network_hsms;

use std::path::Path;

use serde::{Deserialize, Deserializer};

use super::{KeepAliveCall, SessionMode};

pub use choice::{LibraryInfo, ProfileChoice, ProfileOrigin};
pub use device_state::{Clearance, DeviceState};
pub use family::{
    CKR_DEVICE_MEMORY, CKR_PIN_EXPIRED, CKR_USER_TYPE_INVALID, Fact, Family, LibraryText, Meaning,
    ReturnValue, Source,
};

/// A family of HSMs, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// No family: the standard alone.
    Standard,
    /// Thales Luna 7
    Luna,
    /// Thales Luna Cloud HSM (Data Protection on Demand)
    Dpod,
    /// Entrust nShield
    Nshield,
    /// Utimaco
    Utimaco,
    /// Securosys Primus
    Primus,
    /// Nitrokey NetHSM
    Nethsm,
    /// AWS CloudHSM
    AwsCloudhsm,
    /// Azure Cloud HSM
    AzureCloudHsm,
    /// Azure Managed HSM, TLS Offload Library
    AzureManagedHsm,
    /// Google libkmsp11
    GoogleKms,
    /// Fortanix DSM
    Fortanix,
    /// YubiHSM 2
    YubiHsm2,
    /// Microchip CryptoAuthLib
    Cryptoauthlib,
    /// tpm2-pkcs11
    Tpm2,
    /// openCryptoki
    OpenCryptoki,
    /// NSS softokn
    Nss,
    /// SoftHSM2
    SoftHsm,
    /// kryoptic
    Kryoptic,
    /// p11-kit's remote module
    P11Kit,
}

impl Profile {
    /// The name of [`Profile::Standard`] in the configuration.
    const STANDARD: &str = "standard";

    /// All families.
    pub fn families() -> impl Iterator<Item = &'static Family> {
        network_hsms::FAMILIES
            .iter()
            .chain(&cloud_hsms::FAMILIES)
            .chain(&local_tokens::FAMILIES)
    }

    /// What is known of the family; `None` for [`Profile::Standard`].
    pub fn family(self) -> Option<&'static Family> {
        Self::families().find(|family| family.profile == self)
    }

    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        self.family().map_or(Self::STANDARD, |family| family.name)
    }

    /// All names, in the order of the documentation.
    pub fn names() -> impl Iterator<Item = &'static str> {
        let families = Self::families().map(|family| family.name);
        std::iter::once(Self::STANDARD).chain(families)
    }

    /// The family by the file name of the module.
    pub fn of_module(module: &Path) -> Option<Self> {
        let name = module.file_name().unwrap_or_default().to_string_lossy();
        let name = name.to_lowercase();
        let of = |family: &&Family| {
            family
                .file_names
                .iter()
                .any(|start| name.starts_with(start))
        };
        Self::families().find(of).map(|family| family.profile)
    }

    /// The family by what the module says of itself.
    pub fn of_library(library: LibraryInfo<'_>) -> Option<Self> {
        let (manufacturer, description) = (
            library.manufacturer.to_lowercase(),
            library.description.to_lowercase(),
        );
        let is = |text: &LibraryText| {
            manufacturer.starts_with(&text.manufacturer.to_lowercase())
                && description.starts_with(&text.description.to_lowercase())
        };
        let of = |family: &&Family| family.library.iter().any(is);
        Self::families().find(of).map(|family| family.profile)
    }

    /// Whether a module of this family may call itself `other`: DPoD's is Luna's, and p11-kit passes on what is behind it.
    fn may_be_told_as(self, other: Self) -> bool {
        self == other || matches!((self, other), (Self::Dpod, Self::Luna) | (Self::P11Kit, _))
    }
}

impl<'de> Deserialize<'de> for Profile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wrong = || {
            let names: Vec<_> = Self::names().collect();
            serde::de::Error::custom(format!(
                "`profile` is the family of the HSM: {}",
                names.join(", ")
            ))
        };
        let name = String::deserialize(deserializer).map_err(|_| wrong())?;
        if name == Self::STANDARD {
            return Ok(Self::Standard);
        }
        let named = |family: &&Family| family.name == name;
        let family = Self::families().find(named);
        family.map(|family| family.profile).ok_or_else(wrong)
    }
}

#[cfg(test)]
#[path = "profile/tests.rs"]
mod tests;
