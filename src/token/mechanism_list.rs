//! The token's mechanisms (C_GetMechanismList, C_GetMechanismInfo). The list is a claim: only a signature proves that a
//! mechanism works.

use cryptoki::mechanism::MechanismType;
use cryptoki::slot::Slot;
use serde::Serialize;

use super::fault::Fault;
use super::flag_names;
use super::info::{CK_MECHANISM_TYPE, CKF_GENERATE_KEY_PAIR, CKF_SIGN, CKF_WRAP, MechanismInfo};
use super::module::Module;

/// The token's mechanisms with their key sizes and flags.
#[derive(Clone, Debug, Default)]
pub struct MechanismList {
    /// A mechanism without information is listed, and the module says nothing more of it: it may do anything.
    entries: Vec<(CK_MECHANISM_TYPE, Option<MechanismInfo>)>,
}

/// A mechanism as the token lists it.
#[derive(Clone, Debug, Serialize)]
pub struct ListedMechanism {
    /// Its CKM_ name, or its number where the standard has none for it.
    pub name: String,
    /// ulMinKeySize, in bits or bytes; `None` where the module says nothing of the mechanism.
    pub min_key_size: Option<u64>,
    /// ulMaxKeySize
    pub max_key_size: Option<u64>,
    /// The CKF_ names of its flags.
    pub flags: Vec<String>,
}

impl MechanismList {
    pub(super) fn read(module: &Module, slot: Slot) -> Result<Self, Fault> {
        let entries = module.call()?.information().mechanisms(slot)?;
        Ok(Self { entries })
    }

    /// Whether the token claims to sign with `mechanism` (CKF_SIGN) for keys of `bits`.
    pub(crate) fn can_sign(&self, mechanism: MechanismType, bits: usize) -> bool {
        self.any(*mechanism, |info| {
            let (min, max) = (info.min_key_size, info.max_key_size);
            let bits = bits as u64;
            // Some modules count RSA sizes in bytes, some leave the maximum at 0, and SoftHSM
            // rounds the 255 bits of Ed25519 up.
            let fits = max == 0
                || bits <= max
                || (max < 1024 && bits >= 1024 && bits <= max.saturating_mul(8));
            info.has(CKF_SIGN) && fits && min <= bits.next_multiple_of(8)
        })
    }

    /// Whether the token claims to generate key pairs with `mechanism` (CKF_GENERATE_KEY_PAIR).
    pub(crate) fn can_generate(&self, mechanism: u64) -> bool {
        self.any(mechanism, |info| info.has(CKF_GENERATE_KEY_PAIR))
    }

    /// Whether the token claims to wrap keys with `mechanism` (CKF_WRAP).
    pub(crate) fn can_wrap(&self, mechanism: MechanismType) -> bool {
        self.any(*mechanism, |info| info.has(CKF_WRAP))
    }

    fn any(&self, mechanism: CK_MECHANISM_TYPE, does: impl Fn(&MechanismInfo) -> bool) -> bool {
        self.entries
            .iter()
            .any(|(listed, info)| *listed == mechanism && info.as_ref().is_none_or(&does))
    }

    /// All mechanisms, in the module's order.
    pub fn listed(&self) -> Vec<ListedMechanism> {
        let listed = |(kind, info): &(CK_MECHANISM_TYPE, Option<MechanismInfo>)| ListedMechanism {
            name: mechanism_name(*kind),
            min_key_size: info.map(|info| info.min_key_size),
            max_key_size: info.map(|info| info.max_key_size),
            flags: info.map_or_else(Vec::new, |info| flag_names::of_mechanism(info.flags())),
        };
        self.entries.iter().map(listed).collect()
    }

    /// The signing mechanisms, as CKM_ names.
    pub fn signing(&self) -> Vec<String> {
        self.entries
            .iter()
            .filter(|(_, info)| info.is_none_or(|info| info.has(CKF_SIGN)))
            .filter_map(|(mechanism, _)| MechanismType::try_from(*mechanism).ok())
            .map(|mechanism| mechanism.to_string())
            .collect()
    }
}

/// The CKM_ name, or the number of a vendor's mechanism and of one that has no name here.
fn mechanism_name(kind: CK_MECHANISM_TYPE) -> String {
    match MechanismType::try_from(kind) {
        Ok(known) => known.to_string(),
        Err(_) => format!("{kind:#010x}"),
    }
}
