//! Names made into addresses. Where the first of the machine's name servers is silent, each lookup takes
//! seconds. A new connection does not wait for that where the addresses are known from a moment ago:
//! whoever answers there has to show the name's certificate anyway.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::time::timeout;

use crate::poison::IgnorePoison as _;

/// A lookup that takes longer is not waited for where the addresses are known. It goes on meanwhile.
const PATIENCE: Duration = Duration::from_millis(250);
/// What was looked up longer ago is not known any more.
const KNOWN: Duration = Duration::from_secs(600);
/// So many lookups of a name go on at once where its addresses are known. Each holds a thread for as long as
/// it takes, and they are few: the signer is asked on them, too.
const AT_ONCE: usize = 3;

type Name = (String, u16);

/// What the last lookup of each name gave. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Resolution(Arc<Mutex<Names>>);

#[derive(Debug, Default)]
struct Names {
    known: HashMap<Name, Known>,
    /// How many lookups are under way.
    looking: HashMap<Name, usize>,
}

#[derive(Clone, Debug)]
struct Known {
    addresses: Vec<SocketAddr>,
    since: Instant,
}

impl Resolution {
    /// The addresses of a name, in the resolver's order.
    pub(super) async fn of(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let name = (host.to_owned(), port);
        let asked = name.clone();
        let lookup = async move { Ok(tokio::net::lookup_host(asked).await?.collect()) };
        self.looked_up(name, lookup).await
    }

    async fn looked_up(
        &self,
        name: Name,
        lookup: impl Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'static,
    ) -> io::Result<Vec<SocketAddr>> {
        let known = self.known(&name, Instant::now());
        let under_way = match (UnderWay::begin(self, &name, known.is_some()), &known) {
            (None, Some(known)) => return Ok(known.clone()),
            (under_way, _) => under_way,
        };
        let all = self.clone();
        // On its own: who does not wait for it leaves its answer to the next.
        let looking = tokio::spawn(async move {
            let _under_way = under_way;
            let found = lookup.await?;
            all.learn(name, &found, Instant::now());
            Ok(found)
        });
        let done = match known {
            None => looking.await,
            Some(known) => match timeout(PATIENCE, looking).await {
                Ok(done) => done,
                Err(_) => return Ok(known),
            },
        };
        done.unwrap_or_else(|ended| Err(io::Error::other(ended)))
    }

    fn known(&self, name: &Name, now: Instant) -> Option<Vec<SocketAddr>> {
        let all = self.lock();
        let known = all.known.get(name)?;
        let fresh = now.saturating_duration_since(known.since) < KNOWN;
        fresh.then(|| known.addresses.clone())
    }

    fn learn(&self, name: Name, addresses: &[SocketAddr], now: Instant) {
        let mut all = self.lock();
        if addresses.is_empty() {
            all.known.remove(&name);
            return;
        }
        let addresses = addresses.to_vec();
        let since = now;
        all.known.insert(name, Known { addresses, since });
    }

    fn lock(&self) -> MutexGuard<'_, Names> {
        // Changed in single steps: whole also after a panic elsewhere.
        self.0.lock().ignore_poison()
    }
}

/// A lookup, counted for as long as it goes on.
struct UnderWay {
    all: Resolution,
    name: Name,
}

impl UnderWay {
    /// None: there are enough, where those may be.
    fn begin(all: &Resolution, name: &Name, limited: bool) -> Option<Self> {
        let mut names = all.lock();
        let looking = names.looking.entry(name.clone()).or_default();
        if limited && *looking >= AT_ONCE {
            return None;
        }
        *looking += 1;
        drop(names);
        Some(Self {
            all: all.clone(),
            name: name.clone(),
        })
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if let Some(looking) = self.all.lock().looking.get_mut(&self.name) {
            *looking -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use tokio::sync::oneshot;

    use super::*;

    fn addresses(last: u8) -> Vec<SocketAddr> {
        vec![SocketAddr::from(([192, 0, 2, last], 443))]
    }

    fn name() -> Name {
        ("cm.example".to_owned(), 443)
    }

    #[tokio::test]
    async fn a_lookup_that_takes_long_is_waited_for_by_nobody_who_knows_the_addresses() {
        let names = Resolution::default();
        // Nothing is known: whatever it takes.
        let first = names.looked_up(name(), pending());
        assert!(timeout(PATIENCE * 2, first).await.is_err());
        let found = names.looked_up(name(), ready(Ok(addresses(1)))).await;
        assert_eq!(found.unwrap(), addresses(1));
        let found = names.clone().looked_up(name(), pending()).await;
        assert_eq!(found.unwrap(), addresses(1));
        // What comes in time counts, an error too.
        let found = names.looked_up(name(), ready(Ok(addresses(2)))).await;
        assert_eq!(found.unwrap(), addresses(2));
        let gone = || ready(Err(io::Error::other("no such name")));
        assert!(names.looked_up(name(), gone()).await.is_err());
        // What comes late is known by the next.
        let (answer, answered) = oneshot::channel::<Vec<SocketAddr>>();
        let late = async move { answered.await.map_err(io::Error::other) };
        let found = names.looked_up(name(), late).await;
        assert_eq!(found.unwrap(), addresses(2));
        answer.send(addresses(3)).unwrap();
        let known = async {
            while names.known(&name(), Instant::now()) != Some(addresses(3)) {
                tokio::task::yield_now().await;
            }
        };
        assert!(timeout(Duration::from_secs(20), known).await.is_ok());
        // For a while, and not where the name has no address any more.
        let later = Instant::now() + KNOWN;
        assert_eq!(names.known(&name(), later), None);
        names.learn(name(), &[], Instant::now());
        assert_eq!(names.known(&name(), Instant::now()), None);
    }

    #[tokio::test]
    async fn lookups_that_do_not_end_are_few() {
        let names = Resolution::default();
        let found = names.looked_up(name(), ready(Ok(addresses(1)))).await;
        assert_eq!(found.unwrap(), addresses(1));
        let (begun, mut all) = tokio::sync::mpsc::unbounded_channel();
        let mut answers = Vec::new();
        for _ in 0..AT_ONCE * 4 {
            let (answer, answered) = oneshot::channel::<Vec<SocketAddr>>();
            answers.push(answer);
            let begun = begun.clone();
            let lookup = async move {
                begun.send(()).unwrap();
                answered.await.map_err(io::Error::other)
            };
            let found = names.looked_up(name(), lookup).await;
            assert_eq!(found.unwrap(), addresses(1));
        }
        drop(begun);
        assert_eq!(all.len(), AT_ONCE);
        // Once they have ended, others are made.
        for answer in answers {
            let _ = answer.send(addresses(2));
        }
        while all.recv().await.is_some() {}
        let ended = async {
            while names.lock().looking.values().any(|looking| *looking > 0) {
                tokio::task::yield_now().await;
            }
        };
        assert!(timeout(Duration::from_secs(20), ended).await.is_ok());
        let found = names.looked_up(name(), ready(Ok(addresses(3)))).await;
        assert_eq!(found.unwrap(), addresses(3));
    }
}
