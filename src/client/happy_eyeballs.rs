//! One name, several addresses: which of them answers (RFC 8305, "Happy Eyeballs").
//!
//! An address that swallows packets (a broken route, a firewall, a host that is down) answers nothing,
//! not even a refusal. So the next one is tried a quarter of a second later, beside it, and the first that
//! connects is taken. It is remembered: the next connection begins with it.

use std::collections::{HashMap, VecDeque};
use std::fmt::{self, Display};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout_at;

use super::ClientError;
use crate::config::environment::Origin;
use crate::poison::IgnorePoison as _;

/// "Connection Attempt Delay": RFC 8305, section 8, recommends it.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// For so long an address is tried first because it answered. Then the resolver's order has its turn:
/// the address that it prefers may be well again, and a name that is served round robin stays so.
const REMEMBERED: Duration = Duration::from_secs(600);

/// The address of each origin that answered last. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Answered(Arc<Mutex<HashMap<Origin, Remembered>>>);

#[derive(Clone, Copy, Debug)]
struct Remembered {
    address: SocketAddr,
    since: Instant,
}

/// An address that no connection came of.
#[derive(Debug)]
pub struct Unconnected {
    /// The address.
    pub address: SocketAddr,
    /// What the system said; `None` where nothing came back.
    pub refusal: Option<io::Error>,
}

impl Display for Unconnected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.refusal {
            Some(refusal) => write!(f, "{}: {refusal}", self.address),
            None => write!(f, "{}: no answer", self.address),
        }
    }
}

/// The first that connected, and those that had been tried in vain by then.
pub(super) struct Outcome {
    pub(super) connected: Option<TcpStream>,
    pub(super) unconnected: Vec<Unconnected>,
}

impl Outcome {
    /// # Errors
    /// There is none: each address is named, with what it said. `late`: because time ran out.
    pub(super) fn stream(
        self,
        origin: &Origin,
        after: Duration,
        late: bool,
    ) -> Result<TcpStream, ClientError> {
        let host = origin.host.clone();
        let said: Vec<_> = self.unconnected.iter().map(ToString::to_string).collect();
        let why = said.join("; ");
        match self.connected {
            Some(stream) => {
                if let (false, Ok(answered)) = (said.is_empty(), stream.peer_addr()) {
                    tracing::info!(host, %answered, tried = why, "not every address of the hub answers");
                }
                Ok(stream)
            }
            None if late => Err(ClientError::ConnectDeadline { host, after, why }),
            None => Err(ClientError::Connect { host, why }),
        }
    }
}

impl Answered {
    /// Connects to one of the addresses, the one that is remembered first.
    pub(super) async fn connect(
        &self,
        origin: &Origin,
        addresses: &[SocketAddr],
        deadline: Instant,
    ) -> Outcome {
        let first = self.of(origin, Instant::now());
        let outcome = race(in_order(addresses, first), deadline).await;
        let answered = outcome.connected.as_ref();
        self.learn(
            origin,
            answered.and_then(|stream| stream.peer_addr().ok()),
            Instant::now(),
        );
        outcome
    }

    /// Whoever answers there does not serve: the resolver's order has its turn again.
    pub(super) fn forget(&self, origin: &Origin) {
        self.lock().remove(origin);
    }

    fn of(&self, origin: &Origin, now: Instant) -> Option<SocketAddr> {
        let remembered = self.lock().get(origin).copied()?;
        (now.saturating_duration_since(remembered.since) < REMEMBERED).then_some(remembered.address)
    }

    fn learn(&self, origin: &Origin, answered: Option<SocketAddr>, now: Instant) {
        let mut all = self.lock();
        let Some(address) = answered else {
            all.remove(origin);
            return;
        };
        let fresh = Remembered {
            address,
            since: now,
        };
        let known = all.entry(origin.clone()).or_insert(fresh);
        // Not prolonged by its own use: what is tried first answers first.
        if known.address != address || now.saturating_duration_since(known.since) >= REMEMBERED {
            *known = fresh;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Origin, Remembered>> {
        // Changed in single steps: whole also after a panic elsewhere.
        self.0.lock().ignore_poison()
    }
}

/// Each address once: the remembered one, then the families in turn, each in the resolver's order
/// (RFC 8305, section 4).
pub(super) fn in_order(addresses: &[SocketAddr], first: Option<SocketAddr>) -> Vec<SocketAddr> {
    let mut rest: Vec<SocketAddr> = Vec::new();
    for address in addresses {
        if !rest.contains(address) {
            rest.push(*address);
        }
    }
    let first = first.filter(|first| rest.contains(first));
    rest.retain(|address| Some(*address) != first);
    // After the remembered one the other family has its turn.
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

/// Tries one after the other, each a moment after the one before, or at once where that one failed. The
/// first that connects is taken, and the others are let go.
async fn race(addresses: Vec<SocketAddr>, deadline: Instant) -> Outcome {
    let begun = Instant::now();
    // Where time is short each gets its share of it, so that the last one is tried at all.
    let share = deadline.saturating_duration_since(begun) / addresses.len().max(1) as u32;
    let delay = ATTEMPT_DELAY.min(share);
    let mut next = VecDeque::from(addresses);
    let mut silent = Vec::new();
    let mut unconnected = Vec::new();
    let mut attempts = JoinSet::new();
    let mut connected = None;
    loop {
        if let Some(address) = next.pop_front() {
            silent.push(address);
            attempts.spawn(async move { (address, TcpStream::connect(address).await) });
        }
        let until = match next.is_empty() {
            true => deadline,
            false => deadline.min(Instant::now() + delay),
        };
        match timeout_at(until.into(), attempts.join_next()).await {
            Ok(Some(Ok((address, tried)))) => {
                silent.retain(|other| *other != address);
                match tried {
                    Ok(stream) => {
                        connected = Some(stream);
                        break;
                    }
                    Err(error) => unconnected.push(Unconnected {
                        address,
                        refusal: Some(error),
                    }),
                }
            }
            // The runtime ends: no attempt comes to anything any more.
            Ok(Some(Err(_))) => {}
            Ok(None) if next.is_empty() => break,
            Ok(None) => {}
            Err(_) if Instant::now() >= deadline => break,
            Err(_) => {}
        }
    }
    // What was not tried for want of time is none that is silent.
    unconnected.extend(silent.into_iter().map(|address| Unconnected {
        address,
        refusal: None,
    }));
    Outcome {
        connected,
        unconnected,
    }
}

/// Tries all of them at once, and says which do not connect.
pub async fn survey(addresses: &[SocketAddr], deadline: Instant) -> Vec<Unconnected> {
    let mut attempts = JoinSet::new();
    for (place, address) in addresses.iter().copied().enumerate() {
        attempts.spawn(async move {
            let tried = timeout_at(deadline.into(), TcpStream::connect(address)).await;
            let refusal = match tried {
                Ok(Ok(_)) => return None,
                Ok(Err(error)) => Some(error),
                Err(_) => None,
            };
            Some((place, Unconnected { address, refusal }))
        });
    }
    let mut found: Vec<_> = attempts.join_all().await.into_iter().flatten().collect();
    found.sort_by_key(|(place, _)| *place);
    found.into_iter().map(|(_, tried)| tried).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(of: &[&str]) -> Vec<SocketAddr> {
        let parsed = of
            .iter()
            .map(|ip| SocketAddr::new(ip.parse().unwrap(), 443));
        parsed.collect()
    }

    fn ordered(of: &[&str], first: Option<&str>) -> Vec<String> {
        let first = first.map(|ip| SocketAddr::new(ip.parse().unwrap(), 443));
        let ordered = in_order(&addresses(of), first);
        ordered
            .iter()
            .map(|address| address.ip().to_string())
            .collect()
    }

    #[test]
    fn families_take_turns_and_each_keeps_its_order() {
        for (given, first, expected) in [
            (&[][..], None, &[][..]),
            (&["192.0.2.1"], None, &["192.0.2.1"]),
            (
                &[
                    "2001:db8::1",
                    "2001:db8::2",
                    "2001:db8::3",
                    "192.0.2.1",
                    "192.0.2.2",
                ],
                None,
                &[
                    "2001:db8::1",
                    "192.0.2.1",
                    "2001:db8::2",
                    "192.0.2.2",
                    "2001:db8::3",
                ],
            ),
            (
                &["192.0.2.9", "192.0.2.1", "2001:db8::1"],
                None,
                &["192.0.2.9", "2001:db8::1", "192.0.2.1"],
            ),
            // Twice in a hosts file.
            (
                &["192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.1"],
                None,
                &["192.0.2.1", "192.0.2.2"],
            ),
            (
                &["2001:db8::1", "2001:db8::2", "192.0.2.1", "192.0.2.2"],
                Some("192.0.2.2"),
                &["192.0.2.2", "2001:db8::1", "192.0.2.1", "2001:db8::2"],
            ),
            (
                &["2001:db8::1", "192.0.2.1"],
                Some("2001:db8::1"),
                &["2001:db8::1", "192.0.2.1"],
            ),
            // The name has moved: what is remembered of before is no address of it.
            (&["192.0.2.1"], Some("192.0.2.7"), &["192.0.2.1"]),
        ] {
            assert_eq!(ordered(given, first), expected, "{given:?} {first:?}");
        }
    }

    #[test]
    fn what_answered_is_tried_first_for_a_while_and_forgotten_where_it_fails() {
        let origin: Origin = "https://cm.example".parse().unwrap();
        let [one, two] = addresses(&["192.0.2.1", "192.0.2.2"]).try_into().unwrap();
        let answered = Answered::default();
        let shared = answered.clone();
        let now = Instant::now();
        assert_eq!(answered.of(&origin, now), None);
        answered.learn(&origin, Some(one), now);
        assert_eq!(shared.of(&origin, now), Some(one));
        // Its own use does not prolong it.
        let later = now + REMEMBERED / 2;
        answered.learn(&origin, Some(one), later);
        assert_eq!(answered.of(&origin, later), Some(one));
        assert_eq!(answered.of(&origin, now + REMEMBERED), None);
        answered.learn(&origin, Some(two), later);
        assert_eq!(answered.of(&origin, now + REMEMBERED), Some(two));
        let other: Origin = "https://hh.example".parse().unwrap();
        assert_eq!(answered.of(&other, later), None);
        answered.learn(&origin, None, later);
        assert_eq!(shared.of(&origin, later), None);
    }
}
