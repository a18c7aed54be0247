//! Locks with a deadline: a mutex among this process's threads, and a file lock (flock(2)) among processes. A process
//! that was stopped (SIGSTOP) while it wrote a record still holds the file lock, and must not block other processes'
//! threads without limit.

use std::fs::{File, TryLockError};
use std::io;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::poison::IgnorePoison as _;
use crate::polling::poll_until;

/// The timeout of both locks: the mutex among threads and the file lock among processes.
pub(super) const LOCK_TIMEOUT: Duration = Duration::from_secs(1);

/// How often a file lock is polled: flock(2) has no timeout.
const LOCK_POLL_INTERVAL: Duration = Duration::from_micros(50);

/// How often the end of a thread is polled: a join has no timeout.
const JOIN_POLL_INTERVAL: Duration = Duration::from_millis(1);

/// A mutex whose lock operation has a deadline.
#[derive(Debug)]
pub(super) struct TimedMutex<T> {
    /// `None` while a thread holds the value.
    slot: Mutex<Option<T>>,
    released: Condvar,
}

/// Exclusive access to the value of a [`TimedMutex`], until this is dropped.
#[derive(Debug)]
pub(super) struct TimedMutexGuard<'a, T> {
    mutex: &'a TimedMutex<T>,
    value: Option<T>,
}

impl<T> TimedMutex<T> {
    pub(super) fn new(value: T) -> Self {
        Self {
            slot: Mutex::new(Some(value)),
            released: Condvar::new(),
        }
    }

    /// Locks the mutex. `None`: another thread held it until the deadline.
    pub(super) fn lock_until(&self, deadline: Instant) -> Option<TimedMutexGuard<'_, T>> {
        let timeout = deadline.saturating_duration_since(Instant::now());
        let (mut slot, _) = self
            .released
            .wait_timeout_while(self.slot(), timeout, |slot| slot.is_none())
            .ignore_poison();
        slot.take().map(|value| TimedMutexGuard {
            mutex: self,
            value: Some(value),
        })
    }

    fn slot(&self) -> MutexGuard<'_, Option<T>> {
        // The slot is full or empty; a panic leaves no state in between.
        self.slot.lock().ignore_poison()
    }
}

impl<T> Deref for TimedMutexGuard<'_, T> {
    type Target = T;

    #[expect(clippy::expect_used, reason = "only the drop takes the value out")]
    fn deref(&self) -> &T {
        self.value.as_ref().expect("held until the drop")
    }
}

impl<T> DerefMut for TimedMutexGuard<'_, T> {
    #[expect(clippy::expect_used, reason = "only the drop takes the value out")]
    fn deref_mut(&mut self) -> &mut T {
        self.value.as_mut().expect("held until the drop")
    }
}

impl<T> Drop for TimedMutexGuard<'_, T> {
    fn drop(&mut self) {
        *self.mutex.slot() = self.value.take();
        self.mutex.released.notify_one();
    }
}

/// The exclusive file lock (flock(2)). It belongs to the open file description, of which a forked process may have
/// inherited a duplicate: so it is released explicitly, not by closing the file.
#[derive(Debug)]
pub struct FileLock(Arc<File>);

impl FileLock {
    /// Acquires the lock. `None`: another process held it until the deadline.
    ///
    /// # Errors
    /// The operating system gives no locks for this file.
    pub fn acquire_until(file: &Arc<File>, deadline: Instant) -> io::Result<Option<Self>> {
        let attempt = || Self::try_acquire(file).transpose();
        poll_until(deadline, LOCK_POLL_INTERVAL, attempt).transpose()
    }

    /// Takes the lock without waiting. `None`: another process holds it.
    ///
    /// # Errors
    /// The operating system gives no locks for this file.
    pub(crate) fn try_acquire(file: &Arc<File>) -> io::Result<Option<Self>> {
        match file.try_lock() {
            Ok(()) => Ok(Some(Self(Arc::clone(file)))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        // If this fails, closing the file releases the lock.
        let _ = self.0.unlock();
    }
}

/// Waits for a thread to end, up to a timeout, and returns whether it has ended. A thread that hangs in a system
/// call is abandoned.
pub(super) fn join_timeout(thread: JoinHandle<()>, timeout: Duration) -> bool {
    let deadline = Instant::now() + timeout;
    let finished = || thread.is_finished().then_some(());
    if poll_until(deadline, JOIN_POLL_INTERVAL, finished).is_none() {
        return false;
    }
    // The panic hook has reported a panic of that thread already.
    let _ = thread.join();
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_for_a_held_mutex_ends_at_its_deadline() {
        let mutex = TimedMutex::new(7);
        let soon = || Instant::now() + Duration::from_millis(20);
        let mut guard = mutex.lock_until(soon()).expect("nobody holds it");
        *guard += 1;
        let asked = Instant::now();
        assert!(mutex.lock_until(soon()).is_none());
        assert!(asked.elapsed() >= Duration::from_millis(20));
        drop(guard);
        assert_eq!(mutex.lock_until(soon()).map(|guard| *guard), Some(8));
    }
}
