//! Which sessions a login covers: all of the application, as the standard says (PKCS#11 3.1, section 5.6.8), or only the one
//! in which it was made (Nitrokey NetHSM).

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use cryptoki::object::{Attribute, ObjectClass};

use super::fault::{Fault, FaultClass};
use super::operation::{self, TokenOperation};
use super::session::Session;
use crate::config::LoginPolicy;

/// `login` of `[[token]]`, and what was learnt about this token. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct LoginScope {
    policy: LoginPolicy,
    learnt: Arc<AtomicU8>,
}

/// Nothing is known yet.
const UNKNOWN: u8 = 0;
/// A further session was logged in without a login of its own.
const APPLICATION: u8 = 1;
/// A further session was not.
const SESSION: u8 = 2;

impl LoginScope {
    pub(super) fn new(policy: LoginPolicy) -> Self {
        Self {
            policy,
            learnt: Arc::new(AtomicU8::new(match policy {
                LoginPolicy::PerSession => SESSION,
                LoginPolicy::Auto | LoginPolicy::Always | LoginPolicy::Never => UNKNOWN,
            })),
        }
    }

    /// Whether to log in, by `login` and CKF_LOGIN_REQUIRED.
    pub(super) fn requires_login(&self, flag: bool) -> bool {
        match self.policy {
            LoginPolicy::Auto => flag,
            LoginPolicy::Always | LoginPolicy::PerSession => true,
            LoginPolicy::Never => false,
        }
    }

    /// Whether each session needs a login of its own, as far as it is known.
    pub(super) fn is_per_session(&self) -> bool {
        self.learnt.load(Ordering::Relaxed) == SESSION
    }

    /// The same; `None` where nothing has told it yet.
    pub(super) fn is_per_session_if_known(&self) -> Option<bool> {
        match self.learnt.load(Ordering::Relaxed) {
            UNKNOWN => None,
            known => Some(known == SESSION),
        }
    }

    /// Whether `further` needs a login of its own, although there was one in another session. `in_login_session` asks that
    /// one the same question, where the answer of `further` alone may have two meanings.
    pub(super) fn wants_login(
        &self,
        further: &Session,
        in_login_session: impl Fn(fn(&Session) -> bool) -> bool,
    ) -> bool {
        match self.learnt.load(Ordering::Relaxed) {
            UNKNOWN => {}
            known => return known == SESSION,
        }
        let is_public = !further.logged_in();
        let seen = if is_public && in_login_session(Session::logged_in) {
            "C_GetSessionInfo says that it is not logged in"
        } else {
            match private_keys(further) {
                Found::NotLoggedIn => "it answered CKR_USER_NOT_LOGGED_IN",
                Found::None if in_login_session(|login| private_keys(login) == Found::Some) => {
                    "it shows no private key"
                }
                Found::Some => {
                    self.learnt.store(APPLICATION, Ordering::Relaxed);
                    return false;
                }
                // Not to be told from a token without keys; or the next call fails too, and says why.
                Found::None | Found::Unknown => return false,
            }
        };
        if self.learnt.swap(SESSION, Ordering::Relaxed) != SESSION {
            tracing::info!(
                "a login to this token is for one session, so each gets one of its own: a session was opened after the login, and {seen}"
            );
        }
        true
    }

    /// A session that was to have a login of its own had one already: CKR_USER_ALREADY_LOGGED_IN.
    pub(super) fn was_logged_in(&self) {
        if self.policy != LoginPolicy::PerSession {
            self.learnt.store(APPLICATION, Ordering::Relaxed);
        }
    }
}

/// What a session says of the token's private keys.
#[derive(PartialEq, Eq)]
enum Found {
    Some,
    None,
    /// CKR_USER_NOT_LOGGED_IN
    NotLoggedIn,
    /// The search failed otherwise.
    Unknown,
}

/// Searches the private keys, and ends the search after the first. A session that is not logged in shows none.
fn private_keys(session: &Session) -> Found {
    let template = [Attribute::Class(ObjectClass::PRIVATE_KEY)];
    let _step = operation::begin(TokenOperation::Key);
    let first = session.pkcs11().and_then(|call| {
        let mut found = call.iter_objects(&template).map_err(Fault::of)?;
        found.next().transpose().map_err(Fault::of)
    });
    match first {
        Ok(Some(_)) => Found::Some,
        Ok(None) => Found::None,
        Err(fault) if fault.class() == FaultClass::Login => Found::NotLoggedIn,
        Err(_) => Found::Unknown,
    }
}
