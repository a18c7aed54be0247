//! What was seen of a module and its token, beyond what they say: which sessions and logins they need. For the report of
//! `token check`.

use serde::Serialize;

use super::Token;
use super::module::Module;

/// How the module is called.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ModuleCalls {
    /// Through the module's own function list; otherwise it keeps a state for each list (p11-kit), and cryptoki calls it.
    pub own_function_list: bool,
    /// C_LoginUser of PKCS#11 3.0 is there.
    pub login_user: bool,
}

/// What was learnt of the token since it was selected.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ObservedBehaviour {
    /// Every session is read-write: configured so, or read-only ones were refused.
    pub read_write_sessions: bool,
    /// A login is for its session only: configured so, or found out. `None`: the token had nothing yet to tell it by.
    pub login_per_session: Option<bool>,
    /// The name of the call that keeps an idle session alive.
    pub keep_alive_call: &'static str,
}

impl Module {
    /// How it is called.
    pub fn calls(&self) -> ModuleCalls {
        ModuleCalls {
            own_function_list: self.raw.is_some(),
            login_user: self.raw.as_ref().is_some_and(|raw| raw.has_login_user()),
        }
    }
}

impl Token {
    /// What was learnt of it.
    pub fn observed_behaviour(&self) -> ObservedBehaviour {
        ObservedBehaviour {
            read_write_sessions: self.session_kind.is_read_write(),
            login_per_session: self.login_scope.is_per_session_if_known(),
            keep_alive_call: self.session_kind.keep_alive_call().name(),
        }
    }
}
