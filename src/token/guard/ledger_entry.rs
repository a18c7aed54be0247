//! The ledger entry of a login.

use cryptoki::session::UserType;

use super::acceptance::Acceptance;
use crate::config::pin::PinSource;
use crate::ledger::{Entry, LedgerError, Login, Operation, Process, Recorder};
use crate::token::description::TokenDescription;

/// Records logins to one token in the ledger.
#[derive(Clone, Debug)]
pub(in crate::token) struct LoginRecorder {
    recorder: Recorder,
    /// The token's URI.
    token: String,
}

impl LoginRecorder {
    pub(in crate::token) fn of_token(recorder: &Recorder, token: &TokenDescription) -> Self {
        Self {
            recorder: recorder.clone(),
            token: token.uri().to_string(),
        }
    }

    /// Records that C_Login is about to be called. The context-specific login of CKA_ALWAYS_AUTHENTICATE has no entry
    /// of its own: it is part of its signature's.
    pub(super) fn begin(
        &self,
        user: UserType,
        user_name: Option<&str>,
        source: &PinSource,
        acceptance: Option<&Acceptance>,
    ) -> Result<Operation, LedgerError> {
        let role = match user {
            UserType::ContextSpecific => return Ok(Operation::unrecorded()),
            UserType::User => "user".to_owned(),
            UserType::So => "security-officer".to_owned(),
            UserType::VendorExtension(number) => number.to_string(),
        };
        self.recorder.begin(&Entry::Login(Login {
            token: &self.token,
            role: &role,
            user_name,
            pin_source: &source.to_string(),
            accepted: acceptance.map(Acceptance::on_ledger),
            process: Process::current(),
        }))
    }
}
