//! The signer's heartbeat to its supervisor, and its time limits. A thread of the signer that does nothing else sends it,
//! so it also reports a PKCS#11 call that hangs.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::retry_on_intr;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::fd_passing::MAX_MESSAGE_LEN;
use super::replacement::InheritedOutage;
use super::timespec;
use crate::poison::IgnorePoison as _;
use crate::token::TokenOperation;
use crate::token::operation;

/// The interval between heartbeats.
const INTERVAL: Duration = Duration::from_millis(250);

/// The supervisor kills a signer that has sent no heartbeat for this long, and for [`GRACE`] after that: 20 missed ones.
pub(super) const TIMEOUT: Duration = Duration::from_secs(5);

/// An extension of [`TIMEOUT`]. A suspend of the machine uses up the timeout, and the signer's next heartbeat follows it.
pub(super) const GRACE: Duration = Duration::from_secs(1);

/// The least time that a call may go on after its deadline before it counts as hung: an HSM that is slow for a moment
/// is no reason for another login.
const MIN_OVERRUN: Duration = Duration::from_secs(1);

/// What a signer tells its supervisor: a message on the control socket, of one byte, or of a byte and an outage in JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Heartbeat {
    /// No call hangs.
    Alive,
    /// A call hangs: only the end of the process ends it.
    Hung,
    /// A step with the token begins. Should the module end the process, it is known where.
    Step(TokenOperation),
    /// The token cannot be recovered in this process: another is to take its place.
    Replace(Box<InheritedOutage>),
    /// A PIN file was replaced: another process is to try what it has, while this one goes on.
    NewPin,
}

/// The byte of the first step.
const FIRST_STEP: u8 = b'A';

/// The signer's end of the control socket, for [`tell_steps`].
static CONTROL: OnceLock<OwnedFd> = OnceLock::new();

/// From now on each step of this process with the token is told on `control`.
pub(super) fn tell_steps(control: &OwnedFd) -> io::Result<()> {
    // Another is there already: a process has one supervisor.
    let _ = CONTROL.set(control.try_clone()?);
    operation::observe(|step| {
        if let (Some(step), Some(control)) = (step, CONTROL.get()) {
            // Where this fails, the supervisor has ended, or has unread bytes enough.
            let _ = Heartbeat::Step(step).send(control);
        }
    });
    Ok(())
}

impl Heartbeat {
    fn send(&self, control: &OwnedFd) -> io::Result<()> {
        let message = match self {
            Self::Alive => vec![b'.'],
            Self::Hung => vec![b'!'],
            Self::NewPin => vec![b'?'],
            Self::Step(step) => vec![FIRST_STEP + *step as u8],
            // Serialisation of strings and numbers does not fail.
            Self::Replace(outage) => [
                b">".to_vec(),
                serde_json::to_vec(outage).unwrap_or_default(),
            ]
            .concat(),
        };
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        retry_on_intr(|| send(control, &message, flags))?;
        Ok(())
    }

    /// Receives the next heartbeat; `None` if the signer has ended or sent anything else.
    pub(super) fn receive(control: &OwnedFd) -> Option<Self> {
        let mut message = Vec::with_capacity(MAX_MESSAGE_LEN);
        retry_on_intr(|| recv(control, spare_capacity(&mut message), RecvFlags::empty())).ok()?;
        match message.as_slice() {
            b"." => Some(Self::Alive),
            b"!" => Some(Self::Hung),
            b"?" => Some(Self::NewPin),
            [b'>', json @ ..] => serde_json::from_slice(json).ok().map(Self::Replace),
            [byte] => {
                let number = byte.checked_sub(FIRST_STEP)?;
                TokenOperation::of(number).map(Self::Step)
            }
            _ => None,
        }
    }
}

/// The calls in progress, and the deadline of each.
#[derive(Debug)]
pub(super) struct CallDeadlines {
    origin: Instant,
    overrun: Duration,
    // Milliseconds after `origin`; 0 if no call is in progress.
    deadlines: Vec<AtomicU64>,
    hung: AtomicBool,
    /// To be sent once.
    replacement: Mutex<Option<Box<InheritedOutage>>>,
    /// To be sent once.
    new_pin: AtomicBool,
}

/// A call in progress; it ends when this is dropped.
pub(super) struct CallInProgress<'a>(&'a AtomicU64);

impl CallDeadlines {
    /// For `callers`, each of which makes one call at a time. A call may exceed its deadline by `timeout`.
    pub(super) fn new(callers: usize, timeout: Duration) -> Self {
        Self {
            origin: Instant::now(),
            overrun: timeout.max(MIN_OVERRUN),
            deadlines: (0..callers).map(|_| AtomicU64::new(0)).collect(),
            hung: AtomicBool::new(false),
            replacement: Mutex::new(None),
            new_pin: AtomicBool::new(false),
        }
    }

    /// Records that this caller begins a call with a deadline. `None`: there is no such caller.
    pub(super) fn begin(&self, caller: usize, deadline: Instant) -> Option<CallInProgress<'_>> {
        let until = deadline.saturating_duration_since(self.origin);
        let slot = self.deadlines.get(caller)?;
        slot.store((until.as_millis() as u64).max(1), Ordering::Relaxed);
        Some(CallInProgress(slot))
    }

    /// Reports the process as hung in each heartbeat from now on, so that the supervisor kills it.
    pub(super) fn mark_hung(&self) {
        self.hung.store(true, Ordering::Relaxed);
    }

    /// Has the supervisor replace this process with the next heartbeat.
    pub(super) fn request_replacement(&self, outage: InheritedOutage) {
        *self.replacement.lock().ignore_poison() = Some(Box::new(outage));
    }

    /// Tells the supervisor with the next heartbeat that a PIN file was replaced.
    pub(super) fn tell_of_new_pin(&self) {
        self.new_pin.store(true, Ordering::Relaxed);
    }

    fn is_hung(&self, now: Instant) -> bool {
        let now = now.saturating_duration_since(self.origin);
        let exceeded = |slot: &AtomicU64| {
            let deadline = Duration::from_millis(slot.load(Ordering::Relaxed));
            !deadline.is_zero() && now >= deadline + self.overrun
        };
        self.hung.load(Ordering::Relaxed) || self.deadlines.iter().any(exceeded)
    }

    /// Sends heartbeats until the supervisor has ended or closed its side.
    pub(super) fn send_heartbeats(&self, control: &OwnedFd) {
        loop {
            let replacement = self.replacement.lock().ignore_poison().take();
            let heartbeat = match (replacement, self.is_hung(Instant::now())) {
                (Some(outage), _) => Heartbeat::Replace(outage),
                (None, true) => Heartbeat::Hung,
                (None, false) if self.new_pin.swap(false, Ordering::Relaxed) => Heartbeat::NewPin,
                (None, false) => Heartbeat::Alive,
            };
            // Where this fails, the supervisor has ended, or has unread heartbeats enough.
            match (heartbeat.send(control), heartbeat) {
                (Err(_), Heartbeat::Replace(outage)) => self.request_replacement(*outage),
                (Err(_), Heartbeat::NewPin) => self.tell_of_new_pin(),
                _ => {}
            }
            let mut fds = [PollFd::new(control, PollFlags::IN)];
            let ready = retry_on_intr(|| poll(&mut fds, Some(&timespec(INTERVAL))));
            if ready == Ok(0) {
                continue;
            }
            let mut byte = [0; 1];
            match retry_on_intr(|| recv(control, &mut byte, RecvFlags::DONTWAIT)) {
                // A supervisor sends nothing here; a byte is ignored.
                Ok((1, _)) => {}
                _ => return,
            }
        }
    }
}

impl Drop for CallInProgress<'_> {
    fn drop(&mut self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_hung_when_it_exceeds_its_deadline_by_the_timeout() {
        let calls = CallDeadlines::new(2, Duration::from_secs(3));
        let deadline = Instant::now() + Duration::from_secs(5);
        let second = Duration::from_secs(1);
        let call = calls.begin(1, deadline);
        assert!(!calls.is_hung(deadline));
        assert!(!calls.is_hung(deadline + 2 * second));
        assert!(calls.is_hung(deadline + 4 * second));
        drop(call);
        assert!(!calls.is_hung(deadline + 4 * second));
        assert!(calls.begin(2, deadline).is_none());
        calls.mark_hung();
        assert!(calls.is_hung(Instant::now()));
    }
}
