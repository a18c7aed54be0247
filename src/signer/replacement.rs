//! The replacement of a signer process that cannot recover its token: some modules keep a broken state through
//! C_Finalize and C_Initialize, and only a new process is without it.
//!
//! The process reports the outage to its supervisor, which ends it and passes the outage to the next one. So requests and
//! health checks are answered with the outage all the time. Each process waits longer than the one before until it has
//! itself replaced: an HSM that is away for hours costs a process each few minutes. Meanwhile it goes on with its own
//! recovery.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::backoff::Backoff;
use crate::engine::{MAX_RECOVERIES_IN_VAIN, TokenOutage};
use crate::log_target;

/// The least age of a process that is replaced, by the number of those before it that were replaced in the same outage.
/// The first is replaced as soon as its recovery was in vain.
const MIN_AGE: Backoff = Backoff::new(Duration::from_secs(10), Duration::from_secs(300));

/// The outage that a signer process could not end, for the process that replaces it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct InheritedOutage {
    pub(super) outage: TokenOutage,
    /// The consecutive processes that were replaced in this outage.
    pub(super) processes: u32,
}

/// What a signer process inherits from those before it under the same supervisor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Predecessors {
    /// The processes that were replaced since the supervisor's start.
    pub(super) replaced: u32,
    /// The outage that the last of them was replaced in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) outage: Option<InheritedOutage>,
}

/// Decides when this process is to be replaced.
#[derive(Debug)]
pub(super) struct Replacement {
    started: Instant,
    predecessors: u32,
    said: AtomicBool,
}

impl Replacement {
    pub(super) fn new(inherited: Option<&InheritedOutage>) -> Self {
        Self {
            started: Instant::now(),
            predecessors: inherited.map_or(0, |inherited| inherited.processes),
            said: AtomicBool::new(false),
        }
    }

    /// Whether it is time, after so many recoveries in vain.
    pub(super) fn is_due(&self, in_vain: u32, has_signed: bool) -> bool {
        in_vain >= MAX_RECOVERIES_IN_VAIN
            && self.started.elapsed() >= MIN_AGE.delay(self.predecessors_of(has_signed))
    }

    /// The outage as the next process inherits it.
    pub(super) fn inheritance(&self, outage: TokenOutage, has_signed: bool) -> InheritedOutage {
        InheritedOutage {
            outage,
            processes: self.predecessors_of(has_signed).saturating_add(1),
        }
    }

    /// Logs, once, that this process is not replaced because the next would ask a person for the PIN.
    pub(super) fn log_that_a_person_is_needed(&self) {
        if !self.said.swap(true, Ordering::Relaxed) {
            tracing::error!(
                target: log_target::SIGNER_SERVICE,
                "only a new process may help, and none is started by itself, because it would need a person for the PIN: \
                 restart this program when somebody is there"
            );
        }
    }

    /// A process that has signed ended the outage of those before it.
    fn predecessors_of(&self, has_signed: bool) -> u32 {
        match has_signed {
            true => 0,
            false => self.predecessors,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ReportedError;

    fn outage() -> TokenOutage {
        TokenOutage {
            since: "2026-01-02T03:04:05Z".to_owned(),
            error: ReportedError {
                message: "the token is down".to_owned(),
                hint: "wait".to_owned(),
                class: "token-down".to_owned(),
                exit: 3,
                transient: true,
                device_state: None,
            },
        }
    }

    #[test]
    fn the_first_process_is_replaced_at_once_and_each_further_one_later() {
        let first = Replacement::new(None);
        assert!(!first.is_due(MAX_RECOVERIES_IN_VAIN - 1, false));
        assert!(first.is_due(MAX_RECOVERIES_IN_VAIN, false));
        let inherited = first.inheritance(outage(), false);
        assert_eq!(inherited.processes, 1);
        let mut second = Replacement::new(Some(&inherited));
        assert!(!second.is_due(u32::MAX, false), "it is too young");
        assert_eq!(second.inheritance(outage(), false).processes, 2);
        second.started = Instant::now()
            .checked_sub(Duration::from_secs(10))
            .expect("a machine that was started earlier");
        assert!(second.is_due(MAX_RECOVERIES_IN_VAIN, false));
        // One that has signed is the first of another outage.
        assert_eq!(second.inheritance(outage(), true).processes, 1);
        assert_eq!(MIN_AGE.delay(u32::MAX), Duration::from_secs(300));
    }
}
