//! The login session, which keeps the login for as long as the token is in use, and the further sessions.

use std::sync::Arc;

use super::fault::Fault;
use super::guard::{CountLow, LoggedIn};
use super::operation::TokenOperation;
use super::role::Role;
use super::session::{Access, Session};
use super::timeout::with_timeout;
use super::{Token, TokenError};
use crate::poison::IgnorePoison as _;

impl Token {
    /// Makes the keep-alive call in the login session: keeps an idle connection to the HSM open, and detects early that it
    /// was closed.
    pub(crate) fn keep_alive(&self) -> Result<(), Fault> {
        // A call of another thread may hang in that session: this thread must not wait for it.
        let Ok(login) = self.login_session.try_lock() else {
            return Ok(());
        };
        login.as_ref().map_or(Ok(()), Session::keep_alive)
    }

    /// Opens the login session, and logs in if the token requires it. The PIN flags of CK_TOKEN_INFO are read first, and
    /// no PIN is sent while one warns. Returns whether a login was required.
    ///
    /// # Errors
    /// No PIN was sent or the token refused it, or C_OpenSession failed.
    pub fn log_in(&self, role: Role) -> Result<bool, TokenError> {
        let required = self.requires_login();
        let login = self.login(role, required);
        let login_session = match self.guard.needs_operator() {
            // There is no timeout for an operator who types a PIN.
            true => login()?,
            false => with_timeout(TokenOperation::Login, self.start_timeout, login)?,
        };
        self.keep_login_session(login_session, required.then_some(role));
        Ok(required)
    }

    /// Writes the operator's acceptance of CKF_USER_PIN_COUNT_LOW for one login of a service without a terminal. No PIN is
    /// sent.
    ///
    /// # Errors
    /// The token reports another PIN flag too, it refused an earlier PIN of this source, the source has no PIN, or the
    /// acceptance cannot be written.
    pub fn accept_count_low(&self, role: Role) -> Result<CountLow, TokenError> {
        let (module, slot) = (Arc::clone(&self.module), self.slot);
        let kind = self.session_kind.clone();
        let guard = Arc::clone(&self.guard);
        with_timeout(TokenOperation::Token, self.start_timeout, move || {
            let session =
                Session::open(&module, slot, role.access(), &kind).map_err(TokenError::Call)?;
            let session = session.pkcs11().map_err(TokenError::Call)?;
            Ok(guard.accept_count_low(&session, role.user_type())?)
        })
    }

    /// [`Token::log_in`] without a timeout.
    pub(super) fn open_login_session(&self, role: Role) -> Result<(), TokenError> {
        let required = self.requires_login();
        let login_session = self.login(role, required)()?;
        self.keep_login_session(login_session, required.then_some(role));
        Ok(())
    }

    fn requires_login(&self) -> bool {
        self.login_scope
            .requires_login(self.description.login_required)
    }

    /// Opens a session and logs in if that is required. It is a closure, so that it can run with a timeout.
    fn login(
        &self,
        role: Role,
        required: bool,
    ) -> impl FnOnce() -> Result<Session, TokenError> + Send + use<> {
        let (module, slot) = (Arc::clone(&self.module), self.slot);
        let kind = self.session_kind.clone();
        let guard = Arc::clone(&self.guard);
        move || {
            let session =
                Session::open(&module, slot, role.access(), &kind).map_err(TokenError::Call)?;
            if required {
                let call = session.pkcs11().map_err(TokenError::Call)?;
                guard.log_in(&call, role.user_type())?;
            }
            Ok(session)
        }
    }

    /// `role` is `None` if the token required no login.
    fn keep_login_session(&self, session: Session, role: Option<Role>) {
        *self.login_session.lock().ignore_poison() = Some(session);
        *self.logged_in_role.lock().ignore_poison() = role;
    }

    /// Opens a further session. The login covers it, or, on a token whose logins are for one session, it gets one of its own,
    /// with the PIN that the token accepted before.
    ///
    /// # Errors
    /// C_OpenSession failed, or the login of this session.
    pub fn session(&self, access: Access) -> Result<Session, TokenError> {
        let session = Session::open(&self.module, self.slot, access, &self.session_kind)
            .map_err(TokenError::Call)?;
        let role = *self.logged_in_role.lock().ignore_poison();
        let Some(role) = role else {
            return Ok(session);
        };
        let in_login_session = |question: fn(&Session) -> bool| {
            // A call of another thread may hang in that session: this thread must not wait for it.
            let login = self.login_session.try_lock();
            login.is_ok_and(|login| login.as_ref().is_some_and(question))
        };
        match self.login_scope.wants_login(&session, in_login_session) {
            true => self.log_in_here(session, role),
            false => Ok(session),
        }
    }

    /// Logs in in a further session. With a timeout in a running engine too: where this login hangs, the guard makes no other,
    /// so that no more than one thread is left behind.
    fn log_in_here(&self, session: Session, role: Role) -> Result<Session, TokenError> {
        let guard = Arc::clone(&self.guard);
        let login = move || {
            let call = session.pkcs11().map_err(TokenError::Call)?;
            let logged_in = guard.log_in(&call, role.user_type())?;
            drop(call);
            Ok::<_, TokenError>((session, logged_in))
        };
        let (session, logged_in) = match self.guard.needs_operator() {
            true => login()?,
            false => with_timeout(TokenOperation::Login, self.start_timeout, login)?,
        };
        if logged_in == LoggedIn::Before {
            self.login_scope.was_logged_in();
        }
        Ok(session)
    }

    /// Whether each session needs a login of its own: as configured, or as it was seen in the first further session.
    pub fn logs_in_per_session(&self) -> bool {
        self.login_scope.is_per_session()
    }
}
