//! The connection pool of one service of the hub: connections are opened ahead of need, reused, and replaced before
//! they expire.
//!
//! A request takes a ready connection; where there is none it waits for the first that is opened or released. The pool
//! opens connections for waiting requests and keeps `warm_connections` ready. Every connection comes from the
//! [`Connector`], which enforces that the hub asked for our certificate.

mod expiry;
mod fill;
mod handshake_tracker;
mod hub_connection;
mod hub_stream;
mod lease;

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use http::HeaderValue;
use http::uri::Authority;
use tokio::sync::oneshot;

use super::metrics::PoolMetrics;
use super::problem_details::Problem;
pub(super) use handshake_tracker::HandshakeTracker;
use hsm_mtls::internal::client::ClientError;
use hsm_mtls::internal::client::connector::Connector;
use hsm_mtls::internal::config::environment::{Origin, Service};
use hsm_mtls::internal::config::proxy::ProxyConfig;
use hsm_mtls::internal::poison::IgnorePoison as _;
use hub_connection::HubConnection;
pub(super) use lease::Lease;

/// The pool of one service.
pub(super) struct ConnectionPool {
    service: Service,
    origin: Origin,
    /// Its Host.
    host: HeaderValue,
    authority: Authority,
    meter: PoolMetrics,
    warm: usize,
    most: usize,
    max_age: Duration,
    idle_timeout: Duration,
    state: Mutex<PoolState>,
}

struct PoolState {
    connector: Connector,
    generation: u64,
    /// Handshakes of this generation.
    handshakes: HandshakeTracker,
    /// A connection of this generation was made.
    settled: bool,
    idle: Vec<IdleConnection>,
    shared: Vec<(HubConnection, u64)>,
    /// All connections, those that are being made too.
    open: usize,
    connecting: usize,
    waiting: VecDeque<Waiter>,
    /// What was chosen last; `known` once that was.
    speaks_h2: bool,
    known: bool,
    /// Failures in a row, and until when no connection is made that nobody waits for.
    failures: u32,
    not_before: Instant,
    /// The same of those that were made, and refused by the hub.
    refusals: u32,
    refused_until: Instant,
    last: Option<LastHandshake>,
}

struct IdleConnection {
    connection: HubConnection,
    generation: u64,
    since: Instant,
}

struct Waiter {
    interaction_id: HeaderValue,
    lease: oneshot::Sender<Result<Lease, Arc<ClientError>>>,
}

/// The last time that a connection was made, or failed.
#[derive(Clone, Debug)]
pub(super) struct LastHandshake {
    /// Seconds after the beginning of 1970.
    pub(super) at: u64,
    /// Version, suite and group, or what came in between.
    pub(super) outcome: Result<String, Problem>,
    pub(super) of_the_token: bool,
}

/// How many connections there are.
#[derive(Clone, Copy, Debug)]
pub(super) struct PoolSize {
    pub(super) open: usize,
    pub(super) ready: usize,
}

impl ConnectionPool {
    pub(super) fn new(
        service: Service,
        origin: &Origin,
        connector: Connector,
        config: &ProxyConfig,
    ) -> Option<Arc<Self>> {
        let authority = origin.authority();
        Some(Arc::new(Self {
            service,
            origin: origin.clone(),
            host: HeaderValue::from_str(&authority).ok()?,
            authority: authority.parse().ok()?,
            meter: PoolMetrics::of(service),
            warm: config.warm_connections,
            most: config.max_connections,
            max_age: config.max_age,
            idle_timeout: config.idle_timeout,
            state: Mutex::new(PoolState {
                connector,
                generation: 0,
                handshakes: HandshakeTracker::default(),
                settled: false,
                idle: Vec::new(),
                shared: Vec::new(),
                open: 0,
                connecting: 0,
                waiting: VecDeque::new(),
                speaks_h2: false,
                known: !config.h2,
                failures: 0,
                not_before: Instant::now(),
                refusals: 0,
                refused_until: Instant::now(),
                last: None,
            }),
        }))
    }

    pub(super) fn service(&self) -> Service {
        self.service
    }

    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The value of `Host` (HTTP/1.1).
    pub(super) fn host(&self) -> &HeaderValue {
        &self.host
    }

    /// The value of `:authority` (HTTP/2).
    pub(super) fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Counts an answer by its status, and the time that it took.
    pub(super) fn count_answer(&self, status: u16, took: Duration) {
        self.meter.answered(status, took);
    }

    /// Counts a request over a connection that was there before it (`warm`), or was made for it.
    pub(super) fn count_request(&self, warm: bool) {
        self.meter.used(warm);
    }

    fn state(&self) -> MutexGuard<'_, PoolState> {
        self.state.lock().ignore_poison()
    }

    /// A connection for a request: one that is ready, else the first that is to be had. Who was sent before and not
    /// processed comes `again`, and is served first.
    ///
    /// # Errors
    /// None could be made; or, as `None`, none was to be had in time because all are in use.
    pub(super) async fn lease(
        self: &Arc<Self>,
        interaction_id: &HeaderValue,
        patience: Duration,
        again: bool,
    ) -> Result<Lease, Option<Arc<ClientError>>> {
        let waiting = {
            let mut state = self.state();
            if let Some(lease) = self.take_ready(&mut state) {
                let short = state.idle.len() < self.warm;
                drop(state);
                if short {
                    self.fill();
                }
                return Ok(lease);
            }
            let (send, waiting) = oneshot::channel();
            let (interaction_id, lease) = (interaction_id.clone(), send);
            let place = Waiter {
                interaction_id,
                lease,
            };
            match again {
                true => state.waiting.push_front(place),
                false => state.waiting.push_back(place),
            }
            waiting
        };
        self.fill();
        match tokio::time::timeout(patience, waiting).await {
            Ok(Ok(Ok(lease))) => Ok(lease),
            Ok(Ok(Err(error))) => Err(Some(error)),
            Ok(Err(_)) | Err(_) => Err(None),
        }
    }

    /// A connection that is made for this request alone: those that were there failed it.
    pub(super) async fn fresh(
        self: &Arc<Self>,
        interaction_id: &HeaderValue,
    ) -> Result<Lease, Arc<ClientError>> {
        {
            let mut state = self.state();
            state.open += 1;
            state.connecting += 1;
        }
        let made = self.connect(Some(interaction_id)).await;
        self.fill();
        let (connection, generation) = made?;
        if let Some(shared) = connection.shared() {
            self.state().shared.push((shared, generation));
        }
        Ok(Lease::of(connection, self, generation, false))
    }

    fn take_ready(self: &Arc<Self>, state: &mut PoolState) -> Option<Lease> {
        let now = Instant::now();
        let mut at = state.idle.len();
        // The one that was used last is the likeliest to be good.
        while at > 0 {
            at -= 1;
            let idle = &state.idle[at];
            let spent = idle.connection.is_closed()
                || now >= idle.connection.state.retires
                || now.duration_since(idle.since) >= self.idle_timeout;
            if spent {
                state.idle.remove(at);
            } else if idle.connection.is_ready() {
                let IdleConnection {
                    connection,
                    generation,
                    ..
                } = state.idle.remove(at);
                return Some(Lease::of(connection, self, generation, true));
            }
        }
        self.take_stream(state, true)
    }

    fn take_stream(self: &Arc<Self>, state: &PoolState, warm: bool) -> Option<Lease> {
        let now = Instant::now();
        let fit = |(connection, _): &&(HubConnection, u64)| {
            !connection.is_closed() && connection.is_ready() && now < connection.state.retires
        };
        // Of several the newest: the old ones run empty.
        let (connection, generation) = state.shared.iter().rev().find(fit)?;
        Some(Lease::of(connection.shared()?, self, *generation, warm))
    }

    /// An HTTP/1.1 connection whose request is answered.
    fn release(self: &Arc<Self>, connection: HubConnection, generation: u64) {
        let mut state = self.state();
        let outdated = generation != state.generation && state.settled;
        if outdated || connection.is_closed() || Instant::now() >= connection.state.retires {
            return;
        }
        if connection.state.answered.load(Ordering::Relaxed) > 0 {
            state.refusals = 0;
        }
        self.assign(&mut state, Lease::of(connection, self, generation, true));
    }

    /// An HTTP/1.1 connection goes to who waited longest, or is kept.
    fn assign(&self, state: &mut PoolState, mut lease: Lease) {
        while let Some(waiting) = state.waiting.pop_front() {
            match waiting.lease.send(Ok(lease)) {
                Ok(()) => return,
                // It waits no more.
                Err(Ok(unclaimed)) => lease = unclaimed,
                Err(Err(_)) => return,
            }
        }
        if let Some((connection, generation)) = lease.into_http1() {
            state.idle.push(IdleConnection {
                connection,
                generation,
                since: Instant::now(),
            });
        }
    }

    /// Streams that are free go to those that wait.
    fn serve_waiters(self: &Arc<Self>) {
        loop {
            let (waiting, lease) = {
                let mut state = self.state();
                if state.waiting.is_empty() {
                    return;
                }
                let Some(lease) = self.take_stream(&state, true) else {
                    return;
                };
                (state.waiting.pop_front(), lease)
            };
            if let Some(waiting) = waiting {
                // Who waits no more gives it back by dropping it.
                drop(waiting.lease.send(Ok(lease)));
            }
        }
    }

    /// Connections that will still be good then.
    fn ready_count(&self, state: &PoolState, then: Instant) -> usize {
        let good =
            |connection: &HubConnection| !connection.is_closed() && then < connection.state.retires;
        let idle = |idle: &&IdleConnection| {
            good(&idle.connection)
                && idle.generation == state.generation
                && then.duration_since(idle.since) < self.idle_timeout
        };
        let shared = |(connection, generation): &&(HubConnection, u64)| {
            good(connection) && connection.state.has_room() && *generation == state.generation
        };
        state.idle.iter().filter(idle).count() + state.shared.iter().filter(shared).count()
    }

    pub(super) fn last_handshake(&self) -> Option<LastHandshake> {
        self.state().last.clone()
    }

    pub(super) fn count(&self) -> PoolSize {
        let state = self.state();
        PoolSize {
            open: state.open,
            ready: self.ready_count(&state, Instant::now()),
        }
    }
}
