//! Sessions for threads that may wait inside the module: the caller's own thread makes the two calls,
//! without the way to a worker and back.
//!
//! That is for a process of its own. A call that hangs holds its caller for as long as it hangs, and
//! what ends it is whoever ends the process.

use std::fmt;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::work::{OneTooMany, Open, Work};
use super::{EngineError, SignRequest};
use crate::poison::IgnorePoison as _;

/// After this long a token that had no session left is asked for more again.
const ASK_AGAIN: Duration = Duration::from_secs(60);

/// The sessions that nobody uses at the moment, and how many there may be.
pub(super) struct Here {
    state: Mutex<State>,
    returned: Condvar,
}

struct State {
    idle: Vec<(Open, Instant)>,
    in_use: usize,
    waiting: usize,
    most: usize,
    configured: usize,
    limited: Option<Instant>,
}

/// A place among those who may use a session; given back however its thread ends.
struct Place<'a> {
    here: &'a Here,
    open: Option<Open>,
}

impl fmt::Debug for Here {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Here with at most {}", self.lock().most)
    }
}

impl Here {
    pub(super) fn new(most: usize) -> Self {
        Self {
            state: Mutex::new(State {
                idle: Vec::new(),
                in_use: 0,
                waiting: 0,
                most,
                configured: most,
                limited: None,
            }),
            returned: Condvar::new(),
        }
    }

    /// Signs on this thread, in a session that is free, or in a new one.
    pub(super) fn sign(
        &self,
        work: &Work,
        request: &SignRequest<'_>,
    ) -> Result<Vec<u8>, EngineError> {
        let waited = request.deadline.saturating_duration_since(Instant::now());
        loop {
            let Some(mut place) = self.place(work, request.deadline) else {
                return Err(EngineError::Deadline(waited));
            };
            let signed = work.sign(&mut place.open, request);
            drop(place);
            match signed {
                Ok(result) => return result,
                // The sessions that there are will do it.
                Err(OneTooMany(_)) if self.one_fewer() => {}
                Err(OneTooMany(error)) => return Err(error),
            }
        }
    }

    /// Asks the token about one session that was idle for so long; says whether there was one. The
    /// others stay where they are: a call that hangs must not take them along.
    pub(super) fn keep_alive(&self, work: &Work, idle: Duration) -> bool {
        let due = {
            let mut state = self.lock();
            let now = Instant::now();
            let old = |(_, since): &(Open, Instant)| now.saturating_duration_since(*since) >= idle;
            let at = state.idle.iter().position(old);
            let due = at.map(|at| state.idle.swap_remove(at));
            state.in_use += usize::from(due.is_some());
            due
        };
        let Some((open, _)) = due else {
            work.keep_alive(&mut None);
            return false;
        };
        let mut place = Place {
            here: self,
            open: Some(open),
        };
        work.keep_alive(&mut place.open);
        true
    }

    /// Requests that wait, sessions that are in use, and the most there may be.
    pub(super) fn counts(&self) -> (usize, usize, usize) {
        let state = self.lock();
        (state.waiting, state.in_use, state.most)
    }

    fn place(&self, work: &Work, deadline: Instant) -> Option<Place<'_>> {
        let mut state = self.lock();
        state.waiting += 1;
        loop {
            let now = Instant::now();
            if state
                .limited
                .is_some_and(|limited| now.saturating_duration_since(limited) >= ASK_AGAIN)
            {
                state.most = state.configured;
                state.limited = None;
            }
            if state.in_use < state.most {
                state.waiting -= 1;
                state.in_use += 1;
                let open = state.idle.pop().map(|(open, _)| open);
                work.meter().queue(state.waiting, state.in_use, state.most);
                return Some(Place { here: self, open });
            }
            let patience = deadline.saturating_duration_since(now);
            if patience.is_zero() {
                state.waiting -= 1;
                return None;
            }
            let (woken, _) = self.returned.wait_timeout(state, patience).ignore_poison();
            state = woken;
        }
    }

    /// The token had no session for the caller, which has given its place back. Says whether others
    /// have one.
    fn one_fewer(&self) -> bool {
        let mut state = self.lock();
        let others = state.in_use + state.idle.len();
        if others == 0 {
            return false;
        }
        if others < state.most {
            tracing::warn!(
                sessions = others,
                "the token gives no further session; going on with fewer"
            );
            state.most = others;
        }
        state.limited = Some(Instant::now());
        true
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Counts and whole sessions: there is no state in between.
        self.state.lock().ignore_poison()
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.here.lock();
        state.in_use -= 1;
        if let Some(open) = self.open.take() {
            state.idle.push((open, Instant::now()));
        }
        drop(state);
        self.here.returned.notify_one();
    }
}
