//! An outage of the device, as each family's library shows it: which functions it answers by itself, what the others return,
//! and what is lost with it.

use std::sync::atomic::{AtomicBool, Ordering};

use cryptoki_sys::*;

use crate::words::{code_named, function_named};

/// What no library asks its device for.
const LOCAL: [&str; 7] = [
    "C_Initialize",
    "C_Finalize",
    "C_GetInfo",
    "C_GetSlotList",
    "C_GetSlotInfo",
    "C_CloseSession",
    "C_CloseAllSessions",
];

/// An outage was noticed by a call, and the sessions that it ended are not closed yet.
static SESSIONS_LOST: AtomicBool = AtomicBool::new(false);

/// An outage was noticed after which only C_Initialize helps.
static NEEDS_INITIALIZE: AtomicBool = AtomicBool::new(false);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct OutageRules {
    /// The device is not reachable now.
    is_on: bool,
    code: Option<CK_RV>,
    /// The codes of single functions.
    codes: Vec<(String, CK_RV)>,
    /// Functions that the library answers by itself.
    answered: Vec<String>,
    /// Each call is a request of its own: no session of the device's ends.
    keeps_sessions: bool,
    /// The token is in no slot, as a card that was drawn.
    hides_slot: bool,
    /// The library does not find the device again before the next C_Initialize.
    until_initialize: bool,
    /// The code of calls with a session that ended in an outage.
    lost_session: Option<CK_RV>,
}

impl OutageRules {
    /// Parses a line about outages; `false`: it is about something else.
    pub(crate) fn parse_line(&mut self, words: &[&str]) -> Result<bool, String> {
        match words {
            ["outage"] => self.is_on = true,
            ["outage-returns", code] => self.code = Some(code_named(code)?),
            ["outage-returns", code, function] => {
                let rule = (function_named(function)?, code_named(code)?);
                self.codes.push(rule);
            }
            ["outage-answers", function] => self.answered.push(function_named(function)?),
            ["outage-keeps-sessions"] => self.keeps_sessions = true,
            ["outage-hides-slot"] => self.hides_slot = true,
            ["outage-until-initialize"] => self.until_initialize = true,
            ["outage-lost-session", code] => self.lost_session = Some(code_named(code)?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The return value of this call, if the device would have to answer it and is not reachable.
    pub(crate) fn code(&self, function: &str) -> Option<CK_RV> {
        if self.is_on {
            SESSIONS_LOST.fetch_or(!self.keeps_sessions, Ordering::Relaxed);
            NEEDS_INITIALIZE.fetch_or(self.until_initialize, Ordering::Relaxed);
        } else if function == "C_Initialize" {
            NEEDS_INITIALIZE.store(false, Ordering::Relaxed);
        }
        let is_out = self.is_on || NEEDS_INITIALIZE.load(Ordering::Relaxed);
        let is_local = LOCAL.contains(&function) || self.answered.iter().any(|f| f == function);
        (is_out && !is_local).then(|| self.code_of(function))
    }

    fn code_of(&self, function: &str) -> CK_RV {
        let own = self.codes.iter().find(|(named, _)| named == function);
        let own = own.map(|(_, code)| *code);
        own.or(self.code).unwrap_or(CKR_DEVICE_ERROR)
    }

    /// Whether no slot shows the token now.
    pub(crate) fn hides_token(&self) -> bool {
        self.is_on && self.hides_slot
    }

    /// The code of a call with a session that ended in an outage, if it is not the wrapped module's.
    pub(crate) fn lost_session(&self) -> Option<CK_RV> {
        self.lost_session
    }

    /// Whether C_GetSessionInfo says of a session that ended in an outage what it was before.
    pub(crate) fn remembers_sessions(&self) -> bool {
        self.answered.iter().any(|name| name == "C_GetSessionInfo")
    }
}

/// Whether an outage has ended all sessions since this was last asked.
pub(crate) fn ended_sessions() -> bool {
    SESSIONS_LOST.swap(false, Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(text: &str) -> OutageRules {
        let mut rules = OutageRules::default();
        for line in text.lines() {
            let words: Vec<_> = line.split_whitespace().collect();
            assert_eq!(rules.parse_line(&words), Ok(true), "{line}");
        }
        rules
    }

    #[test]
    fn each_function_has_its_code() {
        let text = "outage-returns CKR_DEVICE_REMOVED\noutage-returns CKR_USER_TYPE_INVALID C_Login\n\
                    outage-answers C_OpenSession\noutage-keeps-sessions";
        let up = rules(text);
        assert_eq!(up.code("C_Sign"), None);
        let out = rules(&format!("{text}\noutage"));
        assert_eq!(out.code("C_Sign"), Some(CKR_DEVICE_REMOVED));
        assert_eq!(out.code("C_Login"), Some(CKR_USER_TYPE_INVALID));
        assert_eq!(out.code("C_OpenSession"), None);
        assert_eq!(out.code("C_GetSlotList"), None);
        assert!(OutageRules::default().parse_line(&["idle", "3ms"]) == Ok(false));
        assert!(
            OutageRules::default()
                .parse_line(&["outage-answers", "C_Sing"])
                .is_err()
        );
    }
}
