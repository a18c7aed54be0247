//! Fills the connection pool: opens connections for waiting requests, and keeps `warm_connections` idle ones.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderValue;

use super::super::problem_details::{CERTIFICATE, Problem, is_of_the_token};
use super::Lease;
use super::hub_connection::{ConnectionState, HubConnection, REFUSED_WITHIN, RequestSender};
use super::{ConnectionPool, LastHandshake, PoolState};
use hsm_mtls::internal::backoff::Backoff;
use hsm_mtls::internal::client::ClientError;
use hsm_mtls::internal::rfc3339;
use hsm_mtls::internal::tls::TlsError;

/// A ready connection that expires within this time is replaced.
const EXPIRY_MARGIN: Duration = Duration::from_secs(5);
/// Between attempts to refill the pool after a failure.
const REFILL_BACKOFF: Backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(5));

impl ConnectionPool {
    /// Opens the connections that are missing, within `max_connections`.
    pub(super) fn fill(self: &Arc<Self>) {
        let wanted = {
            let mut state = self.state();
            let wanted = self.connections_to_open(&state);
            state.open += wanted.len();
            state.connecting += wanted.len();
            wanted
        };
        for interaction_id in wanted {
            let upstream = Arc::clone(self);
            tokio::spawn(async move {
                match upstream.connect(interaction_id.as_ref()).await {
                    Ok((connection, generation)) => upstream.offer(connection, generation),
                    Err(error) => upstream.fail_waiters(&error),
                }
                upstream.fill();
            });
        }
    }

    /// The connections to open, each with the interaction id of the request that it is for.
    fn connections_to_open(&self, state: &PoolState) -> Vec<Option<HeaderValue>> {
        let room = self.most.saturating_sub(state.open);
        // One HTTP/2 connection serves many, once it has said how many.
        let untold = |(connection, _): &(HubConnection, u64)| {
            !connection.is_closed() && connection.state.is_untold()
        };
        let asked = match state.speaks_h2 {
            false => state.waiting.len(),
            true if state.shared.iter().any(untold) => 0,
            true => state.waiting.len().min(1),
        };
        let waiting = state.waiting.iter().take(asked).skip(state.connecting);
        let mut wanted: Vec<_> = waiting
            .take(room)
            .map(|waiting| Some(waiting.interaction_id.clone()))
            .collect();
        let now = Instant::now();
        if now < state.not_before || now < state.refused_until {
            return wanted;
        }
        let spare = state.connecting.saturating_sub(asked);
        let ready = self.ready_count(state, now + EXPIRY_MARGIN) + spare;
        // Until the hub has said what it speaks, one will tell.
        let target = match state.speaks_h2 || !state.known {
            true => self.warm.min(1),
            false => self.warm,
        };
        // What the last attempt failed for may be over, also where nobody needs a connection now: one more
        // finds out, or the failure would be told for as long as those that are there last.
        let failed = state
            .last
            .as_ref()
            .is_some_and(|last| last.outcome.is_err());
        let asks_anew = failed && state.connecting == 0 && wanted.is_empty();
        let missing = target.saturating_sub(ready).max(usize::from(asks_anew));
        let missing = missing.min(room - wanted.len());
        wanted.extend(std::iter::repeat_n(None, missing));
        wanted
    }

    /// The signer has its key: what failed for want of it is tried again at once, and not at the end of
    /// the pause that failures have.
    pub(in crate::proxy) fn signer_is_ready(self: &Arc<Self>) {
        {
            let mut state = self.state();
            // Once a second at the most: it may fail again for what the signer does not see.
            let now = rfc3339::unix_now();
            let stale = |last: &LastHandshake| last.of_the_token && last.at != now;
            if !state.last.as_ref().is_some_and(stale) {
                return;
            }
            state.not_before = Instant::now();
        }
        self.fill();
    }

    /// Makes one connection, which was counted already.
    pub(super) async fn connect(
        self: &Arc<Self>,
        interaction_id: Option<&HeaderValue>,
    ) -> Result<(HubConnection, u64), Arc<ClientError>> {
        let (connector, generation, _begun) = {
            let state = self.state();
            (
                state.connector.clone(),
                state.generation,
                state.handshakes.track(),
            )
        };
        let counted = ConnectingGuard::of(self);
        let id = interaction_id.and_then(|id| id.to_str().ok());
        let made = match connector.connect_for(&self.origin, id).await {
            Ok(connection) => {
                let described = connection.describe();
                let pool = Arc::downgrade(self);
                let roomier = move || {
                    if let Some(pool) = pool.upgrade() {
                        pool.serve_waiters();
                        pool.fill();
                    }
                };
                let begun = HubConnection::begin(connection, self.max_age, roomier).await;
                begun.map(|(connection, driving)| (connection, driving, described))
            }
            Err(error) => Err(error),
        };
        match made {
            Ok((connection, driving, described)) => {
                let open = counted.made(generation, &connection, described);
                let state = Arc::clone(&connection.state);
                tokio::spawn(async move {
                    driving.await;
                    open.ended(generation, &state);
                });
                Ok((connection, generation))
            }
            Err(error) => {
                let problem = Problem::from(&error);
                self.meter.opened(problem.stage);
                match error {
                    // Said when it began, and what ends it is a date.
                    ClientError::Tls(TlsError::NotYetValid { .. }) => {
                        tracing::debug!(upstream = self.service.label(), %error, "no connection");
                    }
                    _ => {
                        tracing::warn!(upstream = self.service.label(), stage = problem.stage, %error, "no connection");
                    }
                }
                self.failed(problem, is_of_the_token(&error));
                Err(Arc::new(error))
            }
        }
    }

    fn failed(&self, problem: Problem, of_the_token: bool) {
        let mut state = self.state();
        state.failures += 1;
        let pause = match problem.stage {
            // Nothing was sent, and it ends at a second that is known.
            CERTIFICATE => REFILL_BACKOFF.delay(1),
            _ => REFILL_BACKOFF.delay(state.failures),
        };
        state.not_before = Instant::now() + pause;
        state.last = Some(LastHandshake {
            at: rfc3339::unix_now(),
            outcome: Err(problem),
            of_the_token,
        });
    }

    /// Gives a new connection to the requests that wait.
    fn offer(self: &Arc<Self>, connection: HubConnection, generation: u64) {
        match connection.sender {
            RequestSender::Http1(_) => {
                let lease = Lease::of(connection, self, generation, false);
                self.assign(&mut self.state(), lease);
            }
            RequestSender::Http2(_) => {
                self.state().shared.push((connection, generation));
                self.serve_waiters();
            }
        }
    }

    /// Hands the error to the request that waited longest; with HTTP/2, to all that wait.
    fn fail_waiters(&self, error: &Arc<ClientError>) {
        let waiting: Vec<_> = {
            let mut state = self.state();
            let count = match state.speaks_h2 {
                true => state.waiting.len(),
                false => state.waiting.len().min(1),
            };
            state.waiting.drain(..count).collect()
        };
        for waiting in waiting {
            // Who waits no more needs no answer.
            let _ = waiting.lease.send(Err(Arc::clone(error)));
        }
    }
}

/// Counts a connection as connecting for as long as this is held.
struct ConnectingGuard<'a> {
    upstream: &'a Arc<ConnectionPool>,
    made: bool,
}

impl<'a> ConnectingGuard<'a> {
    fn of(upstream: &'a Arc<ConnectionPool>) -> Self {
        Self {
            upstream,
            made: false,
        }
    }

    fn made(mut self, generation: u64, connection: &HubConnection, described: String) -> OpenGuard {
        self.made = true;
        let upstream = Arc::clone(self.upstream);
        upstream.meter.opened("good");
        let mut state = upstream.state();
        state.connecting -= 1;
        state.known = true;
        state.speaks_h2 = matches!(connection.sender, RequestSender::Http2(_));
        (state.failures, state.not_before) = (0, Instant::now());
        state.last = Some(LastHandshake {
            at: rfc3339::unix_now(),
            outcome: Ok(described),
            of_the_token: false,
        });
        if generation == state.generation && !state.settled {
            // Those of the identity before are needed no more.
            state.settled = true;
            state.idle.retain(|idle| idle.generation == generation);
            state.shared.retain(|(_, of)| *of == generation);
        }
        drop(state);
        OpenGuard(upstream)
    }
}

impl Drop for ConnectingGuard<'_> {
    fn drop(&mut self) {
        if !self.made {
            let mut state = self.upstream.state();
            state.connecting -= 1;
            state.open -= 1;
        }
    }
}

/// Counts a connection as open for as long as this is held.
struct OpenGuard(Arc<ConnectionPool>);

impl OpenGuard {
    /// In TLS 1.3 a hub that refuses us does so after the handshake: what ends at once without an
    /// answer was refused, and is not made again and again.
    fn ended(self, generation: u64, state: &ConnectionState) {
        if state.requires_http1() {
            self.0.fall_back_to_http1();
        } else if !state.has_answered() && state.born.elapsed() < REFUSED_WITHIN {
            self.refused(generation, state.refusal());
        }
        let upstream = Arc::clone(&self.0);
        // Counted down first.
        drop(self);
        upstream.maintain();
    }

    fn refused(&self, generation: u64, refusal: Option<ClientError>) {
        let upstream = &self.0;
        let mut state = upstream.state();
        if state.generation != generation {
            return;
        }
        state.refusals += 1;
        state.refused_until = Instant::now() + REFILL_BACKOFF.delay(state.refusals);
        let Some(refusal) = refusal else {
            return;
        };
        let problem = Problem::from(&refusal);
        upstream.meter.opened(problem.stage);
        tracing::warn!(upstream = upstream.service.label(), stage = problem.stage, error = %refusal, "a connection was refused");
        state.last = Some(LastHandshake {
            at: rfc3339::unix_now(),
            outcome: Err(problem),
            of_the_token: false,
        });
    }
}

impl Drop for OpenGuard {
    fn drop(&mut self) {
        self.0.state().open -= 1;
    }
}
