//! What was promised before it was measured, held against a run.

use crate::proxies::PROXY;
use crate::results::{HandshakeRow, Rate, Results, SlowRow, SlowTokens, Target};
use crate::scenarios::{PRODUCT, RAW};
use crate::targets_proxies;

/// What the engine may add to C_SignInit and C_Sign, its verification included, in microseconds.
const OWN_COST: i64 = 60;
/// What a process of its own may add to the engine, in microseconds.
const PROCESS_COST: i64 = 80;
/// What two records may add to a signature, in microseconds.
const LEDGER_COST: i64 = 40;
/// What a connection may cost above an inline signer's, in microseconds of CPU.
const CPU_ABOVE_RAW: f64 = 500.0;
/// What of a token's own limit has to come through, where one signature takes 25 ms.
const SHARE: f64 = 0.97;
/// Handshakes a second where one signature takes 10 ms; or what of them there are where nothing is delayed.
const AT_10_MS: f64 = 1300.0;
const OF_UNDELAYED: f64 = 0.95;
/// Lateness (p99) of other tasks beside handshakes, in microseconds; or no more than an idle runtime's.
const LATENESS: u32 = 3000;

/// Each promise, with what was found.
pub fn held(results: &Results) -> Vec<Target> {
    let mut targets = Vec::new();
    for row in measured(&results.signatures, |row| row.in_signer_process.samples) {
        let cost = row.above_raw();
        targets.push(Target {
            what: format!(
                "what the engine adds to raw C_Sign, verification included, {}",
                row.key
            ),
            wanted: format!("at most {OWN_COST} us"),
            found: format!("{cost} us"),
            met: cost <= OWN_COST,
        });
    }
    for row in measured(&results.signatures, |row| row.in_signer_process.samples) {
        let cost = row.process_adds();
        targets.push(Target {
            what: format!("what the signer process adds to a signature, {}", row.key),
            wanted: format!("at most {PROCESS_COST} us"),
            found: format!("{cost} us"),
            met: cost <= PROCESS_COST,
        });
    }
    for row in measured(&results.recorded, |row| row.each.samples) {
        let cost = row.cost();
        targets.push(Target {
            what: format!(
                "what the ledger adds to a signature, fsync = interval, {}",
                row.key
            ),
            wanted: format!("at most {LEDGER_COST} us"),
            found: format!("{cost} us"),
            met: cost <= LEDGER_COST,
        });
    }
    let cpu = |client| rate(&results.handshakes, client).map(|rate| rate.cpu_micros);
    if let (Some(ours), Some(raw)) = (cpu(PRODUCT), cpu(RAW)) {
        targets.push(Target {
            what: "CPU per connection above an inline signer's, RSA-2048, 8 connections".to_owned(),
            wanted: format!("at most {CPU_ABOVE_RAW} us"),
            found: format!("{:.0} us", ours - raw),
            met: ours - raw <= CPU_ABOVE_RAW,
        });
    }
    targets.extend(of_slow_tokens(&results.slow_tokens));
    targets.extend(targets_proxies::held(results));
    targets
}

fn of_slow_tokens(found: &SlowTokens) -> Vec<Target> {
    let mut targets = Vec::new();
    let row = |token: &str, client: &str| -> Option<&SlowRow> {
        let mut rows = found.rows.iter();
        rows.find(|row| row.token.contains(token) && row.client == client)
    };
    for client in [PROXY, PRODUCT] {
        if let Some(row) = row("25 ms", client)
            && let (Some(rate), Some(limit)) = (&row.rate, row.limit_per_second)
        {
            let share = rate.per_second / limit;
            targets.push(Target {
                what: format!(
                    "share of the limit of a token that takes 25 ms, 16 sessions, 32 connections, {client}"
                ),
                wanted: format!("at least {:.0} %", 100.0 * SHARE),
                found: format!("{:.1} %", 100.0 * share),
                met: share >= SHARE,
            });
        }
        if let Some(row) = row("10 ms", client)
            && let (Some(rate), Some(share)) = (&row.rate, &row.of_undelayed)
        {
            targets.push(Target {
                what: format!(
                    "handshakes per second of a token that takes 10 ms, 16 sessions, 32 connections, {client}"
                ),
                wanted: format!(
                    "at least {AT_10_MS}, or {:.0} % of what the machine does without the delay",
                    100.0 * OF_UNDELAYED
                ),
                found: format!("{:.0}; {} of that without", rate.per_second, share.text()),
                met: rate.per_second >= AT_10_MS || share.of_medians >= OF_UNDELAYED,
            });
        }
    }
    if found.lateness.connections > 0 {
        let (idle, loaded) = (&found.lateness.idle, &found.lateness.loaded);
        targets.push(Target {
            what: format!(
                "lateness of other tasks beside {} handshakes on a token that takes 200 ms, p99",
                found.lateness.connections
            ),
            wanted: format!(
                "at most {} ms, or an idle runtime's in the same run",
                LATENESS / 1000
            ),
            found: format!(
                "{:.1} ms; idle {:.1} ms",
                f64::from(loaded.p99) / 1000.0,
                f64::from(idle.p99) / 1000.0
            ),
            met: loaded.p99 <= LATENESS.max(idle.p99),
        });
    }
    if let Some(calls) = row("3 ms", PRODUCT).and_then(|row| row.calls_per_signature) {
        targets.push(Target {
            what: "calls of the module per signature".to_owned(),
            wanted: "2".to_owned(),
            found: format!("{calls:.2}"),
            met: (calls - 2.0).abs() < 0.005,
        });
    }
    targets
}

fn rate<'a>(rows: &'a [HandshakeRow], client: &str) -> Option<&'a Rate> {
    let mut rows = rows.iter();
    let row =
        rows.find(|row| row.key == "RSA-2048" && row.connections == 8 && row.client == client)?;
    row.measured.as_ref()
}

/// Rows with a sample: what was not measured meets nothing.
fn measured<T>(rows: &[T], samples: impl Fn(&T) -> usize) -> impl Iterator<Item = &T> {
    rows.iter().filter(move |row| samples(row) > 0)
}
