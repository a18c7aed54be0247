//! Names made into addresses. Where the first of the machine's name servers is silent, each lookup takes
//! seconds. A new connection does not wait for that where the addresses are known from a moment ago:
//! whoever answers there has to show the name's certificate anyway.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::timeout;

/// A lookup that takes longer is not waited for where the addresses are known. It goes on meanwhile.
const PATIENCE: Duration = Duration::from_millis(250);
/// What was looked up longer ago is not known any more.
const KNOWN: Duration = Duration::from_secs(600);

type Name = (String, u16);

/// What the last lookup of each name gave. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Resolution(Arc<Mutex<HashMap<Name, Known>>>);

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
        let all = self.clone();
        // On its own: who does not wait for it leaves its answer to the next.
        let looking = tokio::spawn(async move {
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
        let known = all.get(name)?;
        let fresh = now.saturating_duration_since(known.since) < KNOWN;
        fresh.then(|| known.addresses.clone())
    }

    fn learn(&self, name: Name, addresses: &[SocketAddr], now: Instant) {
        let mut all = self.lock();
        if addresses.is_empty() {
            all.remove(&name);
            return;
        }
        let addresses = addresses.to_vec();
        let since = now;
        all.insert(name, Known { addresses, since });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Name, Known>> {
        // Changed in single steps: whole also after a panic elsewhere.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
}
