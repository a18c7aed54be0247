//! The tables of processes: the local proxy beside nginx, one request beside curl, starts, and resumption.

use crate::pairs::{Ratio, median};
use crate::report::{in_millis, of_rate};
use crate::results::{MemoryRow, MixedRow, OneShot, ProxyRow, Rate, Results, Resumed, Starts};
use crate::table::Table;

pub fn tables(results: &Results) -> Vec<Table> {
    vec![
        proxies(results),
        memory(results),
        mixed_loads(results),
        one_shots(results),
        first_answers(results),
        signers_again(results),
        resumed(results),
    ]
}

fn two(value: Option<f64>) -> String {
    value.map_or(String::new(), |value| format!("{value:.2}"))
}

fn proxies(results: &Results) -> Table {
    let row = |row: &ProxyRow| {
        let mut cells = vec![
            row.key.to_owned(),
            row.hub.to_owned(),
            row.traffic.to_owned(),
            row.connections.to_string(),
            row.client.to_owned(),
        ];
        match &row.measured {
            Some(rate) => {
                cells.extend(of_rate(rate));
                cells.push(format!("{:.0}", rate.cpu_micros));
                let ratio = row.ours_to_this.as_ref();
                cells.push(ratio.map_or(String::new(), Ratio::text));
                let made = row.connections_per_request.unwrap_or(f64::NAN);
                cells.push(format!("{made:.3}"));
                cells.push(two(row.switches_per_request));
                cells.push(match &row.futex_calls {
                    Some(Ok(calls)) => format!("{calls:.2}"),
                    Some(Err(why)) => why.clone(),
                    None => String::new(),
                });
                cells.push(rate.failures.to_string());
            }
            None => cells.push(row.missing.clone().unwrap_or_default()),
        }
        cells
    };
    let rows = results.proxies.iter().flat_map(|found| &found.rates);
    Table {
        title: "The local proxy (TLS 1.3, SoftHSM, HTTP/1.1 on both sides, access logs on; pairs in turn)",
        head: vec![
            "client's key",
            "hub's key",
            "to the hub",
            "connections",
            "proxy",
            "per second",
            "ms, p50 / p90 / p99",
            "CPU of all its processes, us each",
            "hsm-mtls : this one, CPU (spread of the pairs)",
            "connections to the hub, per request",
            "context switches, per request",
            "futex calls, per request",
            "failed",
        ],
        rows: rows.map(row).collect(),
    }
}

fn memory(results: &Results) -> Table {
    let mebibytes = |kib: u64| format!("{:.1}", kib as f64 / 1024.0);
    let row = |row: &MemoryRow| {
        let each: Vec<_> = row.peaks_kib.iter().copied().map(mebibytes).collect();
        vec![
            row.key.to_owned(),
            row.connections.to_string(),
            row.client.to_owned(),
            each.join(" + "),
            mebibytes(row.peak_kib()),
            row.pss_kib.map_or("not readable".to_owned(), mebibytes),
        ]
    };
    let rows = results.proxies.iter().flat_map(|found| &found.memory);
    Table {
        title: "Memory of the proxies under these loads (MiB)",
        head: vec![
            "client's key",
            "up to connections",
            "proxy",
            "each process's peak resident (VmHWM)",
            "their sum",
            "the most seen of all where a shared page counts once (PSS)",
        ],
        rows: rows.map(row).collect(),
    }
}

fn mixed_loads(results: &Results) -> Table {
    let row = |row: &MixedRow| {
        let mut cells = vec![row.client.to_owned(), row.new_per_second.to_string()];
        let of = |rate: &Option<Rate>| {
            let text = |rate: &Rate| {
                [
                    format!("{:.0}", rate.per_second),
                    in_millis(&rate.micros),
                    rate.failures.to_string(),
                ]
            };
            rate.as_ref().map_or([const { String::new() }; 3], text)
        };
        match &row.missing {
            Some(why) => cells.push(why.clone()),
            None => {
                cells.extend(of(&row.kept));
                cells.extend(of(&row.new));
            }
        }
        cells
    };
    let rows = results.mixed_loads.iter().flat_map(|found| &found.rows);
    Table {
        title: "Requests over kept connections beside new connections (P-256; both at an even rate, from the moment each is due)",
        head: vec![
            "proxy",
            "new connections a second, wanted",
            "kept: per second",
            "ms, p50 / p90 / p99",
            "failed",
            "new: per second",
            "ms, p50 / p90 / p99",
            "failed",
        ],
        rows: rows.map(row).collect(),
    }
}

fn ratio_cells(ratio: Option<&Ratio>) -> [String; 3] {
    let text = |ratio: &Ratio| {
        [
            format!("{:.1}", ratio.ours),
            format!("{:.1}", ratio.theirs),
            ratio.text(),
        ]
    };
    ratio.map_or([const { String::new() }; 3], text)
}

fn one_shots(results: &Results) -> Table {
    let row = |row: &OneShot| {
        let mut cells = vec![row.key.to_owned()];
        match &row.missing {
            Some(why) => cells.push(why.clone()),
            None => {
                cells.extend(ratio_cells(row.wall_ms.as_ref()));
                cells.extend(ratio_cells(row.cpu_ms.as_ref()));
            }
        }
        cells
    };
    Table {
        title: "One request by a command: hsm-mtls request beside curl --engine pkcs11 (ms, medians of 30 pairs)",
        head: vec![
            "key",
            "wall: hsm-mtls",
            "curl",
            "ratio (spread)",
            "CPU: hsm-mtls",
            "curl",
            "ratio (spread)",
        ],
        rows: results.one_shots.iter().map(row).collect(),
    }
}

fn first_answers(results: &Results) -> Table {
    let row = |row: &Starts| {
        let mut cells = vec![row.key.to_owned()];
        match &row.missing {
            Some(why) => cells.push(why.clone()),
            None => cells.extend(ratio_cells(row.first_answer_ms.as_ref())),
        }
        cells
    };
    Table {
        title: "From the start of the proxy to its first good answer (ms, medians of 10 pairs)",
        head: vec![
            "key",
            "hsm-mtls proxy",
            "nginx + engine_pkcs11",
            "ratio (spread)",
        ],
        rows: results.starts.iter().map(row).collect(),
    }
}

fn signers_again(results: &Results) -> Table {
    let spread = |values: &[f64]| {
        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
        let most = values.iter().copied().fold(0.0, f64::max);
        let median = median(values.to_vec()).unwrap_or(f64::NAN);
        format!("{median:.1} ({least:.1} to {most:.1})")
    };
    let row = |row: &Starts| {
        vec![
            row.key.to_owned(),
            spread(&row.signer_again_ms),
            spread(&row.module_by_itself_ms),
            format!("{:.1}", row.handshake_ms),
            row.beyond_module_ms()
                .map_or(String::new(), |beyond| format!("{beyond:.1}")),
        ]
    };
    let rows = results.starts.iter();
    let rows = rows.filter(|row| !row.signer_again_ms.is_empty());
    Table {
        title: "A signer that was killed (SIGKILL): until the next request is answered, whose handshake is signed (ms, medians of 10)",
        head: vec![
            "key",
            "from the kill to the answer",
            "the module's load, C_Initialize and C_Login by themselves",
            "such a request where the signer stands",
            "beyond the module, the request included",
        ],
        rows: rows.map(row).collect(),
    }
}

fn resumed(results: &Results) -> Table {
    let row = |row: &Resumed| {
        vec![
            row.key.to_owned(),
            row.requests.to_string(),
            row.connections.to_string(),
            row.signatures.to_string(),
            row.failures.to_string(),
        ]
    };
    Table {
        title: "Session resumption (resumption = \"1h\"; a hub that ends each connection)",
        head: vec![
            "key",
            "requests",
            "connections to the hub",
            "signatures",
            "failed",
        ],
        rows: results.resumed.iter().map(row).collect(),
    }
}
