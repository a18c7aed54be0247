//! Records the outcome of a login, in the attempt file, in memory and in the ledger.

use std::sync::atomic::Ordering;

use cryptoki::session::UserType;

use super::PinGuard;
use super::error::PinError;
use super::pin_role::PinRole;
use super::retry_policy::Outcome;
use super::sent_login::SentLogin;
use crate::ledger::Completion;
use crate::token::fault::{Fault, LoginVerdict};

impl PinGuard {
    /// Records the outcome of a C_Login that returned CKR_OK.
    pub(super) fn conclude_success(&self, sent: SentLogin) -> Result<(), PinError> {
        if let Some(attempt) = sent.attempt {
            attempt.end(Outcome::Good, None);
            self.scope(PinRole::of(sent.user)).withdraw_acceptance();
        }
        if matches!(sent.user, UserType::ContextSpecific) {
            self.accepted_per_signature.store(true, Ordering::Relaxed);
        }
        self.accepted_pin.keep(sent.pin);
        Ok(sent.ledger_entry.finish(Completion::default())?)
    }

    /// Records the outcome of a C_Login that failed. Whether the PIN was refused depends on the return value.
    pub(super) fn conclude_failure(&self, sent: SentLogin, fault: Fault) -> PinError {
        sent.ledger_entry.fail(fault.failure());
        let per_signature = matches!(sent.user, UserType::ContextSpecific);
        if per_signature {
            // The next attempts are recorded in the attempt file again.
            self.accepted_per_signature.store(false, Ordering::Relaxed);
        }
        let verdict = fault.verdict_on_login();
        let is_recorded = sent.attempt.is_some();
        if let Some(attempt) = sent.attempt {
            attempt.end_failed(verdict, &fault);
        }
        if verdict != LoginVerdict::Refused {
            return match fault.is_no_login_by_name() && self.user_name.is_some() && !per_signature {
                true => PinError::NoUserNames(fault),
                false => PinError::Call(fault),
            };
        }
        self.accepted_pin.clear();
        if let (true, false, Some(pin)) = (per_signature, self.needs_operator(), &sent.pin) {
            if !is_recorded {
                self.scope(PinRole::PerSignature)
                    .record_refusal(&pin.version, &fault);
            }
            // A PIN that was refused for a signature is not sent for a login either.
            self.scope(self.login_role)
                .record_refusal(&pin.version, &fault);
        }
        if let Some(digest) = sent.digest {
            digest.add_refusal(fault.clone());
        }
        match sent.pin.and_then(|pin| pin.anomaly) {
            Some(anomaly) => PinError::RefusedOdd {
                fault,
                pin_source: self.source.clone(),
                anomaly,
            },
            None => PinError::Refused(fault),
        }
    }
}
