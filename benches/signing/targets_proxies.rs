//! What was promised of the processes: the local proxy beside nginx, one request beside curl, starts, resumption.

use crate::pairs::Ratio;
use crate::proxies::{ANEW, ANEW_AT, KEPT, PROXY};
use crate::results::{MemoryRow, Proxies, ProxyRow, Results, Target};
use crate::scenarios::NGINX;
use crate::setup::HUB_KEYS;

/// What a request with a new connection may cost, as a share of nginx's CPU, by the client's key; and one over a connection that
/// is kept.
const CPU_ANEW: [(&str, f64); 2] = [("RSA-2048", 0.85), ("P-256", 1.0)];
const CPU_KEPT: f64 = 1.0;
/// For each new connection.
const SWITCHES: f64 = 5.0;
const FUTEX_CALLS: f64 = 4.0;
/// One request, beside curl.
const ONE_SHOT: f64 = 1.0;
/// From the start to the first answer, beside nginx.
const START: f64 = 2.0;
/// What a signer that is started again may add to the module's own load and login, in milliseconds.
const SIGNER_AGAIN_MS: f64 = 20.0;
/// For 1,000 new connections where sessions are resumed.
const RESUMED: f64 = 5.0;
/// `warm_connections` of [proxy], where nothing is said.
const READY_BEFORE: u64 = 2;

/// Each promise, with what was found.
pub fn held(results: &Results) -> Vec<Target> {
    let mut targets = Vec::new();
    for found in &results.proxies {
        targets.extend(of_rates(found));
        targets.extend(of_memory(found));
        targets.extend(of_quiet(found));
    }
    for found in &results.mixed_loads {
        let what = "p99 of kept-alive requests beside 500 new connections a second, P-256";
        // Requests that are refused take no time: a proxy that refuses some is not faster.
        let ours = found.rows.iter().filter(|row| row.client == PROXY);
        let rates = ours.flat_map(|row| [&row.kept, &row.new]).flatten();
        let failures: u64 = rates.map(|rate| rate.failures).sum();
        targets.push(match &found.p99_ms {
            Some(ratio) => {
                let mut target = at_most(what.to_owned(), 1.0, "nginx's", ratio, "ms");
                target.wanted += ", none failed";
                target.found += &format!("; {failures} failed");
                target.met &= failures == 0;
                target
            }
            None => Target {
                what: what.to_owned(),
                wanted: "at most 1.00 x nginx's, none failed".to_owned(),
                found: format!("not measured; {failures} failed"),
                met: false,
            },
        });
    }
    for row in &results.one_shots {
        for (what, ratio) in [("wall", &row.wall_ms), ("CPU", &row.cpu_ms)] {
            if let Some(ratio) = ratio {
                let what = format!("one request by a command, {what}, {}", row.key);
                targets.push(at_most(what, ONE_SHOT, "curl's", ratio, "ms"));
            }
        }
    }
    for row in &results.starts {
        if let Some(ratio) = &row.first_answer_ms {
            let what = format!("from the start to the first answer, {}", row.key);
            targets.push(at_most(what, START, "nginx's", ratio, "ms"));
        }
        if let Some(beyond) = row.beyond_module_ms() {
            targets.push(Target {
                what: format!(
                    "a killed signer until the next answer, beyond the module's own load and login, {}",
                    row.key
                ),
                wanted: format!("at most {SIGNER_AGAIN_MS} ms"),
                found: format!("{beyond:.1} ms"),
                met: beyond <= SIGNER_AGAIN_MS,
            });
        }
    }
    for row in &results.resumed {
        let per_thousand = 1000.0 * row.signatures as f64 / row.connections.max(1) as f64;
        // All but those that were kept ready before are new.
        let new = row.connections + READY_BEFORE >= row.requests as u64;
        let complete = row.failures == 0 && row.requests > 0 && new;
        targets.push(Target {
            what: format!(
                "signatures per 1,000 new connections, resumption on, {}",
                row.key
            ),
            wanted: format!("at most {RESUMED}"),
            found: format!(
                "{per_thousand:.1} ({} for {} connections)",
                row.signatures, row.connections
            ),
            met: per_thousand <= RESUMED && complete,
        });
    }
    targets
}

fn at_most(what: String, most: f64, whose: &str, ratio: &Ratio, unit: &str) -> Target {
    Target {
        what,
        wanted: format!("at most {most:.2} x {whose}"),
        found: ratio.with_figures(unit),
        met: ratio.of_medians <= most,
    }
}

fn of_rates(found: &Proxies) -> Vec<Target> {
    let mut targets = Vec::new();
    for row in found.rates.iter().filter(|row| row.client == NGINX) {
        let Some(ratio) = &row.ours_to_this else {
            continue;
        };
        let ProxyRow {
            key,
            hub,
            connections,
            ..
        } = row;
        let (what, most) = if row.traffic == KEPT {
            let what = format!("CPU per request, kept alive, {connections} connections, {key}");
            (what, CPU_KEPT)
        } else {
            let mut limits = CPU_ANEW.iter();
            let limit = limits.find(|(of, _)| of == key).expect("a known key");
            let what = format!(
                "CPU per request, a new connection each, {connections} connections, {key}, hub's key {hub}"
            );
            (what, limit.1)
        };
        targets.push(at_most(what, most, "nginx's", ratio, "us"));
    }
    let mut ours = found.rates.iter().filter(|row| row.client == PROXY);
    let first = ours.find(|row| {
        (row.traffic, row.connections, row.hub) == (ANEW, ANEW_AT[0], HUB_KEYS[0].name())
    });
    if let Some(row) = first {
        let each = |what: &str, most: f64, count: f64| Target {
            what: format!(
                "{what} per new connection, {} connections, {}",
                row.connections, row.key
            ),
            wanted: format!("at most {most}"),
            found: format!("{count:.2}"),
            met: count <= most,
        };
        if let Some(count) = row.switches_per_request {
            targets.push(each("context switches", SWITCHES, count));
        }
        if let Some(Ok(count)) = row.futex_calls {
            targets.push(each("futex calls", FUTEX_CALLS, count));
        }
    }
    targets
}

fn of_memory(found: &Proxies) -> Vec<Target> {
    let mebibytes = |kib: u64| kib as f64 / 1024.0;
    let mut targets = Vec::new();
    for ours in found.memory.iter().filter(|row| row.client == PROXY) {
        let same = |row: &&MemoryRow| row.client == NGINX && row.connections == ours.connections;
        let Some(theirs) = found.memory.iter().find(same) else {
            continue;
        };
        let mut held = |how: &str, ours_kib: u64, theirs_kib: u64| {
            targets.push(Target {
                what: format!(
                    "memory of all processes of the local proxy ({how}), up to {} connections, {}",
                    ours.connections, ours.key
                ),
                wanted: "at most nginx's".to_owned(),
                found: format!(
                    "{:.1} MiB : {:.1} MiB",
                    mebibytes(ours_kib),
                    mebibytes(theirs_kib)
                ),
                met: ours_kib <= theirs_kib,
            });
        };
        held("peak resident, VmHWM", ours.peak_kib(), theirs.peak_kib());
        if let (Some(ours), Some(theirs)) = (ours.pss_kib, theirs.pss_kib) {
            held("shared pages once, PSS", ours, theirs);
        }
    }
    targets
}

fn of_quiet(found: &Proxies) -> Option<Target> {
    let count = found.signatures.as_ref()?;
    let key = found.rates.first().map_or("", |row| row.key);
    Some(Target {
        what: format!(
            "signatures for {} kept-alive requests to the local proxy, {key}",
            count.requests
        ),
        wanted: "0, all answered".to_owned(),
        found: format!("{}, {} answered", count.signatures, count.answered),
        met: count.signatures == 0 && count.answered == count.requests,
    })
}
