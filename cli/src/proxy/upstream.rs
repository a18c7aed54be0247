//! The connections to one service of the hub: made before they are needed, used again and again,
//! replaced before they are old.
//!
//! A request takes a connection that is there; else it waits for the first that is made or becomes
//! free. Who waits causes connections to be made, and so do too few that are ready. Every
//! connection comes from the [`Connector`], which sees to it that the hub asked for our certificate.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use http::HeaderValue;
use http::uri::Authority;
use tokio::sync::oneshot;

use super::lease::Lease;
use super::link::Link;
use super::metrics::Meter;
use super::problem::Problem;
use super::under_way::UnderWay;
use hsm_mtls::internal::client::ClientError;
use hsm_mtls::internal::client::connector::Connector;
use hsm_mtls::internal::config::environment::{Origin, Service};
use hsm_mtls::internal::config::proxy::ProxyConfig;
use hsm_mtls::internal::poison::IgnorePoison as _;

/// One service.
pub(super) struct Upstream {
    pub(super) service: Service,
    pub(super) origin: Origin,
    /// Its Host.
    pub(super) host: HeaderValue,
    pub(super) authority: Authority,
    pub(super) meter: Meter,
    pub(super) warm: usize,
    pub(super) most: usize,
    pub(super) max_age: Duration,
    pub(super) idle_timeout: Duration,
    state: Mutex<State>,
}

pub(super) struct State {
    pub(super) connector: Connector,
    pub(super) generation: u64,
    /// Handshakes of this generation.
    pub(super) under_way: UnderWay,
    /// A connection of this generation was made.
    pub(super) settled: bool,
    pub(super) idle: Vec<Idle>,
    pub(super) shared: Vec<(Link, u64)>,
    /// All connections, those that are being made too.
    pub(super) open: usize,
    pub(super) connecting: usize,
    pub(super) waiting: VecDeque<Waiting>,
    /// What was chosen last; `known` once that was.
    pub(super) speaks_h2: bool,
    pub(super) known: bool,
    /// Failures in a row, and until when no connection is made that nobody waits for.
    pub(super) failures: u32,
    pub(super) not_before: Instant,
    /// The same of those that were made, and refused by the hub.
    pub(super) refusals: u32,
    pub(super) refused_until: Instant,
    pub(super) last: Option<Handshake>,
}

pub(super) struct Idle {
    pub(super) link: Link,
    pub(super) generation: u64,
    pub(super) since: Instant,
}

pub(super) struct Waiting {
    pub(super) interaction_id: HeaderValue,
    pub(super) lease: oneshot::Sender<Result<Lease, Arc<ClientError>>>,
}

/// The last time that a connection was made, or failed.
#[derive(Clone, Debug)]
pub(super) struct Handshake {
    /// Seconds after the beginning of 1970.
    pub(super) at: u64,
    /// Version, suite and group, or what came in between.
    pub(super) outcome: Result<String, Problem>,
    pub(super) of_the_token: bool,
}

/// How many connections there are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Count {
    pub(super) open: usize,
    pub(super) ready: usize,
}

impl Upstream {
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
            meter: Meter::of(service),
            warm: config.warm_connections,
            most: config.max_connections,
            max_age: config.max_age,
            idle_timeout: config.idle_timeout,
            state: Mutex::new(State {
                connector,
                generation: 0,
                under_way: UnderWay::default(),
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

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
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
            if let Some(lease) = self.ready_one(&mut state) {
                let short = state.idle.len() < self.warm;
                drop(state);
                if short {
                    self.staff();
                }
                return Ok(lease);
            }
            let (send, waiting) = oneshot::channel();
            let (interaction_id, lease) = (interaction_id.clone(), send);
            let place = Waiting {
                interaction_id,
                lease,
            };
            match again {
                true => state.waiting.push_front(place),
                false => state.waiting.push_back(place),
            }
            waiting
        };
        self.staff();
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
        self.staff();
        let (link, generation) = made?;
        if let Some(shared) = link.shared() {
            self.state().shared.push((shared, generation));
        }
        Ok(Lease::of(link, self, generation, false))
    }

    fn ready_one(self: &Arc<Self>, state: &mut State) -> Option<Lease> {
        let now = Instant::now();
        let mut at = state.idle.len();
        // The one that was used last is the likeliest to be good.
        while at > 0 {
            at -= 1;
            let idle = &state.idle[at];
            let spent = idle.link.is_closed()
                || now >= idle.link.fate.retires
                || now.duration_since(idle.since) >= self.idle_timeout;
            if spent {
                state.idle.remove(at);
            } else if idle.link.is_ready() {
                let Idle {
                    link, generation, ..
                } = state.idle.remove(at);
                return Some(Lease::of(link, self, generation, true));
            }
        }
        self.shared_one(state, true)
    }

    fn shared_one(self: &Arc<Self>, state: &State, warm: bool) -> Option<Lease> {
        let now = Instant::now();
        let fit = |(link, _): &&(Link, u64)| {
            !link.is_closed() && link.is_ready() && now < link.fate.retires
        };
        // Of several the newest: the old ones run empty.
        let (link, generation) = state.shared.iter().rev().find(fit)?;
        Some(Lease::of(link.shared()?, self, *generation, warm))
    }

    /// An HTTP/1.1 connection whose request is answered.
    pub(super) fn give_back(self: &Arc<Self>, link: Link, generation: u64) {
        let mut state = self.state();
        let outdated = generation != state.generation && state.settled;
        if outdated || link.is_closed() || Instant::now() >= link.fate.retires {
            return;
        }
        if link.fate.answered.load(Ordering::Relaxed) > 0 {
            state.refusals = 0;
        }
        self.hand_out(&mut state, Lease::of(link, self, generation, true));
    }

    /// An HTTP/1.1 connection goes to who waited longest, or is kept.
    pub(super) fn hand_out(&self, state: &mut State, mut lease: Lease) {
        while let Some(waiting) = state.waiting.pop_front() {
            match waiting.lease.send(Ok(lease)) {
                Ok(()) => return,
                // It waits no more.
                Err(Ok(unclaimed)) => lease = unclaimed,
                Err(Err(_)) => return,
            }
        }
        if let Some((link, generation)) = lease.into_link() {
            state.idle.push(Idle {
                link,
                generation,
                since: Instant::now(),
            });
        }
    }

    /// Streams that are free go to those that wait.
    pub(super) fn serve_waiting(self: &Arc<Self>) {
        loop {
            let (waiting, lease) = {
                let mut state = self.state();
                if state.waiting.is_empty() {
                    return;
                }
                let Some(lease) = self.shared_one(&state, true) else {
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
    pub(super) fn ready(&self, state: &State, then: Instant) -> usize {
        let good = |link: &Link| !link.is_closed() && then < link.fate.retires;
        let idle = |idle: &&Idle| {
            good(&idle.link)
                && idle.generation == state.generation
                && then.duration_since(idle.since) < self.idle_timeout
        };
        let shared = |(link, generation): &&(Link, u64)| {
            good(link) && link.fate.has_room() && *generation == state.generation
        };
        state.idle.iter().filter(idle).count() + state.shared.iter().filter(shared).count()
    }

    pub(super) fn last_handshake(&self) -> Option<Handshake> {
        self.state().last.clone()
    }

    pub(super) fn count(&self) -> Count {
        let state = self.state();
        Count {
            open: state.open,
            ready: self.ready(&state, Instant::now()),
        }
    }
}
