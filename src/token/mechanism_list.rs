//! The token's mechanisms (C_GetMechanismList, C_GetMechanismInfo). The list is a claim: only a signature proves that a
//! mechanism works.

use cryptoki::context::Pkcs11;
use cryptoki::mechanism::{MechanismInfo, MechanismType};
use cryptoki::slot::Slot;

use super::fault::Fault;

/// The token's mechanisms with their key sizes and flags.
#[derive(Clone, Debug, Default)]
pub struct MechanismList {
    entries: Vec<(MechanismType, MechanismInfo)>,
}

impl MechanismList {
    pub(crate) fn read(pkcs11: &Pkcs11, slot: Slot) -> Result<Self, Fault> {
        let types = pkcs11.get_mechanism_list(slot).map_err(Fault::of)?;
        // A mechanism without CK_MECHANISM_INFO is left out: its flags and key sizes are unknown.
        let entries = types
            .into_iter()
            .filter_map(|mechanism| {
                let info = pkcs11.get_mechanism_info(slot, mechanism).ok()?;
                Some((mechanism, info))
            })
            .collect();
        Ok(Self { entries })
    }

    /// Whether the token claims to sign with `mechanism` (CKF_SIGN) for keys of `bits`.
    pub(crate) fn can_sign(&self, mechanism: MechanismType, bits: usize) -> bool {
        self.entries.iter().any(|(listed, info)| {
            let (min, max) = (info.min_key_size(), info.max_key_size());
            // Some modules count RSA sizes in bytes, some leave the maximum at 0, and SoftHSM
            // rounds the 255 bits of Ed25519 up.
            let fits = max == 0 || bits <= max || (max < 1024 && bits >= 1024 && bits <= max * 8);
            *listed == mechanism && info.sign() && fits && min <= bits.next_multiple_of(8)
        })
    }

    /// Whether the token claims to generate key pairs with `mechanism` (CKF_GENERATE_KEY_PAIR).
    pub(crate) fn can_generate(&self, mechanism: MechanismType) -> bool {
        self.entries
            .iter()
            .any(|(listed, info)| *listed == mechanism && info.generate_key_pair())
    }

    /// Whether the token claims to wrap keys with `mechanism` (CKF_WRAP).
    pub(crate) fn can_wrap(&self, mechanism: MechanismType) -> bool {
        self.entries
            .iter()
            .any(|(listed, info)| *listed == mechanism && info.wrap())
    }

    /// The signing mechanisms, as CKM_ names.
    pub fn signing(&self) -> Vec<String> {
        self.entries
            .iter()
            .filter(|(_, info)| info.sign())
            .map(|(mechanism, _)| mechanism.to_string())
            .collect()
    }
}
