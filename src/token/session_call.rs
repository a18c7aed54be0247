//! A session in use: access to its PKCS#11 functions, for as long as the module must not be reinitialised.

use std::ops::Deref;

use cryptoki::slot::TokenInfo;

use super::fault::Fault;
use super::module::ModuleCall;

/// A session in use; the module is not reinitialised while this exists.
#[derive(Debug)]
pub(crate) struct SessionCall<'a> {
    session: &'a cryptoki::session::Session,
    call: ModuleCall<'a>,
}

impl Deref for SessionCall<'_> {
    type Target = cryptoki::session::Session;

    fn deref(&self) -> &cryptoki::session::Session {
        self.session
    }
}

impl<'a> SessionCall<'a> {
    pub(super) fn new(session: &'a cryptoki::session::Session, call: ModuleCall<'a>) -> Self {
        Self { session, call }
    }

    /// The token's current CK_TOKEN_INFO.
    pub(super) fn token_info(&self) -> Result<TokenInfo, Fault> {
        let session = self.session.get_session_info().map_err(Fault::of)?;
        self.call
            .get_token_info(session.slot_id())
            .map_err(Fault::of)
    }
}
