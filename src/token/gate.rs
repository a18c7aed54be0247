//! Who is inside the module, and since which C_Initialize.
//!
//! C_Finalize under a running call is undefined, and afterwards the module numbers its sessions and
//! objects from the beginning: an old handle may be somebody's fresh one. So each call is counted,
//! each session knows the generation that it is of, and a module is initialised again only when
//! nobody is inside.

use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::poison::IgnorePoison as _;

/// How long a call waits at the gate while the module is initialised again.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long after a wait in vain nobody waits again, while a call is still inside.
const STUCK: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
pub(super) struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    inside: usize,
    shut: bool,
    generation: u64,
    opened: Option<Instant>,
    /// Since when a call was waited for in vain; nobody has left the module empty since.
    stuck: Option<Instant>,
}

/// Somebody is inside, until this is dropped.
#[derive(Debug)]
pub(super) struct Inside<'a> {
    gate: &'a Gate,
    generation: u64,
}

/// Why the module was not initialised again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shut {
    /// Somebody else did it already.
    AlreadyDone,
    /// A call did not come back.
    StillInside(usize),
}

impl Gate {
    /// Goes in; waits while the module is being initialised. `None`: it took too long.
    pub(super) fn enter(&self) -> Option<Inside<'_>> {
        let (mut state, waited) = self
            .changed
            .wait_timeout_while(self.lock(), PATIENCE, |state| state.shut)
            .ignore_poison();
        if waited.timed_out() && state.shut {
            return None;
        }
        state.inside += 1;
        Some(Inside {
            gate: self,
            generation: state.generation,
        })
    }

    /// Goes in at once or not at all.
    pub(super) fn enter_now(&self) -> Option<Inside<'_>> {
        let mut state = self.lock();
        if state.shut {
            return None;
        }
        state.inside += 1;
        Some(Inside {
            gate: self,
            generation: state.generation,
        })
    }

    /// Which C_Initialize the handles of now are of.
    pub(super) fn generation(&self) -> u64 {
        self.lock().generation
    }

    /// Runs `again` while nobody is inside; from then on a new generation begins. `generation` is
    /// the one whose handles have failed. Not before `pause` is over since the last time.
    pub(super) fn renew<T>(
        &self,
        generation: u64,
        pause: Duration,
        patience: Duration,
        again: impl FnOnce() -> T,
    ) -> Result<T, Shut> {
        let mut state = self.lock();
        let deadline = Instant::now() + patience + pause;
        loop {
            if Instant::now() >= deadline {
                return Err(Shut::StillInside(state.inside));
            }
            if state.generation != generation {
                return Err(Shut::AlreadyDone);
            }
            // It was waited for a moment ago: others are not to be kept out for it again and again.
            if state.stuck.is_some_and(|since| since.elapsed() < STUCK) {
                return Err(Shut::StillInside(state.inside));
            }
            let rest = state.opened.map_or(Duration::ZERO, |opened| {
                pause.saturating_sub(opened.elapsed())
            });
            let wait = match (state.shut, rest.is_zero()) {
                (false, true) => break,
                (true, _) => patience,
                (false, false) => rest,
            };
            (state, _) = self.changed.wait_timeout(state, wait).ignore_poison();
        }
        state.shut = true;
        let (mut state, waited) = self
            .changed
            .wait_timeout_while(state, patience, |state| state.inside > 0)
            .ignore_poison();
        let inside = state.inside;
        if waited.timed_out() && inside > 0 {
            state.stuck = Some(Instant::now());
        }
        drop(state);
        // Opens it again however this ends.
        let _open = Open(self);
        if waited.timed_out() && inside > 0 {
            return Err(Shut::StillInside(inside));
        }
        let result = again();
        let mut state = self.lock();
        state.generation += 1;
        state.opened = Some(Instant::now());
        Ok(result)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().ignore_poison()
    }
}

struct Open<'a>(&'a Gate);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.lock().shut = false;
        self.0.changed.notify_all();
    }
}

impl Inside<'_> {
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        let mut state = self.gate.lock();
        state.inside -= 1;
        if state.inside == 0 {
            state.stuck = None;
            if state.shut {
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
    fn nobody_is_inside_while_it_is_renewed() {
        let gate = Gate::default();
        let (tell, told) = mpsc::channel();
        thread::scope(|scope| {
            let inside = gate.enter().expect("it is open");
            let renewing = scope.spawn(|| {
                gate.renew(0, Duration::ZERO, LONG, || {
                    assert!(gate.enter_now().is_none());
                    tell.send("renewed").expect("a test that listens");
                })
            });
            while gate.enter_now().is_some() {
                thread::yield_now();
            }
            assert!(told.try_recv().is_err(), "somebody is inside");
            drop(inside);
            assert_eq!(renewing.join().expect("no panic"), Ok(()));
        });
        assert_eq!(told.try_recv(), Ok("renewed"));
        assert_eq!(gate.enter().map(|inside| inside.generation()), Some(1));
        assert_eq!(
            gate.renew(0, Duration::ZERO, LONG, || ()),
            Err(Shut::AlreadyDone)
        );
    }

    #[test]
    fn a_call_that_hangs_stops_the_renewal_and_nobody_else() {
        let gate = Gate::default();
        let hangs = gate.enter();
        let shut = gate.renew(0, Duration::ZERO, Duration::from_millis(1), || ());
        assert_eq!(shut, Err(Shut::StillInside(1)));
        assert!(gate.enter_now().is_some());
        assert_eq!(gate.generation(), 0);
        // The next does not even shut it: the others go on.
        let started = Instant::now();
        let shut = gate.renew(0, Duration::ZERO, LONG, || ());
        assert_eq!(shut, Err(Shut::StillInside(1)));
        assert!(started.elapsed() < LONG);
        drop(hangs);
        assert_eq!(gate.renew(0, Duration::ZERO, LONG, || ()), Ok(()));
    }
}
