//! What a module reports about itself, its slots, tokens, mechanisms and sessions (CK_INFO and its like), read so that no
//! field can make the whole unusable.
//!
//! Modules are careless with fields that nobody needs: openCryptoki writes `13:25:35` as utcTime, others leave labels that are
//! no UTF-8, serial numbers of zeros or counts of 0. cryptoki's conversion refuses such a structure, and with it the
//! token. Here every value of every field is accepted and kept as it is.

use cryptoki::context::Info as CryptokiInfo;
use cryptoki::mechanism::MechanismInfo as CryptokiMechanismInfo;
use cryptoki::session::{SessionInfo as CryptokiSessionInfo, SessionState};
use cryptoki::slot::{Limit, SlotInfo as CryptokiSlotInfo, TokenInfo as CryptokiTokenInfo};
use cryptoki_sys::*;
pub(super) use cryptoki_sys::{
    CK_FLAGS, CK_MECHANISM_TYPE, CKF_GENERATE_KEY_PAIR, CKF_LOGIN_REQUIRED,
    CKF_PROTECTED_AUTHENTICATION_PATH, CKF_SIGN, CKF_SO_PIN_COUNT_LOW, CKF_SO_PIN_FINAL_TRY,
    CKF_SO_PIN_LOCKED, CKF_SO_PIN_TO_BE_CHANGED, CKF_TOKEN_INITIALIZED, CKF_USER_PIN_COUNT_LOW,
    CKF_USER_PIN_FINAL_TRY, CKF_USER_PIN_INITIALIZED, CKF_USER_PIN_LOCKED,
    CKF_USER_PIN_TO_BE_CHANGED, CKF_WRAP,
};

use crate::config::profile::LibraryInfo;

/// CK_INFO (PKCS#11 3.1, section 3.3).
#[derive(Clone, Debug)]
pub struct ModuleDescription {
    /// libraryDescription
    pub description: String,
    /// manufacturerID
    pub manufacturer: String,
    /// libraryVersion
    pub version: (u8, u8),
    /// cryptokiVersion
    pub cryptoki: (u8, u8),
}

/// CK_SLOT_INFO (PKCS#11 3.1, section 3.2).
#[derive(Clone, Debug, Default)]
pub(super) struct SlotInfo {
    pub(super) description: String,
    pub(super) manufacturer: String,
    flags: CK_FLAGS,
}

/// CK_TOKEN_INFO (PKCS#11 3.1, section 3.2), the fields that are used.
#[derive(Clone, Debug)]
pub(crate) struct TokenInfo {
    label: String,
    manufacturer: String,
    model: String,
    serial: String,
    firmware: (u8, u8),
    flags: CK_FLAGS,
    max_sessions: CK_ULONG,
}

/// CK_MECHANISM_INFO (PKCS#11 3.1, section 3.5).
#[derive(Clone, Copy, Debug)]
pub(super) struct MechanismInfo {
    pub(super) min_key_size: u64,
    pub(super) max_key_size: u64,
    flags: CK_FLAGS,
}

/// CK_SESSION_INFO (PKCS#11 3.1, section 3.3).
#[derive(Clone, Copy, Debug)]
pub(crate) struct SessionInfo {
    slot: CK_SLOT_ID,
    state: CK_STATE,
}

/// Text of a fixed size, padded with blanks. Some modules end it with a zero byte instead, and what is behind that may change
/// from call to call. Bytes that are no UTF-8 become U+FFFD.
fn text(field: &[u8]) -> String {
    let text = field.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text)
        .trim_end_matches(' ')
        .to_owned()
}

fn version(version: CK_VERSION) -> (u8, u8) {
    (version.major, version.minor)
}

impl ModuleDescription {
    /// What tells the family of the HSM.
    pub fn identification(&self) -> LibraryInfo<'_> {
        LibraryInfo {
            manufacturer: &self.manufacturer,
            description: &self.description,
        }
    }
}

impl From<&CK_INFO> for ModuleDescription {
    fn from(info: &CK_INFO) -> Self {
        Self {
            description: text(&info.libraryDescription),
            manufacturer: text(&info.manufacturerID),
            version: version(info.libraryVersion),
            cryptoki: version(info.cryptokiVersion),
        }
    }
}

impl From<&CryptokiInfo> for ModuleDescription {
    fn from(info: &CryptokiInfo) -> Self {
        let version = |version: cryptoki::types::Version| (version.major(), version.minor());
        Self {
            description: text(info.library_description().as_bytes()),
            manufacturer: text(info.manufacturer_id().as_bytes()),
            version: version(info.library_version()),
            cryptoki: version(info.cryptoki_version()),
        }
    }
}

impl From<&CK_SLOT_INFO> for SlotInfo {
    fn from(info: &CK_SLOT_INFO) -> Self {
        Self {
            description: text(&info.slotDescription),
            manufacturer: text(&info.manufacturerID),
            flags: info.flags,
        }
    }
}

impl From<&CryptokiSlotInfo> for SlotInfo {
    fn from(info: &CryptokiSlotInfo) -> Self {
        Self {
            description: text(info.slot_description().as_bytes()),
            manufacturer: text(info.manufacturer_id().as_bytes()),
            flags: flag(CKF_HW_SLOT, info.hardware_slot()),
        }
    }
}

impl SlotInfo {
    /// CKF_HW_SLOT
    pub(super) fn hardware_slot(&self) -> bool {
        self.flags & CKF_HW_SLOT != 0
    }
}

impl From<&CK_TOKEN_INFO> for TokenInfo {
    fn from(info: &CK_TOKEN_INFO) -> Self {
        Self {
            label: text(&info.label),
            manufacturer: text(&info.manufacturerID),
            model: text(&info.model),
            serial: text(&info.serialNumber),
            firmware: version(info.firmwareVersion),
            flags: info.flags,
            max_sessions: info.ulMaxSessionCount,
        }
    }
}

impl From<&CryptokiTokenInfo> for TokenInfo {
    fn from(info: &CryptokiTokenInfo) -> Self {
        let flags = [
            (CKF_TOKEN_INITIALIZED, info.token_initialized()),
            (CKF_LOGIN_REQUIRED, info.login_required()),
            (CKF_USER_PIN_INITIALIZED, info.user_pin_initialized()),
            (
                CKF_PROTECTED_AUTHENTICATION_PATH,
                info.protected_authentication_path(),
            ),
            (CKF_USER_PIN_COUNT_LOW, info.user_pin_count_low()),
            (CKF_USER_PIN_FINAL_TRY, info.user_pin_final_try()),
            (CKF_USER_PIN_LOCKED, info.user_pin_locked()),
            (CKF_USER_PIN_TO_BE_CHANGED, info.user_pin_to_be_changed()),
            (CKF_SO_PIN_COUNT_LOW, info.so_pin_count_low()),
            (CKF_SO_PIN_FINAL_TRY, info.so_pin_final_try()),
            (CKF_SO_PIN_LOCKED, info.so_pin_locked()),
            (CKF_SO_PIN_TO_BE_CHANGED, info.so_pin_to_be_changed()),
        ];
        let firmware = info.firmware_version();
        Self {
            label: text(info.label().as_bytes()),
            manufacturer: text(info.manufacturer_id().as_bytes()),
            model: text(info.model().as_bytes()),
            serial: text(info.serial_number().as_bytes()),
            firmware: (firmware.major(), firmware.minor()),
            flags: flags
                .iter()
                .map(|(bit, is_set)| flag(*bit, *is_set))
                .fold(0, |all, bit| all | bit),
            max_sessions: match info.max_session_count() {
                Limit::Max(count) => count,
                Limit::Infinite => CK_EFFECTIVELY_INFINITE,
                Limit::Unavailable => CK_UNAVAILABLE_INFORMATION,
            },
        }
    }
}

fn flag(bit: CK_FLAGS, is_set: bool) -> CK_FLAGS {
    if is_set { bit } else { 0 }
}

impl TokenInfo {
    pub(super) fn label(&self) -> &str {
        &self.label
    }

    pub(super) fn manufacturer_id(&self) -> &str {
        &self.manufacturer
    }

    pub(super) fn model(&self) -> &str {
        &self.model
    }

    pub(super) fn serial_number(&self) -> &str {
        &self.serial
    }

    pub(super) fn firmware_version(&self) -> (u8, u8) {
        self.firmware
    }

    /// The CKF_ flags.
    pub(super) fn flags(&self) -> CK_FLAGS {
        self.flags
    }

    /// Whether any of these CKF_ flags is set.
    pub(super) fn has(&self, flags: CK_FLAGS) -> bool {
        self.flags & flags != 0
    }

    /// ulMaxSessionCount; `None` where it is unavailable or unlimited.
    pub(super) fn max_sessions(&self) -> Option<u64> {
        match self.max_sessions {
            CK_EFFECTIVELY_INFINITE | CK_UNAVAILABLE_INFORMATION => None,
            count => Some(count),
        }
    }
}

impl From<&CK_MECHANISM_INFO> for MechanismInfo {
    fn from(info: &CK_MECHANISM_INFO) -> Self {
        Self {
            min_key_size: info.ulMinKeySize,
            max_key_size: info.ulMaxKeySize,
            flags: info.flags,
        }
    }
}

impl From<&CryptokiMechanismInfo> for MechanismInfo {
    fn from(info: &CryptokiMechanismInfo) -> Self {
        Self {
            min_key_size: info.min_key_size() as u64,
            max_key_size: info.max_key_size() as u64,
            flags: flag(CKF_SIGN, info.sign())
                | flag(CKF_WRAP, info.wrap())
                | flag(CKF_GENERATE_KEY_PAIR, info.generate_key_pair()),
        }
    }
}

impl MechanismInfo {
    /// The CKF_ flags.
    pub(super) fn flags(&self) -> CK_FLAGS {
        self.flags
    }

    /// Whether any of these CKF_ flags is set.
    pub(super) fn has(&self, flags: CK_FLAGS) -> bool {
        self.flags & flags != 0
    }
}

impl From<&CK_SESSION_INFO> for SessionInfo {
    fn from(info: &CK_SESSION_INFO) -> Self {
        Self {
            slot: info.slotID,
            state: info.state,
        }
    }
}

impl From<&CryptokiSessionInfo> for SessionInfo {
    fn from(info: &CryptokiSessionInfo) -> Self {
        Self {
            slot: info.slot_id().id(),
            state: match info.session_state() {
                SessionState::RoPublic => CKS_RO_PUBLIC_SESSION,
                SessionState::RwPublic => CKS_RW_PUBLIC_SESSION,
                SessionState::RoUser => CKS_RO_USER_FUNCTIONS,
                SessionState::RwUser => CKS_RW_USER_FUNCTIONS,
                SessionState::RwSecurityOfficer => CKS_RW_SO_FUNCTIONS,
            },
        }
    }
}

impl SessionInfo {
    pub(super) fn slot(&self) -> CK_SLOT_ID {
        self.slot
    }

    /// CKS_RO_PUBLIC_SESSION or CKS_RW_PUBLIC_SESSION: nobody is logged in.
    pub(super) fn is_public(&self) -> bool {
        matches!(self.state, CKS_RO_PUBLIC_SESSION | CKS_RW_PUBLIC_SESSION)
    }
}

#[cfg(test)]
#[path = "info_tests.rs"]
mod tests;
