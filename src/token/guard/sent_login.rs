//! A login while C_Login is called: what is needed to record its outcome.

use cryptoki::session::UserType;

use super::attempt_file::PendingAttempt;
use super::pin_digest::PinDigest;
use crate::ledger::Operation;
use crate::token::pin::Pin;

/// The state of a login while C_Login is called, needed to record its outcome.
pub(super) struct SentLogin {
    pub(super) user: UserType,
    pub(super) pin: Option<Pin>,
    pub(super) digest: Option<PinDigest>,
    pub(super) attempt: Option<PendingAttempt>,
    pub(super) ledger_entry: Operation,
}
