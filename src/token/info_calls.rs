//! Calls the functions that fill in CK_INFO and its like: directly where the module's function list can be obtained, so that
//! [`super::info`] reads what they wrote, else through cryptoki with its stricter conversions.

use cryptoki::context::Pkcs11;
use cryptoki::mechanism::MechanismType;
use cryptoki::slot::Slot;

use super::fault::Fault;
use super::info::{MechanismInfo, ModuleDescription, SessionInfo, SlotInfo, TokenInfo};
use super::raw::RawCalls;

/// The information functions of a module (PKCS#11 3.1, sections 5.4 to 5.6).
#[derive(Clone, Copy)]
pub(super) struct InfoCalls<'a> {
    pub(super) pkcs11: &'a Pkcs11,
    pub(super) raw: Option<&'a RawCalls>,
}

impl InfoCalls<'_> {
    /// C_GetInfo
    pub(super) fn module(self) -> Result<ModuleDescription, Fault> {
        if let Some(raw) = self.raw {
            return raw.module_info().map(|info| ModuleDescription::from(&info));
        }
        let info = self.pkcs11.get_library_info().map_err(Fault::of)?;
        Ok(ModuleDescription::from(&info))
    }

    /// C_GetSlotList of slots with a token
    pub(super) fn slots_with_token(self) -> Result<Vec<Slot>, Fault> {
        match self.raw {
            Some(raw) => raw.slots_with_token()?.into_iter().map(slot).collect(),
            None => self.pkcs11.get_slots_with_token().map_err(Fault::of),
        }
    }

    /// C_GetSlotInfo
    pub(super) fn slot(self, slot: Slot) -> Result<SlotInfo, Fault> {
        match self.raw {
            Some(raw) => raw.slot_info(slot.id()).map(|info| SlotInfo::from(&info)),
            None => {
                let info = self.pkcs11.get_slot_info(slot).map_err(Fault::of)?;
                Ok(SlotInfo::from(&info))
            }
        }
    }

    /// C_GetTokenInfo
    pub(super) fn token(self, slot: Slot) -> Result<TokenInfo, Fault> {
        match self.raw {
            Some(raw) => raw.token_info(slot.id()).map(|info| TokenInfo::from(&info)),
            None => {
                let info = self.pkcs11.get_token_info(slot).map_err(Fault::of)?;
                Ok(TokenInfo::from(&info))
            }
        }
    }

    /// C_GetMechanismList and C_GetMechanismInfo. A mechanism whose information the module does not give is left out, and
    /// so is one that cryptoki has no name for.
    pub(super) fn mechanisms(
        self,
        slot: Slot,
    ) -> Result<Vec<(MechanismType, MechanismInfo)>, Fault> {
        let Some(raw) = self.raw else {
            let types = self.pkcs11.get_mechanism_list(slot).map_err(Fault::of)?;
            let read = |kind| {
                let info = self.pkcs11.get_mechanism_info(slot, kind).ok()?;
                Some((kind, MechanismInfo::from(&info)))
            };
            return Ok(types.into_iter().filter_map(read).collect());
        };
        let read = |listed| {
            let info = raw.mechanism_info(slot.id(), listed).ok()?;
            let kind = MechanismType::try_from(listed).ok()?;
            Some((kind, MechanismInfo::from(&info)))
        };
        let listed = raw.mechanisms(slot.id())?;
        Ok(listed.into_iter().filter_map(read).collect())
    }

    /// C_GetSessionInfo
    pub(super) fn session(
        self,
        session: &cryptoki::session::Session,
    ) -> Result<SessionInfo, Fault> {
        if let Some(raw) = self.raw {
            let info = raw.session_info(session.handle())?;
            return Ok(SessionInfo::from(&info));
        }
        let info = session.get_session_info().map_err(Fault::of)?;
        Ok(SessionInfo::from(&info))
    }
}

/// The slot with this number, which any CK_ULONG may be.
pub(super) fn slot(id: u64) -> Result<Slot, Fault> {
    Slot::try_from(id).map_err(Fault::of)
}
