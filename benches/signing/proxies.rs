//! The local proxy beside nginx with OpenSSL's engine: each with its access log in a file, and in
//! front of the same hub.
//!
//! That each request has a connection of its own is the hub's doing: it ends the connection after each
//! answer, so neither proxy can keep one. Our proxy is as it is configured by default.

use std::net::{Ipv4Addr, TcpListener};
use std::thread;
use std::time::Duration;

use crate::common::proxy::Proxy;
use crate::processes;
use crate::results::{MemoryRow, Proxies, ProxyRow, Rate, SignatureCount};
use crate::role::{Load, Measured, Role, play};
use crate::scenarios::{NGINX, Place, ROUNDS};
use crate::servers::{self, ONCE};

pub const PROXY: &str = "hsm-mtls proxy";
/// The traffic that is compared.
pub const KEPT: &str = "kept alive";
pub const ANEW: &str = "a new connection per request";

/// What may sign nothing once connections stand.
const QUIET: usize = 10_000;
/// Requests under which the memory is looked at, with a new connection each.
const LOOKED_AT: usize = 500;
const LOOK: Duration = Duration::from_millis(20);

/// One of the two.
struct Side {
    name: &'static str,
    port: u16,
    processes: Vec<u32>,
    /// The most that was seen.
    pss_kib: Option<u64>,
}

/// Measures both, in turn. Ends with them.
pub fn compared(mut place: Place) -> Proxies {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .expect("a free port")
        .port();
    // No token of callers and no prefix: nginx looks at neither.
    let listener = format!(
        "[[proxy.listener]]\ntcp = \"127.0.0.1:{port}\"\n\
         callers = \"allow-any-local-process\"\nupstream = \"hh\"\n"
    );
    let ports = Proxy::configure(&mut place.bank, "", &listener);
    let proxy = Proxy::start(&place.bank, ports);
    proxy.warm("hh", 1);
    let nginx = servers::nginx_kept_alive(&place.bank, &place.hub);
    let mut ours = Side::of(PROXY, port, processes::tree(proxy.pid()));
    // Supervisor, signer and front end.
    assert_eq!(ours.processes.len(), 3, "{}", proxy.log());
    let mut theirs = nginx
        .as_ref()
        .map(|server| Side::of(NGINX, server.port, server.processes()))
        .map_err(String::clone);

    let mut found = Proxies::default();
    found.rates.extend(place.both(&ours, &theirs, KEPT, 32));
    found.signatures = Some(quiet(&proxy, &mut ours));
    if let Ok(theirs) = &mut theirs {
        theirs.watched("/", 32, QUIET);
    }
    let (made, asked) = (connections(&proxy), requests(&proxy));
    found.rates.extend(place.both(&ours, &theirs, ANEW, 8));
    found.connections_per_request =
        Some((connections(&proxy) - made) / (requests(&proxy) - asked).max(1.0));
    for side in [Some(&mut ours), theirs.as_mut().ok()]
        .into_iter()
        .flatten()
    {
        side.watched(ONCE, 8, LOOKED_AT);
        found.memory.push(side.memory());
    }
    // What was measured are the processes that were there from the beginning.
    assert_eq!(
        processes::tree(proxy.pid()),
        ours.processes,
        "{}",
        proxy.log()
    );
    proxy.signal("TERM");
    proxy.ended();
    found
}

fn connections(proxy: &Proxy) -> f64 {
    let made = [("upstream", "hh"), ("result", "good")];
    proxy.metric("hsm_mtls_proxy_connections_opened_total", &made)
}

fn requests(proxy: &Proxy) -> f64 {
    proxy.metric("hsm_mtls_proxy_requests_total", &[("upstream", "hh")])
}

fn signatures(proxy: &Proxy) -> u64 {
    proxy.metric("hsm_mtls_signature_seconds_count", &[]) as u64
}

/// What is signed once connections stand.
fn quiet(proxy: &Proxy, ours: &mut Side) -> SignatureCount {
    eprintln!("{QUIET} requests over connections that stand");
    let before = signatures(proxy);
    // Those connections were signed for: a count that misses them would miss others.
    assert!(before >= 1, "no signature is counted at all");
    let answered = ours.watched("/", 32, QUIET).micros.len();
    SignatureCount {
        requests: QUIET,
        answered,
        before,
        signatures: signatures(proxy) - before,
    }
}

impl Place {
    fn both(
        &self,
        ours: &Side,
        theirs: &Result<Side, String>,
        traffic: &'static str,
        connections: usize,
    ) -> [ProxyRow; 2] {
        eprintln!(
            "{}: proxies, {traffic}, {connections} connections",
            self.key
        );
        let load = Load {
            connections,
            seconds: self.seconds / ROUNDS as f64,
        };
        let path = if traffic == ANEW { ONCE } else { "/" };
        let mut sides = [(PROXY, Ok(ours)), (NGINX, theirs.as_ref())]
            .map(|(name, side)| (name, side, Measured::default()));
        for _ in 0..ROUNDS {
            for (_, side, found) in &mut sides {
                if let Ok(side) = side {
                    found.add(side.measured(path, load));
                }
            }
        }
        sides.map(|(client, side, found)| ProxyRow {
            traffic,
            connections,
            client,
            missing: side.err().cloned(),
            measured: side.ok().map(|_| Rate::of(found)),
        })
    }
}

impl Side {
    fn of(name: &'static str, port: u16, processes: Vec<u32>) -> Self {
        Self {
            name,
            port,
            processes,
            pss_kib: None,
        }
    }

    fn measured(&self, path: &str, load: Load) -> Measured {
        let role = Role::ThroughProxy {
            port: self.port,
            path: path.to_owned(),
            keep_alive: true,
            processes: self.processes.clone(),
            load,
        };
        play(&role, &[])
    }

    /// So many requests, and the memory looked at meanwhile; no CPU is measured that looking could
    /// disturb.
    fn watched(&mut self, path: &str, connections: usize, requests: usize) -> Measured {
        let role = Role::SoMany {
            port: self.port,
            path: path.to_owned(),
            connections,
            requests,
        };
        thread::scope(|scope| {
            let asking = scope.spawn(|| play(&role, &[]));
            while !asking.is_finished() {
                self.pss_kib = self.pss_kib.max(processes::pss_kib(&self.processes));
                thread::park_timeout(LOOK);
            }
            asking.join().expect("no panic")
        })
    }

    fn memory(&self) -> MemoryRow {
        MemoryRow {
            client: self.name,
            processes: self.processes.len(),
            peak_kib: processes::peak_kib(&self.processes).expect("processes that run"),
            pss_kib: self.pss_kib,
        }
    }
}
