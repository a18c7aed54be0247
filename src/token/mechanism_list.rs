//! The token's mechanisms (C_GetMechanismList, C_GetMechanismInfo). The list is a claim: only a signature proves that a
//! mechanism works.

use cryptoki::mechanism::MechanismType;
use cryptoki::slot::Slot;

use super::fault::Fault;
use super::info::{CKF_GENERATE_KEY_PAIR, CKF_SIGN, CKF_WRAP, MechanismInfo};
use super::module::Module;

/// The token's mechanisms with their key sizes and flags.
#[derive(Clone, Debug, Default)]
pub struct MechanismList {
    entries: Vec<(MechanismType, MechanismInfo)>,
}

impl MechanismList {
    pub(super) fn read(module: &Module, slot: Slot) -> Result<Self, Fault> {
        let entries = module.call()?.information().mechanisms(slot)?;
        Ok(Self { entries })
    }

    /// Whether the token claims to sign with `mechanism` (CKF_SIGN) for keys of `bits`.
    pub(crate) fn can_sign(&self, mechanism: MechanismType, bits: usize) -> bool {
        self.entries.iter().any(|(listed, info)| {
            let (min, max) = (info.min_key_size, info.max_key_size);
            let bits = bits as u64;
            // Some modules count RSA sizes in bytes, some leave the maximum at 0, and SoftHSM
            // rounds the 255 bits of Ed25519 up.
            let fits = max == 0
                || bits <= max
                || (max < 1024 && bits >= 1024 && bits <= max.saturating_mul(8));
            *listed == mechanism && info.has(CKF_SIGN) && fits && min <= bits.next_multiple_of(8)
        })
    }

    /// Whether the token claims to generate key pairs with `mechanism` (CKF_GENERATE_KEY_PAIR).
    pub(crate) fn can_generate(&self, mechanism: MechanismType) -> bool {
        self.entries
            .iter()
            .any(|(listed, info)| *listed == mechanism && info.has(CKF_GENERATE_KEY_PAIR))
    }

    /// Whether the token claims to wrap keys with `mechanism` (CKF_WRAP).
    pub(crate) fn can_wrap(&self, mechanism: MechanismType) -> bool {
        self.entries
            .iter()
            .any(|(listed, info)| *listed == mechanism && info.has(CKF_WRAP))
    }

    /// The signing mechanisms, as CKM_ names.
    pub fn signing(&self) -> Vec<String> {
        self.entries
            .iter()
            .filter(|(_, info)| info.has(CKF_SIGN))
            .map(|(mechanism, _)| mechanism.to_string())
            .collect()
    }
}
