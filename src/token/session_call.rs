//! A session in use: access to its PKCS#11 functions, for as long as the module must not be reinitialised.

use std::ops::Deref;

use cryptoki::context::Function;
use cryptoki::error::RvError;
use cryptoki::session::UserType;

use super::fault::Fault;
use super::info::{SessionInfo, TokenInfo};
use super::info_calls;
use super::module::ModuleCall;
use super::operation::{self, InProgress};
use super::raw::RawCalls;

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

    /// Whether the module has C_LoginUser.
    pub(super) fn has_login_user(&self) -> bool {
        self.call.raw().is_some_and(RawCalls::has_login_user)
    }

    /// C_LoginUser. Only the PIN guard calls it.
    pub(super) fn login_user(
        &self,
        user: UserType,
        pin: Option<&[u8]>,
        name: &str,
    ) -> Result<(), Fault> {
        match self.call.raw() {
            Some(raw) => raw.login_user(self.session.handle(), user, pin, name),
            None => Err(Fault::new(
                RvError::FunctionNotSupported,
                Function::LoginUser,
            )),
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
