//! DNS lookups with a cache for slow resolvers. If the first of the system's name servers does not respond, each lookup
//! takes seconds; a new connection then uses cached addresses. That is safe, since the server's certificate has to
//! prove the host name.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::time::timeout;

use crate::poison::IgnorePoison as _;

/// How long to wait for a lookup if there are cached addresses. The lookup continues in the background.
const LOOKUP_TIMEOUT: Duration = Duration::from_millis(250);
/// For so long addresses are used without another lookup, unless a connection to them fails: where each request has a connection
/// of its own, a lookup of each would cost a thread of its own.
const FRESH: Duration = Duration::from_secs(1);
/// How long addresses stay in the cache.
const MAX_AGE: Duration = Duration::from_secs(600);
/// The maximum number of concurrent lookups of a name whose addresses are cached. Each blocks one of the runtime's few
/// blocking threads.
const MAX_CONCURRENT_LOOKUPS: usize = 3;

type Name = (String, u16);

/// The addresses of the last lookup of each name. Clones share the cache.
#[derive(Clone, Debug, Default)]
pub(super) struct DnsCache(Arc<Mutex<CacheState>>);

#[derive(Debug, Default)]
struct CacheState {
    entries: HashMap<Name, CacheEntry>,
    /// The number of running lookups.
    active: HashMap<Name, usize>,
}

#[derive(Clone, Debug)]
struct CacheEntry {
    addresses: Vec<SocketAddr>,
    since: Instant,
    /// None: the next connection looks the name up.
    fresh_until: Option<Instant>,
}

impl DnsCache {
    /// The addresses of a name, in the resolver's order.
    pub(super) async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let name = (host.to_owned(), port);
        let queried = name.clone();
        let lookup = async move { Ok(tokio::net::lookup_host(queried).await?.collect()) };
        self.resolve_with(name, lookup).await
    }

    async fn resolve_with(
        &self,
        name: Name,
        lookup: impl Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'static,
    ) -> io::Result<Vec<SocketAddr>> {
        let now = Instant::now();
        let cached = self.cached(&name, now);
        if let Some(cached) = cached.as_ref().filter(|_| self.is_fresh(&name, now)) {
            return Ok(cached.clone());
        }
        let active = match (ActiveLookup::begin(self, &name, cached.is_some()), &cached) {
            (None, Some(cached)) => return Ok(cached.clone()),
            (active, _) => active,
        };
        let cache = self.clone();
        // A task of its own: after a timeout, its result is cached for the next connection.
        let task = tokio::spawn(async move {
            let _active = active;
            let found = lookup.await?;
            cache.insert(name, &found, Instant::now());
            Ok(found)
        });
        let result = match cached {
            None => task.await,
            Some(cached) => match timeout(LOOKUP_TIMEOUT, task).await {
                Ok(result) => result,
                Err(_) => return Ok(cached),
            },
        };
        result.unwrap_or_else(|error| Err(io::Error::other(error)))
    }

    fn cached(&self, name: &Name, now: Instant) -> Option<Vec<SocketAddr>> {
        let state = self.lock();
        let entry = state.entries.get(name)?;
        let fresh = now.saturating_duration_since(entry.since) < MAX_AGE;
        fresh.then(|| entry.addresses.clone())
    }

    fn is_fresh(&self, name: &Name, now: Instant) -> bool {
        let state = self.lock();
        let fresh_until = state.entries.get(name).and_then(|entry| entry.fresh_until);
        fresh_until.is_some_and(|until| now < until)
    }

    /// A connection failed: the next one looks the name up.
    pub(super) fn expire(&self, host: &str, port: u16) {
        if let Some(entry) = self.lock().entries.get_mut(&(host.to_owned(), port)) {
            entry.fresh_until = None;
        }
    }

    fn insert(&self, name: Name, addresses: &[SocketAddr], now: Instant) {
        let mut state = self.lock();
        if addresses.is_empty() {
            state.entries.remove(&name);
            return;
        }
        let entry = CacheEntry {
            addresses: addresses.to_vec(),
            since: now,
            fresh_until: Some(now + FRESH),
        };
        state.entries.insert(name, entry);
    }

    fn lock(&self) -> MutexGuard<'_, CacheState> {
        self.0.lock().ignore_poison()
    }
}

/// A running lookup, counted until this is dropped.
struct ActiveLookup {
    cache: DnsCache,
    name: Name,
}

impl ActiveLookup {
    /// Counts a new lookup. `None` if `limited` and the maximum is reached.
    fn begin(cache: &DnsCache, name: &Name, limited: bool) -> Option<Self> {
        let mut state = cache.lock();
        let active = state.active.entry(name.clone()).or_default();
        if limited && *active >= MAX_CONCURRENT_LOOKUPS {
            return None;
        }
        *active += 1;
        drop(state);
        Some(Self {
            cache: cache.clone(),
            name: name.clone(),
        })
    }
}

impl Drop for ActiveLookup {
    fn drop(&mut self) {
        if let Some(active) = self.cache.lock().active.get_mut(&self.name) {
            *active -= 1;
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
        ("hub.example".to_owned(), 443)
    }

    #[tokio::test]
    async fn cached_addresses_are_used_while_a_lookup_is_slow() {
        let cache = DnsCache::default();
        // Nothing is cached: the lookup is waited for.
        let first = cache.resolve_with(name(), pending());
        assert!(timeout(LOOKUP_TIMEOUT * 2, first).await.is_err());
        let found = cache.resolve_with(name(), ready(Ok(addresses(1)))).await;
        assert_eq!(found.unwrap(), addresses(1));
        cache.expire("hub.example", 443);
        let found = cache.clone().resolve_with(name(), pending()).await;
        assert_eq!(found.unwrap(), addresses(1));
        // A result in time is used, an error too.
        cache.expire("hub.example", 443);
        let found = cache.resolve_with(name(), ready(Ok(addresses(2)))).await;
        assert_eq!(found.unwrap(), addresses(2));
        let not_found = || ready(Err(io::Error::other("no such name")));
        // For a moment it is used without another lookup.
        let found = cache.resolve_with(name(), not_found()).await;
        assert_eq!(found.unwrap(), addresses(2));
        cache.expire("hub.example", 443);
        assert!(cache.resolve_with(name(), not_found()).await.is_err());
        // A late result is cached.
        let (answer, answered) = oneshot::channel::<Vec<SocketAddr>>();
        let late = async move { answered.await.map_err(io::Error::other) };
        let found = cache.resolve_with(name(), late).await;
        assert_eq!(found.unwrap(), addresses(2));
        answer.send(addresses(3)).unwrap();
        let cached = async {
            while cache.cached(&name(), Instant::now()) != Some(addresses(3)) {
                tokio::task::yield_now().await;
            }
        };
        assert!(timeout(Duration::from_secs(20), cached).await.is_ok());
        // Entries expire, and are removed when the name has no address any more.
        let later = Instant::now() + MAX_AGE;
        assert_eq!(cache.cached(&name(), later), None);
        cache.insert(name(), &[], Instant::now());
        assert_eq!(cache.cached(&name(), Instant::now()), None);
    }

    #[tokio::test]
    async fn concurrent_lookups_are_limited() {
        let cache = DnsCache::default();
        let found = cache.resolve_with(name(), ready(Ok(addresses(1)))).await;
        assert_eq!(found.unwrap(), addresses(1));
        let (started, mut all) = tokio::sync::mpsc::unbounded_channel();
        let mut answers = Vec::new();
        for _ in 0..MAX_CONCURRENT_LOOKUPS * 4 {
            let (answer, answered) = oneshot::channel::<Vec<SocketAddr>>();
            answers.push(answer);
            let started = started.clone();
            cache.expire("hub.example", 443);
            let lookup = async move {
                started.send(()).unwrap();
                answered.await.map_err(io::Error::other)
            };
            let found = cache.resolve_with(name(), lookup).await;
            assert_eq!(found.unwrap(), addresses(1));
        }
        drop(started);
        assert_eq!(all.len(), MAX_CONCURRENT_LOOKUPS);
        // After they have ended, new lookups are made.
        for answer in answers {
            let _ = answer.send(addresses(2));
        }
        while all.recv().await.is_some() {}
        let ended = async {
            while cache.lock().active.values().any(|active| *active > 0) {
                tokio::task::yield_now().await;
            }
        };
        assert!(timeout(Duration::from_secs(20), ended).await.is_ok());
        cache.expire("hub.example", 443);
        let found = cache.resolve_with(name(), ready(Ok(addresses(3)))).await;
        assert_eq!(found.unwrap(), addresses(3));
        // What is fresh ends by itself.
        assert!(cache.is_fresh(&name(), Instant::now()));
        assert!(!cache.is_fresh(&name(), Instant::now() + FRESH));
    }
}
