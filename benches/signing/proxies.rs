//! The local proxy beside nginx with OpenSSL's engine: each with its access log in a file, and in
//! front of the same hub.
//!
//! That each request has a connection of its own is the hub's doing: it ends the connection after each
//! answer, so neither proxy can keep one. Our proxy is as it is configured by default.

use std::net::{Ipv4Addr, TcpListener};
use std::thread;
use std::time::Duration;

use crate::common::poll;
use crate::common::proxy::Proxy;
use crate::processes;
use crate::results::{MemoryRow, Proxies, ProxyRow, Rate, SignatureCount};
use crate::role::{Load, Measured, Role, play};
use crate::scenarios::{NGINX, Place, ROUNDS};
use crate::servers::{self, ONCE, Server, hub_counts};

pub const PROXY: &str = "hsm-mtls proxy";
/// The traffic that is compared.
pub const KEPT: &str = "kept alive";
pub const ANEW: &str = "a new connection per request";

/// What may sign nothing once connections stand.
const QUIET: usize = 10_000;
const ASKERS: usize = 32;
/// `warm_connections` of [proxy], where nothing is said.
const KEPT_READY: usize = 2;
/// The most loads until enough connections stand.
const WARM_UPS: usize = 20;
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
        "[signer]\nper_second = 1000000\n\n[[proxy.listener]]\ntcp = \"127.0.0.1:{port}\"\n\
         callers = \"allow-any-local-process\"\nupstream = \"hh\"\n"
    );
    let ports = Proxy::configure(&mut place.bank, "", &listener);
    let proxy = Proxy::start(&place.bank, ports);
    proxy.warm("hh", 1);
    let nginx = servers::nginx_kept_alive(&place.bank, &place.hub);
    let mut ours = Side::of(PROXY, port, processes::tree(proxy.pid()));
    // Supervisor, launcher, signer and front end.
    assert_eq!(ours.processes.len(), 4, "{}", proxy.log());
    let mut theirs = nginx
        .as_ref()
        .map(|server| Side::of(NGINX, server.port, with_workers(server)))
        .map_err(String::clone);

    let mut found = Proxies::default();
    // First, because there is none yet that was kept and could be used instead.
    found.rates.extend(place.both(&ours, &theirs, ANEW, 8));
    for side in [Some(&mut ours), theirs.as_mut().ok()] {
        side.map(|side| side.watched(ONCE, 8, LOOKED_AT));
    }
    found.rates.extend(place.both(&ours, &theirs, KEPT, ASKERS));
    // Of both after the same loads: what comes then is asked of ours only.
    for side in [Some(&mut ours), theirs.as_mut().ok()]
        .into_iter()
        .flatten()
    {
        side.watched("/", ASKERS, QUIET);
        found.memory.push(side.memory());
    }
    found.signatures = Some(quiet(&proxy, &mut ours));
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

/// nginx answers as soon as the first of its two workers does.
fn with_workers(nginx: &Server) -> Vec<u32> {
    let all = poll::found(|| Some(nginx.processes()).filter(|found| found.len() == 3));
    all.expect("a master and two workers")
}

fn signatures(proxy: &Proxy) -> u64 {
    proxy.metric("hsm_mtls_signature_seconds_count", &[]) as u64
}

/// What is signed once connections stand: as many as there are askers, and those that are kept ready
/// beside them. Fewer serve as many askers mostly, and one more is made when all ask at one moment.
fn quiet(proxy: &Proxy, ours: &mut Side) -> SignatureCount {
    eprintln!("{QUIET} requests over connections that stand");
    for _ in 0..WARM_UPS {
        if standing(proxy) >= ASKERS + KEPT_READY {
            break;
        }
        // More askers than then, so that the pool grows to what those can want.
        ours.watched("/", 2 * ASKERS, QUIET / 4);
    }
    let connections = standing(proxy);
    let before = signatures(proxy);
    // Those connections were signed for: a count that misses them would miss others.
    assert!(before >= 1, "no signature is counted at all");
    let answered = ours.watched("/", ASKERS, QUIET).micros.len();
    SignatureCount {
        requests: QUIET,
        answered,
        connections,
        before,
        signatures: signatures(proxy) - before,
    }
}

/// Connections to the hub that are ready, where nobody asks.
fn standing(proxy: &Proxy) -> usize {
    let ready = proxy.ready();
    let upstreams = ready["upstreams"].as_array().expect("upstreams");
    let of_hh = upstreams.iter().filter(|found| found["name"] == "hh");
    let ready = of_hh.filter_map(|found| found["ready_connections"].as_u64());
    ready.sum::<u64>() as usize
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
            .map(|(name, side)| (name, side, Measured::default(), (0, 0)));
        for _ in 0..ROUNDS {
            for (_, side, found, (made, asked)) in &mut sides {
                if let Ok(side) = side {
                    let before = hub_counts(side.port);
                    found.add(side.measured(path, load));
                    let after = hub_counts(side.port);
                    *made += after.0 - before.0;
                    *asked += after.1 - before.1;
                }
            }
        }
        sides.map(|(client, side, found, (made, asked))| ProxyRow {
            traffic,
            connections,
            client,
            connections_per_request: (asked > 0).then(|| made as f64 / asked as f64),
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
            peaks_kib: processes::peaks_kib(&self.processes).expect("processes that run"),
            pss_kib: self.pss_kib,
        }
    }
}
