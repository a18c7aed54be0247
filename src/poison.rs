//! Poisoned locks are used as if they were not poisoned. The data behind the locks of this crate is changed by single
//! assignments, so a panic leaves no inconsistent state, and a panic of one thread must not make the key unusable for the
//! others.

use std::sync::PoisonError;

/// Unwraps the result of a lock or condition variable, poisoned or not.
pub trait IgnorePoison {
    /// The lock's guard.
    type Guard;

    /// The guard, also if a thread panicked while it held the lock.
    fn ignore_poison(self) -> Self::Guard;
}

impl<G> IgnorePoison for Result<G, PoisonError<G>> {
    type Guard = G;

    fn ignore_poison(self) -> G {
        self.unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::thread;

    use super::*;

    #[test]
    fn a_poisoned_lock_can_be_locked() {
        let lock = Arc::new(Mutex::new(1));
        let shared = Arc::clone(&lock);
        let panicking = thread::spawn(move || {
            let _guard = shared.lock();
            std::panic::resume_unwind(Box::new(()));
        });
        assert!(panicking.join().is_err());
        assert!(lock.is_poisoned());
        *lock.lock().ignore_poison() += 1;
        assert_eq!(*lock.lock().ignore_poison(), 2);
    }
}
