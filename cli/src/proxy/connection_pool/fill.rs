//! Fills the connection pool: opens connections for waiting requests, and keeps `warm_connections` idle ones.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderValue;

use super::super::problem_details::{CERTIFICATE_STAGE, Problem, is_token_failure};
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

    /// The connections to open, each with the interaction id of the waiting request, or None if it is opened ahead of
    /// need.
    fn connections_to_open(&self, state: &PoolState) -> Vec<Option<HeaderValue>> {
        let room = self.max_connections.saturating_sub(state.open);
        // One HTTP/2 connection serves many requests, once its SETTINGS say how many.
        let awaits_settings = |(connection, _): &(HubConnection, u64)| {
            !connection.is_closed() && connection.state.awaits_settings()
        };
        let needed = match state.speaks_h2 {
            false => state.waiting.len(),
            true if state.shared.iter().any(awaits_settings) => 0,
            true => state.waiting.len().min(1),
        };
        let waiting = state.waiting.iter().take(needed).skip(state.connecting);
        let mut wanted: Vec<_> = waiting
            .take(room)
            .map(|waiting| Some(waiting.interaction_id.clone()))
            .collect();
        let now = Instant::now();
        if now < state.not_before || now < state.refused_until {
            return wanted;
        }
        let spare = state.connecting.saturating_sub(needed);
        let ready = self.ready_count(state, now + EXPIRY_MARGIN) + spare;
        // As long as the protocol is not known, one connection is enough to learn it.
        let target = match state.speaks_h2 || !state.protocol_known {
            true => self.warm.min(1),
            false => self.warm,
        };
        // After a failed handshake one more connection is opened even if the pool is full enough: otherwise readiness
        // would report the failure until the existing connections expire.
        let last_failed = state
            .last_handshake
            .as_ref()
            .is_some_and(|last| last.outcome.is_err());
        let probes = last_failed && state.connecting == 0 && wanted.is_empty();
        let missing = target.saturating_sub(ready).max(usize::from(probes));
        let missing = missing.min(room - wanted.len());
        wanted.extend(std::iter::repeat_n(None, missing));
        wanted
    }

    /// The signer is ready: if the last handshake failed because of the token, the next one is not delayed by the
    /// backoff.
    pub(in crate::proxy) fn signer_is_ready(self: &Arc<Self>) {
        {
            let mut state = self.state();
            // At most once a second: the handshake may fail again for a reason that the signer's health does not show.
            let now = rfc3339::unix_now();
            let stale = |last: &LastHandshake| last.token_failed && last.at != now;
            if !state.last_handshake.as_ref().is_some_and(stale) {
                return;
            }
            state.not_before = Instant::now();
        }
        self.fill();
    }

    /// Opens one connection, which the caller has counted already.
    pub(super) async fn connect(
        self: &Arc<Self>,
        interaction_id: Option<&HeaderValue>,
    ) -> Result<(HubConnection, u64), Arc<ClientError>> {
        let (connector, generation, _handshake) = {
            let state = self.state();
            (
                state.connector.clone(),
                state.generation,
                state.handshakes.track(),
            )
        };
        let guard = ConnectingGuard::of(self);
        let id = interaction_id.and_then(|id| id.to_str().ok());
        let connected = match connector.connect_for(&self.origin, id).await {
            Ok(connection) => {
                let description = connection.describe();
                let pool = Arc::downgrade(self);
                let on_capacity = move || {
                    if let Some(pool) = pool.upgrade() {
                        pool.serve_waiters();
                        pool.fill();
                    }
                };
                let started = HubConnection::start(connection, self.max_age, on_capacity).await;
                started.map(|(connection, driver)| (connection, driver, description))
            }
            Err(error) => Err(error),
        };
        match connected {
            Ok((connection, driver, description)) => {
                let open_guard = guard.connected(generation, &connection, description);
                let state = Arc::clone(&connection.state);
                tokio::spawn(async move {
                    driver.await;
                    open_guard.ended(generation, &state);
                });
                Ok((connection, generation))
            }
            Err(error) => {
                let problem = Problem::from(&error);
                self.metrics.opened(problem.stage);
                match error {
                    // Logged when the proxy started, and it ends at a known time.
                    ClientError::Tls(TlsError::NotYetValid { .. }) => {
                        tracing::debug!(upstream = self.service.label(), %error, "no connection");
                    }
                    _ => {
                        tracing::warn!(upstream = self.service.label(), stage = problem.stage, %error, "no connection");
                    }
                }
                self.record_failure(problem, is_token_failure(&error));
                Err(Arc::new(error))
            }
        }
    }

    fn record_failure(&self, problem: Problem, token_failed: bool) {
        let mut state = self.state();
        state.failures += 1;
        let delay = match problem.stage {
            // The certificate is not valid yet: nothing was sent, and it ends at a known time.
            CERTIFICATE_STAGE => REFILL_BACKOFF.delay(1),
            _ => REFILL_BACKOFF.delay(state.failures),
        };
        state.not_before = Instant::now() + delay;
        state.last_handshake = Some(LastHandshake {
            at: rfc3339::unix_now(),
            outcome: Err(problem),
            token_failed,
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
            // The request may not wait any more.
            let _ = waiting.lease.send(Err(Arc::clone(error)));
        }
    }
}

/// Counts a connection as connecting for as long as this is held.
struct ConnectingGuard<'a> {
    upstream: &'a Arc<ConnectionPool>,
    connected: bool,
}

impl<'a> ConnectingGuard<'a> {
    fn of(upstream: &'a Arc<ConnectionPool>) -> Self {
        Self {
            upstream,
            connected: false,
        }
    }

    fn connected(
        mut self,
        generation: u64,
        connection: &HubConnection,
        description: String,
    ) -> OpenGuard {
        self.connected = true;
        let upstream = Arc::clone(self.upstream);
        upstream.metrics.opened(match connection.state.resumed {
            Some(_) => "resumed",
            None => "good",
        });
        let mut state = upstream.state();
        state.connecting -= 1;
        state.protocol_known = true;
        state.speaks_h2 = matches!(connection.sender, RequestSender::Http2(_));
        (state.failures, state.not_before) = (0, Instant::now());
        state.last_handshake = Some(LastHandshake {
            at: rfc3339::unix_now(),
            outcome: Ok(description),
            token_failed: false,
        });
        if generation == state.generation && !state.settled {
            // The connections of the old identity are not used any more.
            state.settled = true;
            state.idle.retain(|idle| idle.generation == generation);
            state.shared.retain(|(_, its)| *its == generation);
        }
        drop(state);
        OpenGuard(upstream)
    }
}

impl Drop for ConnectingGuard<'_> {
    fn drop(&mut self) {
        if !self.connected {
            let mut state = self.upstream.state();
            state.connecting -= 1;
            state.open -= 1;
        }
    }
}

/// Counts a connection as open for as long as this is held.
struct OpenGuard(Arc<ConnectionPool>);

impl OpenGuard {
    /// The connection has ended. In TLS 1.3 a server refuses a client certificate after the client's handshake is done:
    /// so a connection that ends soon without a response was refused, and the pool backs off.
    fn ended(self, generation: u64, state: &ConnectionState) {
        if state.requires_http1() {
            self.0.fall_back_to_http1();
        } else if !state.has_answered() && state.opened.elapsed() < REFUSED_WITHIN {
            self.refused(generation, state.refusal());
        }
        let upstream = Arc::clone(&self.0);
        // The connection must not count any more when the pool is filled.
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
        upstream.metrics.opened(problem.stage);
        tracing::warn!(upstream = upstream.service.label(), stage = problem.stage, error = %refusal, "a connection was refused");
        state.last_handshake = Some(LastHandshake {
            at: rfc3339::unix_now(),
            outcome: Err(problem),
            token_failed: false,
        });
    }
}

impl Drop for OpenGuard {
    fn drop(&mut self) {
        self.0.state().open -= 1;
    }
}
