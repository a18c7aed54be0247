//! Takes connections out of the pool: closed and expired ones, those of a replaced identity, and HTTP/2 ones where the hub
//! requires HTTP/1.1.

use std::sync::Arc;
use std::time::Instant;

use super::ConnectionPool;
use super::handshake_tracker::HandshakeTracker;
use super::hub_connection::{HubConnection, REFUSED_WITHIN};
use hsm_mtls::internal::client::connector::Connector;

impl ConnectionPool {
    /// Once a second: removes closed and expired connections, and fills the pool.
    pub(in crate::proxy) fn maintain(self: &Arc<Self>) {
        let now = Instant::now();
        {
            let mut state = self.state();
            let (generation, settled) = (state.generation, state.settled);
            let current = |of: u64| of == generation || !settled;
            state.idle.retain(|idle| {
                !idle.connection.is_closed()
                    && now < idle.connection.state.retires
                    && now.duration_since(idle.since) < self.idle_timeout
                    && current(idle.generation)
            });
            // Streams that are in use keep the connection by themselves.
            state.shared.retain(|(connection, of)| {
                !connection.is_closed() && now < connection.state.retires && current(*of)
            });
            state.waiting.retain(|waiting| !waiting.lease.is_closed());
            let lasting = |connection: &HubConnection| {
                now.duration_since(connection.state.born) > REFUSED_WITHIN
            };
            let idle = state.idle.iter().any(|idle| lasting(&idle.connection));
            if idle
                || state
                    .shared
                    .iter()
                    .any(|(connection, _)| lasting(connection))
            {
                state.refusals = 0;
            }
            self.meter.open(state.open);
        }
        self.fill();
    }

    /// From now on connections are made with another identity. Those of the old one go on until the
    /// first of the new one is there; handshakes of the old one that have begun are handed back.
    pub(in crate::proxy) fn switch_identity(
        self: &Arc<Self>,
        connector: Connector,
    ) -> HandshakeTracker {
        let before = {
            let mut state = self.state();
            state.connector = connector;
            state.generation += 1;
            state.settled = false;
            (state.failures, state.not_before) = (0, Instant::now());
            (state.refusals, state.refused_until) = (0, Instant::now());
            std::mem::take(&mut state.handshakes)
        };
        self.fill();
        before
    }

    /// The hub wants HTTP/1.1 (RFC 9113, section 7): from now on nothing else is offered, until a reload. Requests that
    /// are under way over HTTP/2 go on.
    pub(in crate::proxy) fn fall_back_to_http1(self: &Arc<Self>) {
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
        self.fill();
    }
}
