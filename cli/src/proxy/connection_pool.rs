//! The connection pool of one service of the hub: connections are opened ahead of need, reused, and replaced before
//! they expire.
//!
//! A request takes a ready connection; where there is none it waits for the first that is opened or released. The pool
//! opens connections for waiting requests and keeps `warm_connections` ready. Every connection comes from the
//! [`Connector`], which enforces that the hub asked for our certificate.

mod expiry;
mod fill;
mod h2_error;
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

use super::proxy_metrics::PoolMetrics;
pub(super) use handshake_tracker::{HandshakeTracker, LastHandshake};
use hsm_mtls::internal::client::ClientError;
use hsm_mtls::internal::client::connector::Connector;
use hsm_mtls::internal::config::proxy::ProxyConfig;
use hsm_mtls::internal::config::{Service, origin::Origin};
use hsm_mtls::internal::poison::IgnorePoison as _;
use hub_connection::HubConnection;
pub(super) use lease::Lease;

/// The pool of one service.
pub(super) struct ConnectionPool {
    service: Service,
    origin: Origin,
    /// The value of `Host`.
    host: HeaderValue,
    authority: Authority,
    metrics: PoolMetrics,
    /// The number of ready connections to keep (`warm_connections`).
    warm: usize,
    max_connections: usize,
    max_age: Duration,
    idle_timeout: Duration,
    state: Mutex<PoolState>,
}

struct PoolState {
    connector: Connector,
    /// Counts the identities: a reload starts a new generation.
    generation: u64,
    /// The handshakes in progress of this generation.
    handshakes: HandshakeTracker,
    /// A connection of this generation was opened: the older ones are not used any more.
    settled: bool,
    /// Idle HTTP/1.1 connections.
    idle: Vec<IdleConnection>,
    /// HTTP/2 connections, each with its generation.
    shared: Vec<(HubConnection, u64)>,
    /// The number of connections, including those that are being opened.
    open: usize,
    /// The number of connections that are being opened.
    connecting: usize,
    waiting: VecDeque<Waiter>,
    /// The protocol of the last connection (ALPN).
    speaks_h2: bool,
    /// Whether `speaks_h2` is known.
    protocol_known: bool,
    /// Failed handshakes in a row.
    failures: u32,
    /// Until then no connection is opened ahead of need, because of failures.
    not_before: Instant,
    /// Connections in a row that the hub refused after the handshake.
    refusals: u32,
    /// Until then no connection is opened ahead of need, because of refusals.
    refused_until: Instant,
    last_handshake: Option<LastHandshake>,
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

/// The number of connections.
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
            metrics: PoolMetrics::of(service),
            warm: config.warm_connections,
            max_connections: config.max_connections,
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
                protocol_known: !config.h2,
                failures: 0,
                not_before: Instant::now(),
                refusals: 0,
                refused_until: Instant::now(),
                last_handshake: None,
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

    /// Counts a response by its status and duration.
    pub(super) fn count_answer(&self, status: u16, took: Duration) {
        self.metrics.answered(status, took);
    }

    /// Counts a request by whether its connection existed before (`warm`) or is new.
    pub(super) fn count_request(&self, warm: bool) {
        self.metrics.used(warm);
    }

    fn state(&self) -> MutexGuard<'_, PoolState> {
        self.state.lock().ignore_poison()
    }

    /// Leases a connection: a ready one, else the first that is opened or released. Retries (`is_retry`) are served
    /// before other waiting requests.
    ///
    /// # Errors
    /// No connection could be opened; or, as `None`, none became free in time.
    pub(super) async fn lease(
        self: &Arc<Self>,
        interaction_id: &HeaderValue,
        max_wait: Duration,
        is_retry: bool,
    ) -> Result<Lease, Option<Arc<ClientError>>> {
        let waiting = {
            let mut state = self.state();
            if let Some(lease) = self.take_ready(&mut state) {
                let needs_filling = state.idle.len() < self.warm;
                drop(state);
                if needs_filling {
                    self.fill();
                }
                return Ok(lease);
            }
            let (send, waiting) = oneshot::channel();
            let waiter = Waiter {
                interaction_id: interaction_id.clone(),
                lease: send,
            };
            match is_retry {
                true => state.waiting.push_front(waiter),
                false => state.waiting.push_back(waiter),
            }
            waiting
        };
        self.fill();
        match tokio::time::timeout(max_wait, waiting).await {
            Ok(Ok(Ok(lease))) => Ok(lease),
            Ok(Ok(Err(error))) => Err(Some(error)),
            Ok(Err(_)) | Err(_) => Err(None),
        }
    }

    /// Opens a new connection for a request whose attempts over pooled connections failed.
    pub(super) async fn lease_new(
        self: &Arc<Self>,
        interaction_id: &HeaderValue,
    ) -> Result<Lease, Arc<ClientError>> {
        {
            let mut state = self.state();
            state.open += 1;
            state.connecting += 1;
        }
        let connected = self.connect(Some(interaction_id)).await;
        self.fill();
        let (connection, generation) = connected?;
        if let Some(shared) = connection.shared() {
            self.state().shared.push((shared, generation));
        }
        Ok(Lease::of(connection, self, generation, false))
    }

    /// Leases a connection that is ready, and drops those that are closed or expired.
    fn take_ready(self: &Arc<Self>, state: &mut PoolState) -> Option<Lease> {
        let now = Instant::now();
        let mut at = state.idle.len();
        // From the most recently used one on: it is the least likely to have been closed.
        while at > 0 {
            at -= 1;
            let idle = &state.idle[at];
            let unusable = idle.connection.is_closed()
                || now >= idle.connection.state.expires
                || now.duration_since(idle.since) >= self.idle_timeout;
            if unusable {
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

    /// Leases a stream of an HTTP/2 connection.
    fn take_stream(self: &Arc<Self>, state: &PoolState, warm: bool) -> Option<Lease> {
        let now = Instant::now();
        let usable = |(connection, _): &&(HubConnection, u64)| {
            !connection.is_closed() && connection.is_ready() && now < connection.state.expires
        };
        // The newest connection first, so that the older ones become idle.
        let (connection, generation) = state.shared.iter().rev().find(usable)?;
        Some(Lease::of(connection.shared()?, self, *generation, warm))
    }

    /// Takes back an HTTP/1.1 connection whose response has ended.
    fn release(self: &Arc<Self>, connection: HubConnection, generation: u64) {
        let mut state = self.state();
        let outdated = generation != state.generation && state.settled;
        if outdated || connection.is_closed() || Instant::now() >= connection.state.expires {
            return;
        }
        if connection.state.answered.load(Ordering::Relaxed) > 0 {
            state.refusals = 0;
        }
        self.assign(&mut state, Lease::of(connection, self, generation, true));
    }

    /// Gives an HTTP/1.1 connection to the request that waited longest, or keeps it as idle.
    fn assign(&self, state: &mut PoolState, mut lease: Lease) {
        while let Some(waiting) = state.waiting.pop_front() {
            match waiting.lease.send(Ok(lease)) {
                Ok(()) => return,
                // That request does not wait any more.
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

    /// Gives free HTTP/2 streams to the waiting requests.
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
                // If the request does not wait any more, the lease is dropped, which frees the stream.
                drop(waiting.lease.send(Ok(lease)));
            }
        }
    }

    /// The number of ready connections that will still be usable at that time.
    fn ready_count(&self, state: &PoolState, at: Instant) -> usize {
        let good =
            |connection: &HubConnection| !connection.is_closed() && at < connection.state.expires;
        let idle = |idle: &&IdleConnection| {
            good(&idle.connection)
                && idle.generation == state.generation
                && at.duration_since(idle.since) < self.idle_timeout
        };
        let shared = |(connection, generation): &&(HubConnection, u64)| {
            good(connection)
                && connection.state.has_free_stream()
                && *generation == state.generation
        };
        state.idle.iter().filter(idle).count() + state.shared.iter().filter(shared).count()
    }

    pub(super) fn last_handshake(&self) -> Option<LastHandshake> {
        self.state().last_handshake.clone()
    }

    pub(super) fn size(&self) -> PoolSize {
        let state = self.state();
        PoolSize {
            open: state.open,
            ready: self.ready_count(&state, Instant::now()),
        }
    }
}
