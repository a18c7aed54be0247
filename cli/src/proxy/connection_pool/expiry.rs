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
            let current = |its: u64| its == generation || !settled;
            state.idle.retain(|idle| {
                !idle.connection.is_closed()
                    && now < idle.connection.state.expires
                    && now.duration_since(idle.since) < self.idle_timeout
                    && current(idle.generation)
            });
            // Streams in use keep their connection open themselves.
            state.shared.retain(|(connection, its)| {
                !connection.is_closed() && now < connection.state.expires && current(*its)
            });
            state.waiting.retain(|waiting| !waiting.lease.is_closed());
            let accepted = |connection: &HubConnection| {
                now.duration_since(connection.state.opened) > REFUSED_WITHIN
            };
            let idle = state.idle.iter().any(|idle| accepted(&idle.connection));
            if idle
                || state
                    .shared
                    .iter()
                    .any(|(connection, _)| accepted(connection))
            {
                state.refusals = 0;
            }
            self.metrics.set_open(state.open);
        }
        self.fill();
    }

    /// Switches to another identity. Connections of the old one are used until the first one of the new is open. Returns
    /// the handshakes in progress with the old identity.
    pub(in crate::proxy) fn switch_identity(
        self: &Arc<Self>,
        connector: Connector,
    ) -> HandshakeTracker {
        let old_handshakes = {
            let mut state = self.state();
            state.connector = connector;
            state.generation += 1;
            state.settled = false;
            (state.failures, state.not_before) = (0, Instant::now());
            (state.refusals, state.refused_until) = (0, Instant::now());
            std::mem::take(&mut state.handshakes)
        };
        self.fill();
        old_handshakes
    }

    /// The hub requires HTTP/1.1 (RFC 9113, section 7): HTTP/2 is not offered any more, until a reload. Requests in
    /// progress over HTTP/2 continue.
    pub(in crate::proxy) fn fall_back_to_http1(self: &Arc<Self>) {
        {
            let mut state = self.state();
            if !state.speaks_h2 {
                return;
            }
            state.connector = state.connector.over_http1();
            (state.speaks_h2, state.protocol_known) = (false, true);
            state.shared.clear();
        }
        tracing::info!(
            upstream = self.service.label(),
            "the hub wants HTTP/1.1: HTTP/2 is not offered any more"
        );
        self.fill();
    }
}
