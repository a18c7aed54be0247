//! What becomes of connections to the hub that are there: spent ones go, those of another identity are replaced, and a
//! hub that wants HTTP/1.1 gets it.

use std::sync::Arc;
use std::time::Instant;

use super::link::{Link, REFUSED_WITHIN};
use super::under_way::UnderWay;
use super::upstream::Upstream;
use hsm_mtls::internal::client::connector::Connector;

impl Upstream {
    /// Once a second: what is spent goes, and what is missing is made.
    pub(super) fn keep(self: &Arc<Self>) {
        let now = Instant::now();
        {
            let mut state = self.state();
            let (generation, settled) = (state.generation, state.settled);
            let current = |of: u64| of == generation || !settled;
            state.idle.retain(|idle| {
                !idle.link.is_closed()
                    && now < idle.link.fate.retires
                    && now.duration_since(idle.since) < self.idle_timeout
                    && current(idle.generation)
            });
            // Streams that are in use keep the connection by themselves.
            state
                .shared
                .retain(|(link, of)| !link.is_closed() && now < link.fate.retires && current(*of));
            state.waiting.retain(|waiting| !waiting.lease.is_closed());
            let lasting = |link: &Link| now.duration_since(link.fate.born) > REFUSED_WITHIN;
            let idle = state.idle.iter().any(|idle| lasting(&idle.link));
            if idle || state.shared.iter().any(|(link, _)| lasting(link)) {
                state.refusals = 0;
            }
            self.meter.open(state.open);
        }
        self.staff();
    }

    /// From now on connections are made with another identity. Those of the old one go on until the
    /// first of the new one is there; handshakes of the old one that have begun are handed back.
    pub(super) fn renew(self: &Arc<Self>, connector: Connector) -> UnderWay {
        let before = {
            let mut state = self.state();
            state.connector = connector;
            state.generation += 1;
            state.settled = false;
            (state.failures, state.not_before) = (0, Instant::now());
            (state.refusals, state.refused_until) = (0, Instant::now());
            std::mem::take(&mut state.under_way)
        };
        self.staff();
        before
    }

    /// The hub wants HTTP/1.1 (RFC 9113, section 7): from now on nothing else is offered, until a reload. Requests that
    /// are under way over HTTP/2 go on.
    pub(super) fn use_http1(self: &Arc<Self>) {
        {
            let mut state = self.state();
            if !state.speaks_h2 {
                return;
            }
            state.connector = state.connector.over_http1();
            (state.speaks_h2, state.known) = (false, true);
            state.shared.clear();
        }
        tracing::info!(
            upstream = self.service.label(),
            "the hub wants HTTP/1.1: HTTP/2 is not offered any more"
        );
        self.staff();
    }
}
