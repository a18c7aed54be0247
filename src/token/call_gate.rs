//! Counts the PKCS#11 calls in progress: C_Finalize and C_Initialize run only while there is none.
//!
//! C_Finalize during a call is undefined, and a reinitialised module numbers its sessions and objects from the beginning:
//! an old handle may be that of a new session. So each call is counted, each session knows its generation (the number of
//! reinitialisations before it was opened), and the module is reinitialised only when no call is in progress.

use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::poison::IgnorePoison as _;

/// How long a call waits while the module is reinitialised.
const ENTER_TIMEOUT: Duration = Duration::from_secs(10);

/// After a drain timed out, no further drain is attempted for this long while a PKCS#11 call is still in progress.
const DRAIN_COOLDOWN: Duration = Duration::from_secs(30);

/// A read-write lock with timeouts: it admits any number of PKCS#11 calls, or one reinitialisation.
#[derive(Debug, Default)]
pub(super) struct CallGate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct GateState {
    active_calls: usize,
    /// No new call is admitted: a reinitialisation waits for the calls in progress, or runs.
    closed: bool,
    generation: u64,
    last_reinitialized: Option<Instant>,
    /// When the last drain timed out; `None` if no call has been in progress at some time since.
    drain_timed_out: Option<Instant>,
}

/// A call in progress, until this is dropped.
#[derive(Debug)]
pub(super) struct ActiveCall<'a> {
    gate: &'a CallGate,
    generation: u64,
}

/// Why the module was not reinitialised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotReinitialized {
    /// Another thread has reinitialised it already.
    AlreadyDone,
    /// A call that was in progress has shown that the module works.
    Unneeded,
    /// The drain timed out: this number of calls is still in progress.
    CallsInProgress(usize),
}

impl CallGate {
    /// Begins a call; waits while the module is being reinitialised. `None`: the wait timed out.
    pub(super) fn enter(&self) -> Option<ActiveCall<'_>> {
        let (state, waited) = self
            .changed
            .wait_timeout_while(self.lock(), ENTER_TIMEOUT, |state| state.closed)
            .ignore_poison();
        if waited.timed_out() && state.closed {
            return None;
        }
        Some(self.begin_call(state))
    }

    /// Begins a call without a wait. `None`: the module is being reinitialised.
    pub(super) fn try_enter(&self) -> Option<ActiveCall<'_>> {
        let state = self.lock();
        if state.closed {
            return None;
        }
        Some(self.begin_call(state))
    }

    fn begin_call(&self, mut state: MutexGuard<'_, GateState>) -> ActiveCall<'_> {
        state.active_calls += 1;
        ActiveCall {
            gate: self,
            generation: state.generation,
        }
    }

    /// How many times the module was reinitialised: handles of an earlier generation are stale.
    pub(super) fn generation(&self) -> u64 {
        self.lock().generation
    }

    /// Admits no new call, waits for those in progress, at most for `drain_timeout`, and runs `reinitialize`, which begins a
    /// new generation. `generation` is the one whose handles failed. `min_interval` is the least time between two
    /// reinitialisations. `is_unneeded` is asked when the calls in progress have returned.
    pub(super) fn drain_and_run<T>(
        &self,
        generation: u64,
        min_interval: Duration,
        drain_timeout: Duration,
        is_unneeded: impl Fn() -> bool,
        reinitialize: impl FnOnce() -> T,
    ) -> Result<T, NotReinitialized> {
        let mut state = self.lock();
        let deadline = Instant::now() + drain_timeout + min_interval;
        loop {
            if Instant::now() >= deadline {
                return Err(NotReinitialized::CallsInProgress(state.active_calls));
            }
            if state.generation != generation {
                return Err(NotReinitialized::AlreadyDone);
            }
            // A drain blocks all other calls, so there must not be one after another because of a call that hangs.
            if state
                .drain_timed_out
                .is_some_and(|since| since.elapsed() < DRAIN_COOLDOWN)
            {
                return Err(NotReinitialized::CallsInProgress(state.active_calls));
            }
            let remaining = state.last_reinitialized.map_or(Duration::ZERO, |last| {
                min_interval.saturating_sub(last.elapsed())
            });
            let wait = match (state.closed, remaining.is_zero()) {
                (false, true) => break,
                (true, _) => drain_timeout,
                (false, false) => remaining,
            };
            (state, _) = self.changed.wait_timeout(state, wait).ignore_poison();
        }
        state.closed = true;
        let (mut state, waited) = self
            .changed
            .wait_timeout_while(state, drain_timeout, |state| state.active_calls > 0)
            .ignore_poison();
        let active_calls = state.active_calls;
        if waited.timed_out() && active_calls > 0 {
            state.drain_timed_out = Some(Instant::now());
        }
        drop(state);
        // Also when `reinitialize` panics.
        let _reopen = ReopenOnDrop(self);
        if waited.timed_out() && active_calls > 0 {
            return Err(NotReinitialized::CallsInProgress(active_calls));
        }
        if is_unneeded() {
            return Err(NotReinitialized::Unneeded);
        }
        let result = reinitialize();
        let mut state = self.lock();
        state.generation += 1;
        state.last_reinitialized = Some(Instant::now());
        Ok(result)
    }

    fn lock(&self) -> MutexGuard<'_, GateState> {
        self.state.lock().ignore_poison()
    }
}

struct ReopenOnDrop<'a>(&'a CallGate);

impl Drop for ReopenOnDrop<'_> {
    fn drop(&mut self) {
        self.0.lock().closed = false;
        self.0.changed.notify_all();
    }
}

impl ActiveCall<'_> {
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }
}

impl Drop for ActiveCall<'_> {
    fn drop(&mut self) {
        let mut state = self.gate.lock();
        state.active_calls -= 1;
        if state.active_calls == 0 {
            state.drain_timed_out = None;
            if state.closed {
                self.gate.changed.notify_all();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    const LONG: Duration = Duration::from_secs(10);

    #[test]
    fn no_call_is_in_progress_during_a_reinitialization() {
        let gate = CallGate::default();
        let (sender, receiver) = mpsc::channel();
        thread::scope(|scope| {
            let call = gate.enter().expect("it is open");
            let draining = scope.spawn(|| {
                gate.drain_and_run(
                    0,
                    Duration::ZERO,
                    LONG,
                    || false,
                    || {
                        assert!(gate.try_enter().is_none());
                        sender.send("done").expect("a test that listens");
                    },
                )
            });
            while gate.try_enter().is_some() {
                thread::yield_now();
            }
            assert!(receiver.try_recv().is_err(), "a call is in progress");
            drop(call);
            assert_eq!(draining.join().expect("no panic"), Ok(()));
        });
        assert_eq!(receiver.try_recv(), Ok("done"));
        assert_eq!(gate.enter().map(|call| call.generation()), Some(1));
        assert_eq!(
            gate.drain_and_run(0, Duration::ZERO, LONG, || false, || ()),
            Err(NotReinitialized::AlreadyDone)
        );
    }

    #[test]
    fn a_hanging_call_prevents_the_reinitialization_and_no_other_call() {
        let gate = CallGate::default();
        let hanging = gate.enter();
        let drained =
            gate.drain_and_run(0, Duration::ZERO, Duration::from_millis(1), || false, || ());
        assert_eq!(drained, Err(NotReinitialized::CallsInProgress(1)));
        assert!(gate.try_enter().is_some());
        assert_eq!(gate.generation(), 0);
        // Within the cooldown the gate is not even closed: the other calls go on.
        let started = Instant::now();
        let drained = gate.drain_and_run(0, Duration::ZERO, LONG, || false, || ());
        assert_eq!(drained, Err(NotReinitialized::CallsInProgress(1)));
        assert!(started.elapsed() < LONG);
        drop(hanging);
        assert_eq!(
            gate.drain_and_run(0, Duration::ZERO, LONG, || false, || ()),
            Ok(())
        );
    }
}
