//! Connects to the first of a host's addresses that accepts (Happy Eyeballs, RFC 8305).
//!
//! Behind a broken route or a firewall, or on a host that is down, a connection attempt gets no response at all. So the
//! next address is tried in parallel 250 ms later, and the first that connects is used. It becomes the preferred
//! address, which is tried first for the next connection.

use std::collections::{HashMap, VecDeque};
use std::fmt::{self, Display};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout_at;

use super::{ClientError, source_address};
use crate::config::origin::Origin;
use crate::poison::IgnorePoison as _;

/// "Connection Attempt Delay": RFC 8305, section 8, recommends it.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// How long an address stays preferred. Then the resolver's order is used again: its first address may work by now, and
/// round-robin DNS keeps its effect.
const PREFERENCE_LIFETIME: Duration = Duration::from_secs(600);

/// The preferred address of each origin: the one that connected last. Clones share the map.
#[derive(Clone, Debug, Default)]
pub(super) struct PreferredAddresses {
    all: Arc<Mutex<HashMap<Origin, PreferredAddress>>>,
    /// The local address of the connections.
    source: Option<IpAddr>,
}

#[derive(Clone, Copy, Debug)]
struct PreferredAddress {
    address: SocketAddr,
    since: Instant,
}

/// A connection attempt that failed.
#[derive(Debug)]
pub struct FailedAttempt {
    /// The address.
    pub address: SocketAddr,
    /// The operating system's error; `None` after a timeout.
    pub error: Option<io::Error>,
}

impl Display for FailedAttempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.error {
            Some(error) => write!(f, "{}: {error}", self.address),
            None => write!(f, "{}: no answer", self.address),
        }
    }
}

/// The first connection, and the attempts that had failed by then.
pub(super) struct RaceResult {
    pub(super) connected: Option<TcpStream>,
    pub(super) failed: Vec<FailedAttempt>,
}

impl RaceResult {
    /// The connection, if there is one. `after` is the timeout, `timed_out` whether the deadline has passed.
    ///
    /// # Errors
    /// There is no connection. The error names each address, with its error.
    pub(super) fn into_stream(
        self,
        origin: &Origin,
        after: Duration,
        timed_out: bool,
    ) -> Result<TcpStream, ClientError> {
        let host = origin.host.clone();
        let errors: Vec<_> = self.failed.iter().map(ToString::to_string).collect();
        let why = errors.join("; ");
        match self.connected {
            Some(stream) => {
                if let (false, Ok(answered)) = (errors.is_empty(), stream.peer_addr()) {
                    tracing::info!(host, %answered, tried = why, "not every address of the hub answers");
                }
                Ok(stream)
            }
            None if timed_out => Err(ClientError::ConnectDeadline { host, after, why }),
            None => Err(ClientError::Connect { host, why }),
        }
    }
}

impl PreferredAddresses {
    /// None yet; connections are made from this local address.
    pub(super) fn from_source(source: Option<IpAddr>) -> Self {
        Self {
            source,
            ..Self::default()
        }
    }

    /// Connects to one of the addresses, of which the preferred one is tried first.
    pub(super) async fn connect(
        &self,
        origin: &Origin,
        addresses: &[SocketAddr],
        deadline: Instant,
    ) -> RaceResult {
        let first = self.preferred(origin, Instant::now());
        let outcome = race(sort_addresses(addresses, first), self.source, deadline).await;
        let connected = outcome.connected.as_ref();
        self.update(
            origin,
            connected.and_then(|stream| stream.peer_addr().ok()),
            Instant::now(),
        );
        outcome
    }

    /// Forgets the preferred address after a failed handshake: the resolver's order is used again.
    pub(super) fn forget(&self, origin: &Origin) {
        self.lock().remove(origin);
    }

    fn preferred(&self, origin: &Origin, now: Instant) -> Option<SocketAddr> {
        let preferred = self.lock().get(origin).copied()?;
        (now.saturating_duration_since(preferred.since) < PREFERENCE_LIFETIME)
            .then_some(preferred.address)
    }

    /// Sets the preferred address to the one that connected; removes it if none did.
    fn update(&self, origin: &Origin, connected: Option<SocketAddr>, now: Instant) {
        let mut all = self.lock();
        let Some(address) = connected else {
            all.remove(origin);
            return;
        };
        let fresh = PreferredAddress {
            address,
            since: now,
        };
        let known = all.entry(origin.clone()).or_insert(fresh);
        // Its use does not extend its lifetime: the address that is tried first usually connects first.
        if known.address != address
            || now.saturating_duration_since(known.since) >= PREFERENCE_LIFETIME
        {
            *known = fresh;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Origin, PreferredAddress>> {
        self.all.lock().ignore_poison()
    }
}

/// Sorts the addresses and removes duplicates: `first`, then the address families alternately, each in the resolver's order
/// (RFC 8305, section 4).
pub(super) fn sort_addresses(
    addresses: &[SocketAddr],
    first: Option<SocketAddr>,
) -> Vec<SocketAddr> {
    let mut rest: Vec<SocketAddr> = Vec::new();
    for address in addresses {
        if !rest.contains(address) {
            rest.push(*address);
        }
    }
    let first = first.filter(|first| rest.contains(first));
    rest.retain(|address| Some(*address) != first);
    // `first` is followed by an address of the other family.
    let begins_with_v6 = match first {
        Some(first) => first.is_ipv4(),
        None => rest.first().is_some_and(SocketAddr::is_ipv6),
    };
    let (same, other): (Vec<_>, Vec<_>) = rest
        .into_iter()
        .partition(|address| address.is_ipv6() == begins_with_v6);
    let (mut same, mut other) = (same.into_iter(), other.into_iter());
    let mut ordered: Vec<_> = first.into_iter().collect();
    loop {
        let pair = [same.next(), other.next()];
        if pair == [None, None] {
            return ordered;
        }
        ordered.extend(pair.into_iter().flatten());
    }
}

/// Tries the addresses in order, each [`ATTEMPT_DELAY`] after the previous one or when an attempt fails. The first
/// connection is used, and the other attempts are cancelled.
async fn race(addresses: Vec<SocketAddr>, source: Option<IpAddr>, deadline: Instant) -> RaceResult {
    let started = Instant::now();
    // With a short deadline the delay is shorter, so that the last address is tried as well.
    let share = deadline.saturating_duration_since(started) / addresses.len().max(1) as u32;
    let delay = ATTEMPT_DELAY.min(share);
    let mut next = VecDeque::from(addresses);
    let mut pending = Vec::new();
    let mut failed = Vec::new();
    let mut attempts = JoinSet::new();
    let mut connected = None;
    loop {
        if let Some(address) = next.pop_front() {
            pending.push(address);
            attempts
                .spawn(async move { (address, source_address::connect(address, source).await) });
        }
        let until = match next.is_empty() {
            true => deadline,
            false => deadline.min(Instant::now() + delay),
        };
        match timeout_at(until.into(), attempts.join_next()).await {
            Ok(Some(Ok((address, tried)))) => {
                pending.retain(|other| *other != address);
                match tried {
                    Ok(stream) => {
                        connected = Some(stream);
                        break;
                    }
                    Err(error) => failed.push(FailedAttempt {
                        address,
                        error: Some(error),
                    }),
                }
            }
            // The attempt was cancelled, since the runtime shuts down.
            Ok(Some(Err(_))) => {}
            Ok(None) if next.is_empty() => break,
            Ok(None) => {}
            Err(_) if Instant::now() >= deadline => break,
            Err(_) => {}
        }
    }
    // Attempts without a result. Addresses that were not tried are not listed.
    failed.extend(pending.into_iter().map(|address| FailedAttempt {
        address,
        error: None,
    }));
    RaceResult { connected, failed }
}

/// Tries all addresses at once and returns those that do not connect before the deadline.
pub async fn probe_all(
    addresses: &[SocketAddr],
    source: Option<IpAddr>,
    deadline: Instant,
) -> Vec<FailedAttempt> {
    let mut attempts = JoinSet::new();
    for (index, address) in addresses.iter().copied().enumerate() {
        attempts.spawn(async move {
            let tried = timeout_at(deadline.into(), source_address::connect(address, source)).await;
            let error = match tried {
                Ok(Ok(_)) => return None,
                Ok(Err(error)) => Some(error),
                Err(_) => None,
            };
            Some((index, FailedAttempt { address, error }))
        });
    }
    let mut found: Vec<_> = attempts.join_all().await.into_iter().flatten().collect();
    found.sort_by_key(|(index, _)| *index);
    found.into_iter().map(|(_, tried)| tried).collect()
}

#[cfg(test)]
#[path = "happy_eyeballs_tests.rs"]
mod tests;
