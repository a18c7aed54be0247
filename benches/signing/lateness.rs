//! How late a task of the application wakes up while its runtime makes handshakes with a very slow token, beside how late it
//! does where the runtime is idle: in turn, within one process.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hsm_mtls::internal::client::Client;
use hsm_mtls::internal::client::connector::Connector;
use hsm_mtls::internal::config::Config;
use hsm_mtls::internal::identity::Identity;
use hsm_mtls::internal::tls::Tls;
use hsm_mtls::internal::token::guard::Attendance;
use http::{HeaderMap, Method};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use url::Url;

use crate::role::LatenessFound;

/// tokio's timers have milliseconds: a deadline falls on one, and comes by up to one later.
const TICK: Duration = Duration::from_millis(5);
/// Times that idle and loaded follow each other.
const ROUNDS: usize = 4;

/// The lateness of a timer every 5 ms, idle and beside so many handshakes at once.
pub async fn measured(path: &Path, connections: usize, seconds: f64) -> LatenessFound {
    let config = Config::load(path).expect("the parent's configuration");
    let identity = Identity::open(&config, Attendance::Unattended).expect("the token");
    let tls = Tls::new(&config, &identity).expect("TLS");
    let client = Client::new(&config, Connector::new(&config, &tls).expect("a connector"));
    let origin = &config.hub.services[0].origin;
    let url: Url = format!("https://{}/once", origin.authority())
        .parse()
        .expect("a URL");
    let shared = Arc::new((client, url));
    let mut found = LatenessFound::default();
    for _ in 0..ROUNDS {
        let length = Duration::from_secs_f64(seconds / 2.0);
        let (stop, stopped) = watch::channel(false);
        let idle = tokio::spawn(lateness_until(stopped));
        sleep_until(Instant::now() + length).await;
        let _ = stop.send(true);
        found.idle.extend(idle.await.expect("no panic"));

        let (stop, stopped) = watch::channel(false);
        let watched = tokio::spawn(lateness_until(stopped));
        let mut handshakes = JoinSet::new();
        for _ in 0..connections {
            let shared = Arc::clone(&shared);
            handshakes.spawn(async move {
                let (client, url) = &*shared;
                let request = client.request(Method::GET, url, HeaderMap::new(), Bytes::new());
                request.await.is_ok()
            });
        }
        for good in handshakes.join_all().await {
            found.handshakes += usize::from(good);
            found.failures += u64::from(!good);
        }
        let _ = stop.send(true);
        found.loaded.extend(watched.await.expect("no panic"));
    }
    found
}

/// Microseconds that each wake-up came after its deadline.
async fn lateness_until(stopped: watch::Receiver<bool>) -> Vec<u32> {
    let mut late = Vec::new();
    while !*stopped.borrow() {
        let due = Instant::now() + TICK;
        sleep_until(due).await;
        late.push(due.elapsed().as_micros() as u32);
    }
    late
}
