//! Which token is in the slot at the moment of a login: the one that was selected, by what names it.

use super::PinGuard;
use super::attempt_file::AttemptScope;
use super::error::PinError;
use crate::config::TokenIdentity;
use crate::token::description::{TokenId, token_id};
use crate::token::fault::Fault;
use crate::token::info::TokenInfo;
use crate::token::session_call::SessionCall;

impl PinGuard {
    /// The token's current CK_TOKEN_INFO. It is an error if slots were renumbered since the token was selected.
    pub(super) fn token_info(
        &self,
        session: &SessionCall<'_>,
        consequence: &str,
    ) -> Result<TokenInfo, PinError> {
        let info = session.token_info().map_err(PinError::Call)?;
        if id_of(self.identity, &info) != self.token {
            return Err(PinError::Call(Fault::answer(format!(
                "another token is in this slot now; {consequence}"
            ))));
        }
        Ok(info)
    }

    /// Checks that the PIN was not refused while the whole of CK_TOKEN_INFO named the token: a change of `identity` in the
    /// configuration does not give a wrong PIN another try.
    pub(super) fn check_full_identity(
        &self,
        scope: AttemptScope<'_>,
        info: &TokenInfo,
        version: Option<&str>,
    ) -> Result<(), PinError> {
        let token = &id_of(TokenIdentity::LabelAndSerial, info);
        match version {
            Some(version) if *token != self.token => {
                AttemptScope { token, ..scope }.check_refusals(version)
            }
            // Nobody but an operator is asked for a PIN without a version.
            _ => Ok(()),
        }
    }
}

fn id_of(identity: TokenIdentity, info: &TokenInfo) -> TokenId {
    token_id(
        identity,
        info.label(),
        info.serial_number(),
        info.manufacturer_id(),
    )
}
