//! A lock whose holder panicked is taken as it is. What the locks of this crate guard is changed by single
//! assignments, so that a panic leaves no half-made change behind, and one thread's panic may not end the others'
//! use of the key.

use std::sync::PoisonError;

/// Takes what a lock or a condition variable gives, whether its last holder panicked or not.
pub trait IgnorePoison {
    /// What is held.
    type Guard;

    /// What is held, also after a panic.
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
    fn a_lock_is_taken_after_its_holder_panicked() {
        let lock = Arc::new(Mutex::new(1));
        let held = Arc::clone(&lock);
        let holder = thread::spawn(move || {
            let _held = held.lock();
            std::panic::resume_unwind(Box::new(()));
        });
        assert!(holder.join().is_err());
        assert!(lock.is_poisoned());
        *lock.lock().ignore_poison() += 1;
        assert_eq!(*lock.lock().ignore_poison(), 2);
    }
}
