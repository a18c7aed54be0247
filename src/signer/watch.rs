//! The signer's signs of life: a thread of its own that does nothing else, so that a module that
//! hangs cannot keep it from saying so.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::retry_on_intr;
use rustix::net::{RecvFlags, recv};

use super::handover::{Sign, say};
use super::supervisor::timespec;

/// How often it looks, and says that all is well.
const LOOK: Duration = Duration::from_millis(250);

/// How long a call may go on after its caller has gone, at the least: an HSM that is slow for a moment
/// is no reason to log in anew.
const LEAST_PATIENCE: Duration = Duration::from_secs(1);

/// What is being done, and until when somebody waits for it.
#[derive(Debug)]
pub(super) struct Calls {
    began: Instant,
    patience: Duration,
    // Milliseconds after `began`; 0 where nothing is done.
    deadlines: Vec<AtomicU64>,
    wedged: AtomicBool,
}

/// A call that is being made; over when this is dropped.
pub(super) struct Call<'a>(&'a AtomicU64);

impl Calls {
    /// `callers` may each make one call at a time. `timeout` is what one takes at the most.
    pub(super) fn new(callers: usize, timeout: Duration) -> Self {
        Self {
            began: Instant::now(),
            patience: timeout.max(LEAST_PATIENCE),
            deadlines: (0..callers).map(|_| AtomicU64::new(0)).collect(),
            wedged: AtomicBool::new(false),
        }
    }

    /// This caller begins something that somebody waits for until `deadline`.
    pub(super) fn begin(&self, caller: usize, deadline: Instant) -> Option<Call<'_>> {
        let until = deadline.saturating_duration_since(self.began);
        let slot = self.deadlines.get(caller)?;
        slot.store((until.as_millis() as u64).max(1), Ordering::Relaxed);
        Some(Call(slot))
    }

    /// Nothing but the end of this process helps.
    pub(super) fn wedge(&self) {
        self.wedged.store(true, Ordering::Relaxed);
    }

    fn hang(&self, now: Instant) -> bool {
        let now = now.saturating_duration_since(self.began);
        let late = |slot: &AtomicU64| {
            let deadline = Duration::from_millis(slot.load(Ordering::Relaxed));
            !deadline.is_zero() && now >= deadline + self.patience
        };
        self.wedged.load(Ordering::Relaxed) || self.deadlines.iter().any(late)
    }

    /// Says how it is until the supervisor has gone, or says that it is enough.
    pub(super) fn watch(&self, control: &OwnedFd) {
        loop {
            let sign = match self.hang(Instant::now()) {
                true => Sign::Wedged,
                false => Sign::Alive,
            };
            // Who does not listen has gone, or has heard enough.
            let _ = say(control, &sign);
            let mut fds = [PollFd::new(control, PollFlags::IN)];
            let said = retry_on_intr(|| poll(&mut fds, Some(&timespec(LOOK))));
            if said == Ok(0) {
                continue;
            }
            let mut word = [0; 1];
            match retry_on_intr(|| recv(control, &mut word, RecvFlags::DONTWAIT)) {
                // Nothing is said in this direction.
                Ok((1, _)) => {}
                _ => return,
            }
        }
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_hangs_when_nobody_waits_for_it_any_more() {
        let calls = Calls::new(2, Duration::from_secs(3));
        let deadline = Instant::now() + Duration::from_secs(5);
        let second = Duration::from_secs(1);
        let call = calls.begin(1, deadline);
        assert!(!calls.hang(deadline));
        assert!(!calls.hang(deadline + 2 * second));
        assert!(calls.hang(deadline + 4 * second));
        drop(call);
        assert!(!calls.hang(deadline + 4 * second));
        assert!(calls.begin(2, deadline).is_none());
        calls.wedge();
        assert!(calls.hang(Instant::now()));
    }
}
