//! One thread after the other, each with a bounded wait: a process that was stopped in the middle of
//! a record holds its lock, and must not hold our threads for longer than they can wait.

use std::fs::{File, TryLockError};
use std::io;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::poison::IgnorePoison as _;

/// There is no wait for the lock of a file with a time limit: it is asked for again.
const ASK_AGAIN: Duration = Duration::from_micros(50);

/// Nor one for the end of a thread.
const ENDED: Duration = Duration::from_millis(1);

/// What one thread at a time has.
#[derive(Debug)]
pub(super) struct Turn<T> {
    slot: Mutex<Option<T>>,
    free: Condvar,
}

/// It is this thread's turn, until this is dropped.
#[derive(Debug)]
pub(super) struct Taken<'a, T> {
    turn: &'a Turn<T>,
    value: Option<T>,
}

impl<T> Turn<T> {
    pub(super) fn new(value: T) -> Self {
        Self {
            slot: Mutex::new(Some(value)),
            free: Condvar::new(),
        }
    }

    /// Waits for the turn. `None`: it did not come until then.
    pub(super) fn take(&self, until: Instant) -> Option<Taken<'_, T>> {
        let patience = until.saturating_duration_since(Instant::now());
        let (mut slot, _) = self
            .free
            .wait_timeout_while(self.lock(), patience, |slot| slot.is_none())
            .ignore_poison();
        slot.take().map(|value| Taken {
            turn: self,
            value: Some(value),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Option<T>> {
        // It is there or not: there is no state in between.
        self.slot.lock().ignore_poison()
    }
}

impl<T> Deref for Taken<'_, T> {
    type Target = T;

    #[expect(clippy::expect_used, reason = "it is taken out in the drop alone")]
    fn deref(&self) -> &T {
        self.value.as_ref().expect("held until the drop")
    }
}

impl<T> DerefMut for Taken<'_, T> {
    #[expect(clippy::expect_used, reason = "it is taken out in the drop alone")]
    fn deref_mut(&mut self) -> &mut T {
        self.value.as_mut().expect("held until the drop")
    }
}

impl<T> Drop for Taken<'_, T> {
    fn drop(&mut self) {
        *self.turn.lock() = self.value.take();
        self.turn.free.notify_one();
    }
}

/// The lock of a file, among processes. It belongs to the open file, of which there may be copies:
/// so letting go is said, and not left to a close.
#[derive(Debug)]
pub(super) struct Locked(Arc<File>);

impl Locked {
    /// Waits for the lock. `None`: another process had it until then.
    pub(super) fn wait(file: &Arc<File>, until: Instant) -> io::Result<Option<Self>> {
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Some(Self(Arc::clone(file)))),
                Err(TryLockError::Error(error)) => return Err(error),
                Err(TryLockError::WouldBlock) if Instant::now() >= until => return Ok(None),
                Err(TryLockError::WouldBlock) => thread::park_timeout(ASK_AGAIN),
            }
        }
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        // Where that fails, the close of the file does it.
        let _ = self.0.unlock();
    }
}

/// Waits for a thread, for so long; says whether it has ended. What hangs in the system is left to
/// itself.
pub(super) fn ended(thread: JoinHandle<()>, patience: Duration) -> bool {
    let until = Instant::now() + patience;
    while !thread.is_finished() {
        if Instant::now() >= until {
            return false;
        }
        thread::park_timeout(ENDED);
    }
    // A panic there has been told of.
    let _ = thread.join();
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_in_vain_is_told_in_time() {
        let turn = Turn::new(7);
        let soon = || Instant::now() + Duration::from_millis(20);
        let mut taken = turn.take(soon()).expect("nobody has it");
        *taken += 1;
        let asked = Instant::now();
        assert!(turn.take(soon()).is_none());
        assert!(asked.elapsed() >= Duration::from_millis(20));
        drop(taken);
        assert_eq!(turn.take(soon()).map(|taken| *taken), Some(8));
    }
}
