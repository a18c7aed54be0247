//! The local proxy beside nginx with OpenSSL's engine: each with its access log in a file, and in
//! front of the same hubs.
//!
//! That each request has a connection of its own is the hub's doing: it ends the connection after each
//! answer, so neither proxy can keep one. Our proxy is as it is configured by default.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use crate::common::poll;
use crate::futex_calls;
use crate::own_proxy::{Lines, OwnProxy};
use crate::pairs::Ratio;
use crate::peers::{self, Access, NginxProxy, Peer};
use crate::processes::{self, Switches};
use crate::results::{MemoryRow, Proxies, ProxyRow, Rate, SignatureCount};
use crate::role::{Load, Measured, Role, play};
use crate::scenarios::{NGINX, PROVIDER};
use crate::servers::{ONCE, Server, hub_counts};
use crate::setup::{HUB_KEYS, Setup};

pub const PROXY: &str = "hsm-mtls proxy";
/// The traffic that is compared.
pub const KEPT: &str = "kept alive";
pub const ANEW: &str = "a new connection per request";
/// Connections of the applications.
pub const ANEW_AT: [usize; 2] = [8, 32];
pub const KEPT_AT: [usize; 3] = [8, 32, 128];
/// Up to as many, the memory is compared; and then after the most.
const COMPARED_AT: usize = 32;

/// Each cell is measured so often, in turn with the others of its row: an odd number, so that there is a median.
const PAIRS: usize = 5;
/// Of the time for a cell, what one side's round takes.
const PARTS: f64 = 3.0;
/// What may sign nothing once connections stand.
const QUIET: usize = 10_000;
const ASKERS: usize = 32;
/// `warm_connections` of [proxy], where nothing is said.
const KEPT_READY: usize = 2;
/// The most loads until enough connections stand.
const WARM_UPS: usize = 20;
/// Requests under which the memory is looked at, with a new connection each; also those of which futex calls are counted.
const LOOKED_AT: usize = 500;
const COUNTED: usize = 1000;
/// How often memory is looked at, and threads.
const LOOK: Duration = Duration::from_millis(20);
const LOOK_AT_THREADS: Duration = Duration::from_millis(250);

/// One of the proxies that are compared.
struct Side {
    name: &'static str,
    /// For the first hub and for the second.
    ports: [u16; 2],
    processes: Vec<u32>,
    /// The most that was seen.
    pss_kib: Option<u64>,
}

/// What one side's rounds of a cell found.
#[derive(Default)]
struct Rounds {
    all: Measured,
    /// Of each round, in microseconds per request.
    cpu: Vec<Option<f64>>,
    connections: u64,
    requests: u64,
    switches: u64,
}

/// Measures all, in turn.
pub fn compared(setup: &mut Setup) -> Proxies {
    let own = OwnProxy::start(setup, Lines::default());
    for service in ["cm", "hh"] {
        own.proxy.warm(service, 1);
    }
    let nginx = |access| {
        let hubs = [&setup.hubs[0], &setup.hubs[1]];
        peers::nginx_kept_alive(&setup.bank, access, hubs)
    };
    let by_engine = nginx(Access::Engine);
    let by_provider = nginx(Access::Provider);
    let mut sides = vec![
        Ok(Side::of(PROXY, own.ports, own.processes())),
        Side::of_nginx(NGINX, &by_engine),
        Side::of_nginx(PROVIDER, &by_provider),
    ];
    let mut found = Proxies::default();
    // First, because there is none yet that was kept and could be used instead.
    for hub in 0..HUB_KEYS.len() {
        for connections in ANEW_AT {
            found
                .rates
                .extend(setup.cell(&sides, ANEW, hub, connections));
        }
    }
    count_futex_calls(&sides, &mut found.rates);
    for side in sides.iter_mut().flatten() {
        side.watched(ONCE, 8, LOOKED_AT);
    }
    for connections in KEPT_AT {
        found.rates.extend(setup.cell(&sides, KEPT, 0, connections));
        // Of all after the same loads: what comes after the last is asked of ours only.
        if connections >= COMPARED_AT {
            for side in sides.iter_mut().flatten() {
                side.watched("/", connections, QUIET);
                found.memory.push(side.memory(setup.key, connections));
            }
        }
    }
    if let Some(Ok(ours)) = sides.first_mut() {
        found.signatures = Some(quiet(&own, ours));
        // What was measured are the processes that were there from the beginning.
        assert_eq!(own.processes(), ours.processes, "{}", own.proxy.log());
    }
    own.stop();
    found
}

/// nginx answers as soon as the first of its two workers does.
pub fn with_workers(nginx: &Server) -> Vec<u32> {
    let all = poll::found(|| Some(nginx.processes()).filter(|found| found.len() == 3));
    all.expect("a master and two workers")
}

/// Adds to the rows of the first hub what futex calls a new connection makes, counted in a short run of its own.
fn count_futex_calls(sides: &[Result<Side, String>], rows: &mut [ProxyRow]) {
    for side in sides.iter().flatten() {
        let connections = ANEW_AT[0];
        let load = Role::SoMany {
            port: side.ports[0],
            path: ONCE.to_owned(),
            connections,
            requests: COUNTED,
        };
        eprintln!("{}: futex calls", side.name);
        let counted = futex_calls::count(&side.processes, &load);
        let each = counted.map(|(calls, measured)| calls as f64 / measured.micros.len() as f64);
        let mut rows = rows.iter_mut();
        let row = rows.find(|row| {
            (row.traffic, row.hub, row.connections, row.client)
                == (ANEW, HUB_KEYS[0].name(), connections, side.name)
        });
        if let Some(row) = row {
            row.futex_calls = Some(each);
        }
    }
}

/// What is signed once connections stand: as many as there are askers, and those that are kept ready
/// beside them. Fewer serve as many askers mostly, and one more is made when all ask at one moment.
fn quiet(own: &OwnProxy, ours: &mut Side) -> SignatureCount {
    eprintln!("{QUIET} requests over connections that stand");
    for _ in 0..WARM_UPS {
        if own.standing("cm") >= ASKERS + KEPT_READY {
            break;
        }
        // More askers than then, so that the pool grows to what those can want.
        ours.watched("/", 2 * ASKERS, QUIET / 4);
    }
    let connections = own.standing("cm");
    let before = own.signatures();
    // Those connections were signed for: a count that misses them would miss others.
    assert!(before >= 1, "no signature is counted at all");
    let answered = ours.watched("/", ASKERS, QUIET).micros.len();
    SignatureCount {
        requests: QUIET,
        answered,
        connections,
        before,
        signatures: own.signatures() - before,
    }
}

impl Setup {
    /// One cell of the table: a row for each side, of rounds in turn.
    fn cell(
        &self,
        sides: &[Result<Side, String>],
        traffic: &'static str,
        hub: usize,
        connections: usize,
    ) -> Vec<ProxyRow> {
        let hub_key = HUB_KEYS[hub].name();
        eprintln!(
            "{}: proxies, {traffic}, hub {hub_key}, {connections} connections",
            self.key
        );
        let load = Load {
            connections,
            seconds: self.seconds / PARTS,
        };
        let path = if traffic == ANEW { ONCE } else { "/" };
        let mut found: BTreeMap<usize, Rounds> = BTreeMap::new();
        for _ in 0..PAIRS {
            for (at, side) in sides.iter().enumerate() {
                if let Ok(side) = side {
                    let rounds = found.entry(at).or_default();
                    side.round(hub, path, load, rounds);
                }
            }
        }
        let cpu_of_ours = found.get(&0).map(|ours| ours.cpu.clone());
        let names = [PROXY, NGINX, PROVIDER];
        let rows = sides.iter().zip(names).enumerate();
        rows.map(|(at, (side, client))| {
            let rounds = found.remove(&at);
            // Ours : this one's, of the pairs in turn.
            let ratio = match (&cpu_of_ours, &rounds) {
                (Some(ours), Some(rounds)) if at > 0 => {
                    let pairs = ours.iter().zip(&rounds.cpu);
                    let whole = pairs.filter_map(|(ours, this)| Some(((*ours)?, (*this)?)));
                    Ratio::of(&whole.collect::<Vec<_>>())
                }
                _ => None,
            };
            let each = |count: fn(&Rounds) -> u64, of: fn(&Rounds) -> u64| {
                let rounds = rounds.as_ref()?;
                (of(rounds) > 0).then(|| count(rounds) as f64 / of(rounds) as f64)
            };
            ProxyRow {
                key: self.key,
                hub: hub_key,
                traffic,
                connections,
                client,
                ours_to_this: ratio,
                connections_per_request: each(|all| all.connections, |all| all.requests),
                switches_per_request: each(|all| all.switches, |all| all.requests),
                futex_calls: None,
                missing: side.as_ref().err().cloned(),
                measured: rounds.map(|rounds| Rate::of(rounds.all)),
            }
        })
        .collect()
    }
}

impl Side {
    fn of(name: &'static str, ports: [u16; 2], processes: Vec<u32>) -> Self {
        Self {
            name,
            ports,
            processes,
            pss_kib: None,
        }
    }

    fn of_nginx(name: &'static str, nginx: &Peer<NginxProxy>) -> Result<Self, String> {
        let nginx = nginx.as_ref().map_err(String::clone)?;
        Ok(Self::of(name, nginx.ports, with_workers(&nginx.server)))
    }

    fn round(&self, hub: usize, path: &str, load: Load, rounds: &mut Rounds) {
        let port = self.ports[hub];
        let role = Role::ThroughProxy {
            port,
            path: path.to_owned(),
            keep_alive: true,
            processes: self.processes.clone(),
            load,
        };
        let before = hub_counts(port);
        let mut switches = Switches::since_now(&self.processes);
        let found = while_playing::<Measured>(&role, LOOK_AT_THREADS, || switches.look());
        switches.look();
        let after = hub_counts(port);
        rounds.connections += after.0 - before.0;
        rounds.requests += after.1 - before.1;
        rounds.switches += switches.count();
        let done = found.micros.len();
        // A round without an answer, or shorter than a tick of the kernel's count, has no cost of one.
        let cpu = (done > 0 && found.cpu_micros > 0).then(|| found.cpu_micros as f64 / done as f64);
        rounds.cpu.push(cpu);
        rounds.all.add(found);
    }

    /// So many requests, and the memory looked at meanwhile; no CPU is measured that looking could
    /// disturb.
    fn watched(&mut self, path: &str, connections: usize, requests: usize) -> Measured {
        let role = Role::SoMany {
            port: self.ports[0],
            path: path.to_owned(),
            connections,
            requests,
        };
        while_playing(&role, LOOK, || {
            self.pss_kib = self.pss_kib.max(processes::pss_kib(&self.processes));
        })
    }

    fn memory(&self, key: &'static str, connections: usize) -> MemoryRow {
        MemoryRow {
            key,
            connections,
            client: self.name,
            peaks_kib: processes::peaks_kib(&self.processes).expect("processes that run"),
            pss_kib: self.pss_kib,
        }
    }
}

/// Plays a role, and looks at something at intervals meanwhile.
pub fn while_playing<T: serde::de::DeserializeOwned + Send>(
    role: &Role,
    interval: Duration,
    mut look: impl FnMut(),
) -> T {
    thread::scope(|scope| {
        let asking = scope.spawn(|| play(role, &[]));
        while !asking.is_finished() {
            look();
            thread::park_timeout(interval);
        }
        asking.join().expect("no panic")
    })
}
