//! The session pool for callers that make the PKCS#11 calls on their own threads, without a hand-over to a worker thread.
//!
//! It is for the signer process: a call that hangs blocks its caller until the supervisor kills the process.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, Weak};
use std::time::{Duration, Instant};

use super::session_limit::SessionLimit;
use super::signing::{KeySession, SessionRefused, TokenSigner};
use super::{EngineError, SignRequest};
use crate::poison::IgnorePoison as _;

/// The idle sessions, and the session limit.
pub(super) struct SessionPool {
    state: Mutex<PoolState>,
    returned: Condvar,
    /// The pool of another key of the same token. Both have sessions out of the token's number of them.
    other: OnceLock<Weak<Self>>,
}

struct PoolState {
    idle: Vec<IdleSession>,
    in_use: usize,
    waiting: usize,
    limit: SessionLimit,
}

struct IdleSession {
    session: KeySession,
    since: Instant,
}

/// A lease of one session. It is returned to the pool when it is dropped, also by a panic. A new session is opened at its
/// first use.
struct SessionLease<'a> {
    pool: &'a SessionPool,
    session: Option<KeySession>,
}

impl fmt::Debug for SessionPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionPool of at most {}", self.lock().limit.current())
    }
}

impl SessionPool {
    pub(super) fn new(max_sessions: usize) -> Self {
        Self {
            state: Mutex::new(PoolState {
                idle: Vec::new(),
                in_use: 0,
                waiting: 0,
                limit: SessionLimit::new(max_sessions),
            }),
            returned: Condvar::new(),
            other: OnceLock::new(),
        }
    }

    /// Names the pool that gives up a session where the token has none for this one.
    pub(super) fn share_with(&self, other: &Arc<Self>) {
        // It is named once.
        let _ = self.other.set(Arc::downgrade(other));
    }

    /// Signs on this thread, in an idle session or in a new one.
    pub(super) fn sign(
        &self,
        signer: &TokenSigner,
        request: &SignRequest<'_>,
    ) -> Result<Vec<u8>, EngineError> {
        let timeout = request.deadline.saturating_duration_since(Instant::now());
        loop {
            let Some(mut lease) = self.acquire(signer, request.deadline) else {
                return Err(EngineError::Deadline(timeout));
            };
            let signed = signer.sign(&mut lease.session, request);
            drop(lease);
            match signed {
                Ok(result) => return result,
                // Try again with one of the open sessions.
                Err(SessionRefused(_)) if self.lower_limit() => {}
                // Or with one that the other key does not need now.
                Err(SessionRefused(error)) => {
                    let other = self.other.get().and_then(Weak::upgrade);
                    if !other.is_some_and(|other| other.close_one(request.deadline)) {
                        return Err(error);
                    }
                }
            }
        }
    }

    /// Checks one session that was idle for `idle`; returns whether there was one. The others stay in the pool meanwhile,
    /// so that a call that hangs blocks only one session.
    pub(super) fn keep_alive(&self, signer: &TokenSigner, idle: Duration) -> bool {
        let due = {
            let mut state = self.lock();
            let now = Instant::now();
            let is_due =
                |session: &IdleSession| now.saturating_duration_since(session.since) >= idle;
            let position = state.idle.iter().position(is_due);
            let due = position.map(|position| state.idle.swap_remove(position));
            state.in_use += usize::from(due.is_some());
            due
        };
        let Some(IdleSession { session, .. }) = due else {
            signer.keep_alive(&mut None);
            return false;
        };
        let mut lease = SessionLease {
            pool: self,
            session: Some(session),
        };
        signer.keep_alive(&mut lease.session);
        true
    }

    /// The numbers of waiting requests and of sessions in use, and the session limit.
    pub(super) fn counts(&self) -> (usize, usize, usize) {
        let state = self.lock();
        (state.waiting, state.in_use, state.limit.current())
    }

    /// Closes an idle session; waits for one until the deadline while there are only sessions in use. Returns whether one was
    /// closed.
    fn close_one(&self, deadline: Instant) -> bool {
        let mut state = self.lock();
        loop {
            if let Some(idle) = state.idle.pop() {
                drop(state);
                // C_CloseSession is a call, which may take long: without the lock.
                drop(idle);
                return true;
            }
            let timeout = deadline.saturating_duration_since(Instant::now());
            if state.in_use == 0 || timeout.is_zero() {
                return false;
            }
            let (woken, _) = self.returned.wait_timeout(state, timeout).ignore_poison();
            state = woken;
        }
    }

    fn acquire(&self, signer: &TokenSigner, deadline: Instant) -> Option<SessionLease<'_>> {
        let mut state = self.lock();
        state.waiting += 1;
        loop {
            let now = Instant::now();
            state.limit.restore_if_due(now);
            let max_sessions = state.limit.current();
            if state.in_use < max_sessions {
                state.waiting -= 1;
                state.in_use += 1;
                let session = state.idle.pop().map(|idle| idle.session);
                signer
                    .metrics()
                    .queue(state.waiting, state.in_use, max_sessions);
                return Some(SessionLease {
                    pool: self,
                    session,
                });
            }
            let timeout = deadline.saturating_duration_since(now);
            if timeout.is_zero() {
                state.waiting -= 1;
                return None;
            }
            let (woken, _) = self.returned.wait_timeout(state, timeout).ignore_poison();
            state = woken;
        }
    }

    /// Lowers the limit after the token had no session for a caller, which has returned its lease. Returns whether other
    /// sessions are open.
    fn lower_limit(&self) -> bool {
        let mut state = self.lock();
        let open = state.in_use + state.idle.len();
        if open == 0 {
            return false;
        }
        state.limit.lower(open, Instant::now());
        true
    }

    fn lock(&self) -> MutexGuard<'_, PoolState> {
        self.state.lock().ignore_poison()
    }
}

impl Drop for SessionLease<'_> {
    fn drop(&mut self) {
        let mut state = self.pool.lock();
        state.in_use -= 1;
        if let Some(session) = self.session.take() {
            let since = Instant::now();
            state.idle.push(IdleSession { session, since });
        }
        drop(state);
        // All: one of those that wait may want a session for the other key.
        self.pool.returned.notify_all();
    }
}
