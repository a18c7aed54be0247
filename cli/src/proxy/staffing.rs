//! Who sees to it that there are connections: for those that wait, and some that are ready.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderValue;

use super::lease::Lease;
use super::link::{Fate, Link, REFUSED_WITHIN, Sender};
use super::problem::{CERTIFICATE, Problem, is_of_the_token};
use super::upstream::{Handshake, State, Upstream};
use hsm_mtls::internal::backoff::Backoff;
use hsm_mtls::internal::client::ClientError;
use hsm_mtls::internal::rfc3339;
use hsm_mtls::internal::tls::TlsError;

/// How long before its end a connection that is ready is replaced.
const REPLACED_BEFORE: Duration = Duration::from_secs(5);
/// How soon after a failure ready connections are tried for again; doubled up to the second.
const REFILL_BACKOFF: Backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(5));

impl Upstream {
    /// Makes as many connections as are wanted and allowed.
    pub(super) fn staff(self: &Arc<Self>) {
        let wanted = {
            let mut state = self.state();
            let wanted = self.wanted(&state);
            state.open += wanted.len();
            state.connecting += wanted.len();
            wanted
        };
        for interaction_id in wanted {
            let upstream = Arc::clone(self);
            tokio::spawn(async move {
                match upstream.connect(interaction_id.as_ref()).await {
                    Ok((link, generation)) => upstream.offer(link, generation),
                    Err(error) => upstream.disappoint(&error),
                }
                upstream.staff();
            });
        }
    }

    /// The connections to be made, each with the request that it is for.
    fn wanted(&self, state: &State) -> Vec<Option<HeaderValue>> {
        let room = self.most.saturating_sub(state.open);
        // One HTTP/2 connection serves many, once it has said how many.
        let untold = |(link, _): &(Link, u64)| !link.is_closed() && link.fate.is_untold();
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
        let ready = self.ready(state, now + REPLACED_BEFORE) + spare;
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
    pub(super) fn signer_is_ready(self: &Arc<Self>) {
        {
            let mut state = self.state();
            // Once a second at the most: it may fail again for what the signer does not see.
            let now = rfc3339::unix_now();
            let stale = |last: &Handshake| last.of_the_token && last.at != now;
            if !state.last.as_ref().is_some_and(stale) {
                return;
            }
            state.not_before = Instant::now();
        }
        self.staff();
    }

    /// Makes one connection, which was counted already.
    pub(super) async fn connect(
        self: &Arc<Self>,
        interaction_id: Option<&HeaderValue>,
    ) -> Result<(Link, u64), Arc<ClientError>> {
        let (connector, generation, _begun) = {
            let state = self.state();
            (
                state.connector.clone(),
                state.generation,
                state.under_way.begin(),
            )
        };
        let counted = Counted::of(self);
        let id = interaction_id.and_then(|id| id.to_str().ok());
        let made = match connector.connect_for(&self.origin, id).await {
            Ok(connection) => {
                let described = connection.describe();
                let pool = Arc::downgrade(self);
                let roomier = move || {
                    if let Some(pool) = pool.upgrade() {
                        pool.serve_waiting();
                        pool.staff();
                    }
                };
                let begun = Link::begin(connection, self.max_age, roomier).await;
                begun.map(|(link, driving)| (link, driving, described))
            }
            Err(error) => Err(error),
        };
        match made {
            Ok((link, driving, described)) => {
                let open = counted.made(generation, &link, described);
                let fate = Arc::clone(&link.fate);
                tokio::spawn(async move {
                    driving.await;
                    open.ended(generation, &fate);
                });
                Ok((link, generation))
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
        state.last = Some(Handshake {
            at: rfc3339::unix_now(),
            outcome: Err(problem),
            of_the_token,
        });
    }

    /// A new connection for whoever waits.
    fn offer(self: &Arc<Self>, link: Link, generation: u64) {
        match link.sender {
            Sender::Http1(_) => {
                let lease = Lease::of(link, self, generation, false);
                self.hand_out(&mut self.state(), lease);
            }
            Sender::Http2(_) => {
                self.state().shared.push((link, generation));
                self.serve_waiting();
            }
        }
    }

    /// There is no connection for who waited longest; of HTTP/2, for nobody.
    fn disappoint(&self, error: &Arc<ClientError>) {
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

/// A connection that is being made, in the books of its pool.
struct Counted<'a> {
    upstream: &'a Arc<Upstream>,
    made: bool,
}

impl<'a> Counted<'a> {
    fn of(upstream: &'a Arc<Upstream>) -> Self {
        Self {
            upstream,
            made: false,
        }
    }

    fn made(mut self, generation: u64, link: &Link, described: String) -> Open {
        self.made = true;
        let upstream = Arc::clone(self.upstream);
        upstream.meter.opened("good");
        let mut state = upstream.state();
        state.connecting -= 1;
        state.known = true;
        state.speaks_h2 = matches!(link.sender, Sender::Http2(_));
        (state.failures, state.not_before) = (0, Instant::now());
        state.last = Some(Handshake {
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
        Open(upstream)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        if !self.made {
            let mut state = self.upstream.state();
            state.connecting -= 1;
            state.open -= 1;
        }
    }
}

/// A connection that stands.
struct Open(Arc<Upstream>);

impl Open {
    /// In TLS 1.3 a hub that refuses us does so after the handshake: what ends at once without an
    /// answer was refused, and is not made again and again.
    fn ended(self, generation: u64, fate: &Fate) {
        if fate.requires_http1() {
            self.0.use_http1();
        } else if !fate.has_answered() && fate.born.elapsed() < REFUSED_WITHIN {
            self.refused(generation, fate.refusal());
        }
        let upstream = Arc::clone(&self.0);
        // Counted down first.
        drop(self);
        upstream.keep();
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
        state.last = Some(Handshake {
            at: rfc3339::unix_now(),
            outcome: Err(problem),
            of_the_token: false,
        });
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.state().open -= 1;
    }
}
