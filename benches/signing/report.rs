//! The tables, for people and for docs/bench.md; the docs' tables are written by no hand.

use std::fs;
use std::path::{Path, PathBuf};

use crate::pairs::Ratio;
use crate::plot;
use crate::report_proxies;
use crate::results::{Percentiles, Rate, Results};
use crate::scenarios::RAW;
use crate::table::Table;

const BEGIN: &str = "<!-- written by make bench: begin -->";
const END: &str = "<!-- written by make bench: end -->";

/// Prints the tables.
pub fn print(results: &Results) {
    println!("\n{}", results.machine.describe());
    for table in &tables(results) {
        println!("\n{}", table.plain());
    }
}

/// Where the files are written.
pub fn docs_folder() -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join("docs")
}

/// Writes the files of docs/.
pub fn write(results: &Results) {
    let folder = docs_folder().join("bench");
    fs::create_dir_all(&folder).expect("docs/bench");
    let json = serde_json::to_string_pretty(results).expect("JSON");
    fs::write(folder.join("results.json"), json + "\n").expect("results.json");
    fs::write(folder.join("signing.svg"), plot::draw(results)).expect("signing.svg");
    let mut markdown = format!("{}\n", results.machine.describe());
    for table in &tables(results) {
        markdown += &format!("\n{}", table.markdown());
    }
    replaced(Path::new("bench.md"), &markdown);
    println!("\ndocs/bench/results.json, docs/bench/signing.svg, docs/bench.md");
}

/// Puts what a run found between the two marks of a page of docs/.
pub fn replaced(page: &Path, markdown: &str) {
    let page = docs_folder().join(page);
    let text = fs::read_to_string(&page).expect("the page");
    let (before, rest) = text.split_once(BEGIN).expect("where the tables begin");
    let (_, after) = rest.split_once(END).expect("where the tables end");
    let text = format!("{before}{BEGIN}\n{markdown}\n{END}{after}");
    fs::write(page, text).expect("the page");
}

fn tables(results: &Results) -> Vec<Table> {
    let mut all = vec![
        targets(results),
        signatures(results),
        recorded(results),
        handshakes(results),
        slow_tokens(results),
        lateness(results),
    ];
    all.extend(report_proxies::tables(results));
    // Of a run in parts, only what it measured.
    all.retain(|table| !table.rows.is_empty());
    all
}

pub fn three(percentiles: &Percentiles) -> String {
    let Percentiles { p50, p90, p99, .. } = percentiles;
    format!("{p50} / {p90} / {p99}")
}

pub fn in_millis(percentiles: &Percentiles) -> String {
    let millis = |micros: u32| format!("{:.1}", f64::from(micros) / 1000.0);
    let Percentiles { p50, p90, p99, .. } = *percentiles;
    format!("{} / {} / {}", millis(p50), millis(p90), millis(p99))
}

fn targets(results: &Results) -> Table {
    let row = |target: &crate::results::Target| {
        let met = if target.met { "met" } else { "missed" };
        vec![
            target.what.clone(),
            target.wanted.clone(),
            target.found.clone(),
            met.to_owned(),
        ]
    };
    Table {
        title: "Targets",
        head: vec!["", "wanted", "found", ""],
        rows: results.targets.iter().map(row).collect(),
    }
}

fn signatures(results: &Results) -> Table {
    let row = |row: &crate::results::SignatureRow| {
        vec![
            row.key.to_owned(),
            three(&row.raw),
            three(&row.on_other_thread),
            three(&row.engine),
            row.above_raw().to_string(),
            row.verification.p50.to_string(),
            row.handover().to_string(),
            format!(
                "{:.2}",
                f64::from(row.engine.p50) / f64::from(row.raw.p50.max(1))
            ),
            three(&row.in_signer_process),
            row.process_adds().to_string(),
            row.raw.samples.to_string(),
        ]
    };
    Table {
        title: "One signature (us, p50 / p90 / p99; SoftHSM, one thread, call by call in turn)",
        head: vec![
            "key",
            "raw C_SignInit + C_Sign",
            "the same on another thread",
            "the engine",
            "above raw (p50)",
            "of that, verification",
            "and handover",
            "engine : raw",
            "in a signer process",
            "the process adds (p50)",
            "samples",
        ],
        rows: results.signatures.iter().map(row).collect(),
    }
}

fn recorded(results: &Results) -> Table {
    let row = |row: &crate::results::RecordedRow| {
        vec![
            row.key.to_owned(),
            three(&row.without),
            three(&row.interval),
            three(&row.each),
            row.cost().to_string(),
            (i64::from(row.each.p50) - i64::from(row.without.p50)).to_string(),
            row.without.samples.to_string(),
        ]
    };
    Table {
        title: "One signature with a ledger (us, p50 / p90 / p99; SoftHSM, call by call in turn; the file on this machine's disk)",
        head: vec![
            "key",
            "without",
            "fsync = interval",
            "fsync = each",
            "interval adds (p50)",
            "each adds (p50)",
            "samples",
        ],
        rows: results.recorded.iter().map(row).collect(),
    }
}

fn handshakes(results: &Results) -> Table {
    let of_raw = |key, connections| {
        let mut rows = results.handshakes.iter();
        let row =
            rows.find(|row| row.client == RAW && (row.key, row.connections) == (key, connections))?;
        row.measured.as_ref().map(|rate| rate.cpu_micros)
    };
    let mut rows = Vec::new();
    for row in &results.handshakes {
        let mut cells = vec![
            row.key.to_owned(),
            row.connections.to_string(),
            row.client.to_owned(),
        ];
        match &row.measured {
            Some(rate) => {
                let raw = of_raw(row.key, row.connections).unwrap_or(f64::NAN);
                cells.extend(of_rate(rate));
                cells.push(format!("{:.0}", rate.cpu_micros));
                cells.push(format!("{:.2}", rate.cpu_micros / raw));
                cells.push(rate.failures.to_string());
            }
            None => cells.push(row.missing.clone().unwrap_or_default()),
        }
        rows.push(cells);
    }
    Table {
        title: "A new connection per request (TLS 1.3, client certificate, SoftHSM)",
        head: vec![
            "key",
            "connections",
            "client",
            "per second",
            "ms, p50 / p90 / p99",
            "client's CPU, us each",
            "CPU : raw's",
            "failed",
        ],
        rows,
    }
}

pub fn of_rate(rate: &Rate) -> [String; 2] {
    [format!("{:.0}", rate.per_second), in_millis(&rate.micros)]
}

fn slow_tokens(results: &Results) -> Table {
    let row = |row: &crate::results::SlowRow| {
        let mut cells = vec![row.token.to_owned(), row.client.to_owned()];
        match (&row.rate, &row.signature) {
            (Some(rate), _) => {
                cells.extend(of_rate(rate));
                let limit = row.limit_per_second;
                cells.push(limit.map_or(String::new(), |limit| format!("{limit:.0}")));
                cells.push(limit.map_or(String::new(), |limit| {
                    format!("{:.0} %", 100.0 * rate.per_second / limit)
                }));
                let of_undelayed = row.of_undelayed.as_ref();
                cells.push(of_undelayed.map_or(String::new(), Ratio::text));
                cells.push(rate.failures.to_string());
                cells.push(String::new());
            }
            (None, Some(signature)) => {
                let calls = row.calls_per_signature.unwrap_or(f64::NAN);
                cells.push("(signatures only)".to_owned());
                cells.push(in_millis(signature));
                cells.extend([const { String::new() }; 4]);
                cells.push(format!("{calls:.2}"));
            }
            (None, None) => {}
        }
        cells
    };
    Table {
        title: "A slow token (P-256, 16 sessions, 32 connections)",
        head: vec![
            "token",
            "client",
            "per second",
            "ms, p50 / p90 / p99",
            "token's limit",
            "share of it",
            "delayed : not delayed",
            "failed",
            "calls per signature",
        ],
        rows: results.slow_tokens.rows.iter().map(row).collect(),
    }
}

fn lateness(results: &Results) -> Table {
    let found = &results.slow_tokens.lateness;
    let beside = format!(
        "beside {} handshakes at once, a token that takes 200 ms",
        found.connections
    );
    let row =
        |what: String, late: &Percentiles| vec![what, in_millis(late), late.samples.to_string()];
    let mut rows = Vec::new();
    if found.connections > 0 {
        rows.push(row("an idle runtime".to_owned(), &found.idle));
        rows.push(row(beside, &found.loaded));
    }
    Table {
        title: "Lateness of a task that wakes up every 5 ms (the library's client, two workers, in turn)",
        head: vec!["", "ms, p50 / p90 / p99", "wake-ups"],
        rows,
    }
}
