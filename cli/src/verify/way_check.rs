//! The first steps of a check: the way to the service. Directly that is name resolution and TCP; otherwise the forward proxy, whose
//! failures are a step of their own, so that nobody looks for them at the hub.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use super::service_check::{ServiceCheck, record_failure};
use crate::check_steps::Steps;
use hsm_mtls::internal::client::happy_eyeballs::probe_all;
use hsm_mtls::internal::client::transport_stream::TransportStream;

/// The step of the forward proxy: name resolution, TCP and TLS with it, and CONNECT.
const FORWARD_PROXY: &str = "forward proxy";

/// How long the other addresses of a host may take to connect.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// The most addresses of a host that are probed.
const MAX_ADDRESSES: usize = 16;

/// The steps of the way, in their order. `via` is the forward proxy, and whether the name is resolved here all the same.
pub(super) fn way_steps(via: Option<(&str, bool)>) -> &'static [&'static str] {
    match via {
        None => &["name resolution", "tcp"],
        Some((_, true)) => &["name resolution", FORWARD_PROXY],
        Some((_, false)) => &[FORWARD_PROXY],
    }
}

impl ServiceCheck<'_> {
    /// Connects, without TLS.
    pub(super) async fn connect(
        &self,
        steps: &mut Steps,
        deadline: Instant,
    ) -> Option<TransportStream> {
        match self.connector.via(&self.service.origin) {
            Some((_, resolves_here)) => self.connect_through(steps, resolves_here, deadline).await,
            None => {
                let addresses = self.resolve(steps, deadline).await?;
                let tcp = self.connect_tcp(steps, &addresses, deadline).await?;
                Some(tcp.into())
            }
        }
    }

    /// The tunnel of the forward proxy. TLS with the hub begins within it.
    async fn connect_through(
        &self,
        steps: &mut Steps,
        resolves_here: bool,
        deadline: Instant,
    ) -> Option<TransportStream> {
        let addresses = match resolves_here {
            true => Some(self.resolve(steps, deadline).await?),
            false => None,
        };
        let origin = &self.service.origin;
        steps.begin();
        let tunnel = self
            .connector
            .tunnel(origin, addresses.as_deref(), deadline);
        match tunnel.await {
            Ok(tunnel) => {
                let name = tunnel.via().map_or("", |name| name);
                let peer = tunnel.peer_addr().map(|peer| format!(" ({peer})"));
                let detail = format!(
                    "{name}{} connects to {}",
                    peer.unwrap_or_default(),
                    origin.host_and_port()
                );
                steps.good(FORWARD_PROXY, detail);
                Some(tunnel)
            }
            Err(error) => {
                record_failure(steps, FORWARD_PROXY, &error);
                None
            }
        }
    }

    async fn resolve(&self, steps: &mut Steps, deadline: Instant) -> Option<Vec<SocketAddr>> {
        steps.begin();
        let addresses = match self.connector.resolve(&self.service.origin, deadline).await {
            Ok(addresses) => addresses,
            Err(error) => {
                record_failure(steps, "name resolution", &error);
                return None;
            }
        };
        let listed: Vec<_> = addresses.iter().map(SocketAddr::to_string).collect();
        steps.good("name resolution", listed.join(", "));
        Some(addresses)
    }

    async fn connect_tcp(
        &self,
        steps: &mut Steps,
        addresses: &[SocketAddr],
        deadline: Instant,
    ) -> Option<TcpStream> {
        steps.begin();
        match self
            .connector
            .tcp(&self.service.origin, addresses, deadline)
            .await
        {
            Ok(tcp) => {
                self.probe_other_addresses(steps, &tcp, addresses, deadline)
                    .await;
                Some(tcp)
            }
            Err(error) => {
                record_failure(steps, "tcp", &error);
                None
            }
        }
    }

    /// Probes the other addresses of the host. One is enough for a connection, but one that does not answer will delay
    /// later connections, or prevent them when the others are down.
    async fn probe_other_addresses(
        &self,
        steps: &mut Steps,
        tcp: &TcpStream,
        addresses: &[SocketAddr],
        deadline: Instant,
    ) {
        let Ok(peer) = tcp.peer_addr() else {
            steps.good("tcp", "");
            return;
        };
        let mut others: Vec<SocketAddr> = Vec::new();
        for address in addresses {
            if *address != peer && !others.contains(address) && others.len() < MAX_ADDRESSES {
                others.push(*address);
            }
        }
        let now = Instant::now();
        // Most of the time is left for the handshake.
        let probe_timeout = (deadline.saturating_duration_since(now) / 4).min(PROBE_TIMEOUT);
        let unconnected = probe_all(
            &others,
            self.connector.source_address(),
            now + probe_timeout,
        )
        .await;
        if unconnected.is_empty() {
            steps.good("tcp", peer.to_string());
            return;
        }
        let failures = unconnected.iter().map(|probe| match &probe.error {
            Some(error) => format!("{}: {error}", probe.address),
            None => format!(
                "{} did not answer within {} ms",
                probe.address,
                probe_timeout.as_millis()
            ),
        });
        let failures: Vec<_> = failures.collect();
        let detail = format!(
            "{peer}; not every address connects: {}",
            failures.join("; ")
        );
        let hint = "connections are made to an address that answers; for the others check firewall and routes from this machine, or ask the hub's operator";
        steps.good_but("tcp", detail, hint);
    }
}
