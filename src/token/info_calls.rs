//! Calls the functions that fill in CK_INFO and its like: directly where the module's function list can be obtained, so that
//! [`super::info`] reads what they wrote, else through cryptoki with its stricter conversions.

use cryptoki::context::Pkcs11;
use cryptoki::mechanism::MechanismType;
use cryptoki::slot::Slot;

use super::fault::Fault;
use super::info::{
    CK_MECHANISM_TYPE, MechanismInfo, ModuleDescription, SessionInfo, SlotInfo, TokenInfo,
};
use super::raw::RawCalls;
use crate::config::profile::Profile;

/// The information functions of a module (PKCS#11 3.1, sections 5.4 to 5.6).
#[derive(Clone, Copy)]
pub(super) struct InfoCalls<'a> {
    pub(super) pkcs11: &'a Pkcs11,
    pub(super) raw: Option<&'a RawCalls>,
    /// The family of the HSM, which has return values of its own.
    pub(super) profile: Profile,
}

impl InfoCalls<'_> {
    /// C_GetInfo
    pub(super) fn module(self) -> Result<ModuleDescription, Fault> {
        let read = match self.raw {
            Some(raw) => raw.module_info().map(|info| ModuleDescription::from(&info)),
            None => {
                let info = self.pkcs11.get_library_info().map_err(Fault::of);
                info.map(|info| ModuleDescription::from(&info))
            }
        };
        read.map_err(|fault| fault.of_profile(self.profile))
    }

    /// C_GetSlotList of slots with a token
    pub(super) fn slots_with_token(self) -> Result<Vec<Slot>, Fault> {
        let listed = match self.raw {
            Some(raw) => {
                let listed = raw.slots_with_token();
                listed.and_then(|all| all.into_iter().map(slot).collect())
            }
            None => self.pkcs11.get_slots_with_token().map_err(Fault::of),
        };
        listed.map_err(|fault| fault.of_profile(self.profile))
    }

    /// C_GetSlotInfo
    pub(super) fn slot(self, slot: Slot) -> Result<SlotInfo, Fault> {
        let read = match self.raw {
            Some(raw) => raw.slot_info(slot.id()).map(|info| SlotInfo::from(&info)),
            None => {
                let info = self.pkcs11.get_slot_info(slot).map_err(Fault::of);
                info.map(|info| SlotInfo::from(&info))
            }
        };
        read.map_err(|fault| fault.of_profile(self.profile))
    }

    /// C_GetTokenInfo
    pub(super) fn token(self, slot: Slot) -> Result<TokenInfo, Fault> {
        let read = match self.raw {
            Some(raw) => raw.token_info(slot.id()).map(|info| TokenInfo::from(&info)),
            None => {
                let info = self.pkcs11.get_token_info(slot).map_err(Fault::of);
                info.map(|info| TokenInfo::from(&info))
            }
        };
        read.map_err(|fault| fault.of_profile(self.profile))
    }

    /// C_GetMechanismList and C_GetMechanismInfo. A mechanism that the module does not know although it lists it is left out;
    /// one of which it says nothing else has no information.
    ///
    /// # Errors
    /// The list, or the device while a mechanism was asked for: a mechanism that an outage hides is not one that the token
    /// lacks.
    pub(super) fn mechanisms(
        self,
        slot: Slot,
    ) -> Result<Vec<(CK_MECHANISM_TYPE, Option<MechanismInfo>)>, Fault> {
        let of_profile = |fault: Fault| fault.of_profile(self.profile);
        let listed = match self.raw {
            Some(raw) => raw.mechanisms(slot.id()),
            None => {
                let listed = self.pkcs11.get_mechanism_list(slot).map_err(Fault::of);
                listed.map(|types| types.iter().map(|kind| **kind).collect())
            }
        };
        let mut entries = Vec::new();
        for kind in listed.map_err(of_profile)? {
            match self.mechanism(slot, kind).map_err(of_profile) {
                Ok(info) => entries.push((kind, Some(info))),
                Err(fault) if fault.is_mechanism_invalid() => {}
                Err(fault) if fault.is_of_one_request() => entries.push((kind, None)),
                Err(fault) => return Err(fault),
            }
        }
        Ok(entries)
    }

    fn mechanism(self, slot: Slot, kind: CK_MECHANISM_TYPE) -> Result<MechanismInfo, Fault> {
        if let Some(raw) = self.raw {
            let info = raw.mechanism_info(slot.id(), kind);
            return info.map(|info| MechanismInfo::from(&info));
        }
        let kind = MechanismType::try_from(kind).map_err(Fault::of)?;
        let info = self.pkcs11.get_mechanism_info(slot, kind);
        info.map(|info| MechanismInfo::from(&info))
            .map_err(Fault::of)
    }

    /// C_GetSessionInfo
    pub(super) fn session(
        self,
        session: &cryptoki::session::Session,
    ) -> Result<SessionInfo, Fault> {
        let read = match self.raw {
            Some(raw) => {
                let info = raw.session_info(session.handle());
                info.map(|info| SessionInfo::from(&info))
            }
            None => {
                let info = session.get_session_info().map_err(Fault::of);
                info.map(|info| SessionInfo::from(&info))
            }
        };
        read.map_err(|fault| fault.of_profile(self.profile))
    }
}

/// The slot with this number, which any CK_ULONG may be.
pub(super) fn slot(id: u64) -> Result<Slot, Fault> {
    Slot::try_from(id).map_err(Fault::of)
}
