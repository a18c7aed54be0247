//! A session in use: access to its PKCS#11 functions, for as long as the module must not be reinitialised.

use std::ops::Deref;

use super::fault::Fault;
use super::info::{SessionInfo, TokenInfo};
use super::info_calls;
use super::module::ModuleCall;
use super::operation::{self, InProgress};

/// A session in use; the module is not reinitialised while this exists.
#[derive(Debug)]
pub(crate) struct SessionCall<'a> {
    session: &'a cryptoki::session::Session,
    call: ModuleCall<'a>,
    _step: Option<InProgress>,
}

impl Deref for SessionCall<'_> {
    type Target = cryptoki::session::Session;

    fn deref(&self) -> &cryptoki::session::Session {
        self.session
    }
}

impl<'a> SessionCall<'a> {
    pub(super) fn new(session: &'a cryptoki::session::Session, call: ModuleCall<'a>) -> Self {
        Self {
            session,
            call,
            _step: operation::begin_call(),
        }
    }

    /// The token's current CK_TOKEN_INFO.
    pub(super) fn token_info(&self) -> Result<TokenInfo, Fault> {
        let slot = info_calls::slot(self.info()?.slot())?;
        self.call.information().token(slot)
    }

    /// The session's current CK_SESSION_INFO.
    pub(super) fn info(&self) -> Result<SessionInfo, Fault> {
        self.call.information().session(self.session)
    }
}
