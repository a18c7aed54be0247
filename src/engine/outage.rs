//! An outage of the token: since when, why, and when the next recovery is due.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::EngineError;
use super::remedy::{Remedy, remedy};
use super::reported_error::ReportedError;
use crate::backoff::Backoff;
use crate::token::fault::{Clearance, DeviceState};
use crate::token::guard::PinError;

/// The delays between attempts to recover the token. A token that is back is found within the longest delay.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
/// The delays where each attempt is a C_Login, or where the device lacks something that other work has to give back.
const LOGIN_BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(5));
/// The delays between recoveries that succeed while the token does not sign: each is a C_Login with a PIN that is accepted,
/// so the longest delay is what applications wait for after the token signs again.
const LOST_AGAIN_BACKOFF: Backoff =
    Backoff::new(Duration::from_millis(250), Duration::from_millis(1500));
/// The delays in a state that a person has to end: nothing that a program does would end it.
const OPERATOR_BACKOFF: Backoff = Backoff::new(Duration::from_secs(5), Duration::from_secs(30));

/// The token's status in a health check.
#[derive(Clone, Debug, Default)]
pub(super) struct TokenStatus {
    pub(super) outage: Option<Outage>,
    /// The time of the last good signature.
    pub(super) last_signature: Option<Instant>,
}

/// An outage of the token.
#[derive(Clone, Debug)]
pub(super) struct Outage {
    /// RFC 3339
    pub(super) since: String,
    /// Why the last recovery failed; before the first, the loss itself if it names a state of the device.
    pub(super) last: Option<Arc<EngineError>>,
    /// The recoveries in vain since the last good signature.
    pub(super) in_vain: u32,
}

/// An outage, and when the next recovery is due.
#[derive(Clone, Debug)]
pub(super) struct PendingRecovery {
    pub(super) outage: Outage,
    pub(super) next_attempt: Instant,
    /// The consecutive failures: the backoff depends on them.
    pub(super) failures: u32,
    /// When the call that failed, or the last recovery, began. A signature of the module since then shows that it serves.
    pub(super) failed_since: Instant,
}

impl Outage {
    /// The error of signatures during the outage.
    pub(super) fn error(&self) -> EngineError {
        EngineError::TokenDown {
            since: self.since.clone(),
            last: self.last.clone(),
            in_vain: self.in_vain,
        }
    }

    /// What has to end it, if that is not the return of the device: then sessions and login may be as good as before.
    pub(super) fn lasting_state(&self) -> Option<Clearance> {
        lasting_state(self.last.as_deref()?)
    }
}

/// A state of the device that neither a login nor C_Initialize changes.
pub(super) fn lasting_state(error: &EngineError) -> Option<Clearance> {
    let clearance = error.state().map(DeviceState::clearance)?;
    (clearance != Clearance::Return).then_some(clearance)
}

/// The delay before the next recovery, after so many consecutive failures of which this is the last.
pub(super) fn delay_after(error: &EngineError, failures: u32) -> Duration {
    let backoff = match lasting_state(error) {
        Some(Clearance::Operator) => OPERATOR_BACKOFF,
        Some(_) => LOGIN_BACKOFF,
        // The login was good, and the key is not there: the next attempt logs in again.
        None if error.class() == "pin" || matches!(error, EngineError::Key(_)) => LOGIN_BACKOFF,
        None => BACKOFF,
    };
    backoff.delay(failures)
}

/// The delay before the recovery of a token that was lost again after so many recoveries without a signature in between:
/// each of them was a login.
pub(super) fn delay_after_recoveries(error: &EngineError, recoveries: u32) -> Duration {
    match lasting_state(error) {
        Some(_) => delay_after(error, recoveries),
        None => LOST_AGAIN_BACKOFF.delay(recoveries),
    }
}

/// The delay before the next attempt to open the key in a process that has none, where that failed for the token's sake.
pub(crate) fn delay_after_failed_start(error: &ReportedError, failures: u32) -> Duration {
    delay_after(&EngineError::Reported(Box::new(error.clone())), failures)
}

/// Whether a recovery that failed with this was one that a new process may succeed at: not where the device is in a state
/// that it stays in, or no PIN was sent.
pub(super) fn is_in_vain(error: &EngineError) -> bool {
    if let Some(state) = error.state().filter(|_| lasting_state(error).is_some()) {
        return !state.outlasts_process();
    }
    match error.pin() {
        Some(error) => matches!(error, PinError::Call(_)),
        None => remedy(error) == Remedy::RecoverToken,
    }
}

#[cfg(test)]
mod tests {
    use cryptoki::context::Function;
    use cryptoki::error::RvError;

    use super::*;
    use crate::token::TokenError;
    use crate::token::fault::Fault;

    #[test]
    fn no_new_process_is_wanted_for_a_state_that_outlasts_it() {
        for (code, in_vain) in [
            (RvError::DeviceMemory, false),
            (RvError::HostMemory, true),
            (RvError::DeviceRemoved, true),
            (RvError::DeviceError, true),
        ] {
            let fault = Fault::new(code, Function::GetTokenInfo);
            let text = fault.to_string();
            let error = EngineError::Token(TokenError::Call(fault));
            assert_eq!(is_in_vain(&error), in_vain, "{text}");
        }
    }
}
