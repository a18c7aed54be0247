//! The description of a token from CK_TOKEN_INFO and CK_SLOT_INFO, and its match with a PKCS#11 URI.

use cryptoki::slot::Slot;

use super::TokenError;
use super::fault::Fault;
use super::flag_names;
use super::info::*;
use super::module::Module;
use super::operation::{self, TokenOperation};
use crate::config::TokenIdentity;
use crate::config::uri::Pkcs11Uri;

/// The identity of a token: label, serial number and manufacturer. What may vary by `identity` is empty.
pub(super) type TokenId = [String; 3];

pub(super) fn token_id(
    identity: TokenIdentity,
    label: &str,
    serial: &str,
    manufacturer: &str,
) -> TokenId {
    let part = |is_part: bool, text: &str| {
        if is_part {
            text.to_owned()
        } else {
            String::new()
        }
    };
    [
        part(identity.has_label(), label),
        part(identity.has_serial(), serial),
        manufacturer.to_owned(),
    ]
}

/// A token as it describes itself (CK_TOKEN_INFO, CK_SLOT_INFO).
#[derive(Clone, Debug)]
pub struct TokenDescription {
    /// The token's label.
    pub label: String,
    /// manufacturerID
    pub manufacturer: String,
    /// model
    pub model: String,
    /// serialNumber
    pub serial: String,
    /// firmwareVersion
    pub firmware: (u8, u8),
    /// CKF_LOGIN_REQUIRED
    pub login_required: bool,
    /// CKF_USER_PIN_INITIALIZED
    pub user_pin_initialized: bool,
    /// CKF_PROTECTED_AUTHENTICATION_PATH
    pub protected_path: bool,
    /// Those of CKF_SO_PIN_COUNT_LOW, _FINAL_TRY, _LOCKED and _TO_BE_CHANGED that are set.
    pub so_pin_warnings: Vec<&'static str>,
    /// CKF_HW_SLOT: the slot claims to be a hardware device.
    pub hardware_slot: bool,
    /// Those of CKF_USER_PIN_COUNT_LOW, _FINAL_TRY, _LOCKED and _TO_BE_CHANGED that are set.
    pub pin_warnings: Vec<&'static str>,
    /// ulMaxSessionCount; `None` if it is unavailable or unlimited.
    pub max_sessions: Option<u64>,
    /// The CKF_ names of all flags of CK_TOKEN_INFO.
    pub flags: Vec<String>,
    identity: TokenIdentity,
    slot_id: u64,
    slot_description: String,
    slot_manufacturer: String,
}

impl TokenDescription {
    fn of(slot: Slot, info: &TokenInfo, slot_info: &SlotInfo) -> Self {
        let warnings = [
            (CKF_USER_PIN_COUNT_LOW, "CKF_USER_PIN_COUNT_LOW"),
            (CKF_USER_PIN_FINAL_TRY, "CKF_USER_PIN_FINAL_TRY"),
            (CKF_USER_PIN_LOCKED, "CKF_USER_PIN_LOCKED"),
            (CKF_USER_PIN_TO_BE_CHANGED, "CKF_USER_PIN_TO_BE_CHANGED"),
        ];
        let so_warnings = [
            (CKF_SO_PIN_COUNT_LOW, "CKF_SO_PIN_COUNT_LOW"),
            (CKF_SO_PIN_FINAL_TRY, "CKF_SO_PIN_FINAL_TRY"),
            (CKF_SO_PIN_LOCKED, "CKF_SO_PIN_LOCKED"),
            (CKF_SO_PIN_TO_BE_CHANGED, "CKF_SO_PIN_TO_BE_CHANGED"),
        ];
        let set = |warnings: [(CK_FLAGS, &'static str); 4]| {
            let set = warnings.into_iter().filter(|(flag, _)| info.has(*flag));
            set.map(|(_, name)| name).collect()
        };
        Self {
            so_pin_warnings: set(so_warnings),
            hardware_slot: slot_info.hardware_slot(),
            label: info.label().to_owned(),
            manufacturer: info.manufacturer_id().to_owned(),
            model: info.model().to_owned(),
            serial: info.serial_number().to_owned(),
            firmware: info.firmware_version(),
            login_required: info.has(CKF_LOGIN_REQUIRED),
            user_pin_initialized: info.has(CKF_USER_PIN_INITIALIZED),
            protected_path: info.has(CKF_PROTECTED_AUTHENTICATION_PATH),
            pin_warnings: set(warnings),
            max_sessions: info.max_sessions(),
            flags: flag_names::of_token(info.flags()),
            identity: TokenIdentity::default(),
            slot_id: slot.id(),
            slot_description: slot_info.description.clone(),
            slot_manufacturer: slot_info.manufacturer.clone(),
        }
    }

    /// The same token, of which a part may vary.
    pub(super) fn with_identity(self, identity: TokenIdentity) -> Self {
        Self { identity, ..self }
    }

    /// slotDescription and manufacturerID of CK_SLOT_INFO.
    pub fn slot(&self) -> [&str; 2] {
        [&self.slot_description, &self.slot_manufacturer]
    }

    /// What names this token.
    pub(super) fn identity(&self) -> TokenIdentity {
        self.identity
    }

    pub(super) fn id(&self) -> TokenId {
        token_id(self.identity, &self.label, &self.serial, &self.manufacturer)
    }

    /// The PKCS#11 URI of this token. It does not name what may vary: a record of today must name the token of tomorrow.
    pub fn uri(&self) -> Pkcs11Uri {
        Pkcs11Uri {
            manufacturer: Some(self.manufacturer.clone()),
            model: Some(self.model.clone()),
            ..self.short_uri()
        }
    }

    /// The URI with label and serial number, without what may vary: the beginning of an object's URI.
    pub(crate) fn short_uri(&self) -> Pkcs11Uri {
        Pkcs11Uri {
            token: self.identity.has_label().then(|| self.label.clone()),
            serial: self.identity.has_serial().then(|| self.serial.clone()),
            ..Pkcs11Uri::default()
        }
    }

    /// Whether token, slot and module match `uri`; its object attributes are ignored.
    pub fn matches(&self, uri: &Pkcs11Uri, module: &Module) -> bool {
        let library = module.description();
        let same = |wanted: &Option<String>, found: &str| {
            wanted.as_deref().is_none_or(|wanted| wanted == found)
        };
        same(&uri.token, &self.label)
            && same(&uri.manufacturer, &self.manufacturer)
            && same(&uri.model, &self.model)
            && same(&uri.serial, &self.serial)
            && same(&uri.slot_description, &self.slot_description)
            && same(&uri.slot_manufacturer, &self.slot_manufacturer)
            && same(&uri.library_description, &library.description)
            && same(&uri.library_manufacturer, &library.manufacturer)
            && uri.slot_id.is_none_or(|id| id == self.slot_id)
            && uri.library_version.is_none_or(|(major, minor)| {
                major == library.version.0 && minor.is_none_or(|minor| minor == library.version.1)
            })
    }
}

/// The initialised tokens of a module. A token that cannot be read is an entry with its error.
///
/// # Errors
/// C_GetSlotList failed.
pub fn list_tokens(module: &Module) -> Result<Vec<Result<TokenDescription, Fault>>, TokenError> {
    let tokens = read_slots(module)?;
    Ok(tokens.into_iter().map(|(_, token)| token).collect())
}

/// A slot and the description of its token.
pub(super) type SlotEntry = (Slot, Result<TokenDescription, Fault>);

/// Every slot with an initialised token, or with one that cannot be read.
pub(super) fn read_slots(module: &Module) -> Result<Vec<SlotEntry>, TokenError> {
    let call = module.call().map_err(TokenError::Call)?;
    let _step = operation::begin(TokenOperation::Token);
    let information = call.information();
    let slots = information.slots_with_token().map_err(TokenError::Call)?;
    let read = |slot| match information.token(slot) {
        // An empty slot of SoftHSM reports an uninitialised token, which holds no key.
        Ok(info) if !info.has(CKF_TOKEN_INITIALIZED) => None,
        Ok(info) => {
            let slot_info = information.slot(slot).unwrap_or_default();
            Some((slot, Ok(TokenDescription::of(slot, &info, &slot_info))))
        }
        Err(fault) => Some((slot, Err(fault))),
    };
    Ok(slots.into_iter().filter_map(read).collect())
}
