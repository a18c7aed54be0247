//! `make bench`: what hsm-mtls costs beside the token itself and beside other clients of it.
//!
//! Tables for people on stdout, results.json, signing.svg and the tables of docs/bench.md for keeps.
//! `BENCH_SECONDS` says how long one cell of a table is measured; 3 unless told. `BENCH_PARTS` names the parts of a short run,
//! which writes no file. The figures of one run are made in turn and can be compared with each other, and hardly with those of another run.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark that cannot go on has failed"
)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for the command line"
)]
#![allow(unreachable_pub, reason = "pub is what the other modules may use")]

#[path = "../../tests/common/mod.rs"]
mod common;

mod clients;
mod futex_calls;
mod growth;
mod growth_ledger;
mod growth_proxy;
mod growth_sessions;
mod in_memory;
mod lateness;
mod line_plot;
mod load;
mod machine;
mod mixed_load;
mod one_shot;
mod own_proxy;
mod pairs;
mod peers;
mod plot;
mod processes;
mod proxies;
mod raw;
mod report;
mod report_proxies;
mod results;
mod resumption;
mod role;
mod scenarios;
mod servers;
mod setup;
mod signatures;
mod slow_tokens;
mod starts;
mod table;
mod targets;
mod targets_proxies;

use serde::Serialize;
use tokio::runtime::Builder;

use machine::Machine;
use results::{Results, SlowTokens};
use role::Role;
use setup::{KEYS, Setup};

/// As many as the machine of the docs has cores; the runtime of an inline signer is blocked by it.
const WORKERS: usize = 2;

fn main() {
    if let Some(role) = role::of_this_process() {
        return act(role);
    }
    let seconds = std::env::var("BENCH_SECONDS").map_or(3.0, |text| {
        text.parse().expect("BENCH_SECONDS is a number of seconds")
    });
    if std::env::args().any(|argument| argument == "growth") {
        return growth::run(seconds);
    }
    // Names of parts, for trying them: "proxies,starts".
    let parts = std::env::var("BENCH_PARTS").ok();
    let wanted = |part: &str| {
        parts
            .as_ref()
            .is_none_or(|parts| parts.split(',').any(|name| name == part))
    };
    let mut results = Results {
        machine: Machine::here(),
        signatures: Vec::new(),
        recorded: Vec::new(),
        handshakes: Vec::new(),
        slow_tokens: SlowTokens::default(),
        proxies: Vec::new(),
        mixed_loads: Vec::new(),
        one_shots: Vec::new(),
        starts: Vec::new(),
        resumed: Vec::new(),
        targets: Vec::new(),
    };
    for key in KEYS {
        let mut setup = Setup::new(key, seconds);
        if wanted("signatures") {
            results.signatures.push(setup.signatures());
            results.recorded.push(setup.recorded());
        }
        if wanted("handshakes") {
            results.handshakes.extend(setup.handshakes());
        }
        if wanted("one-shot") {
            results.one_shots.push(one_shot::measured(&setup));
        }
        if wanted("starts") {
            results.starts.push(starts::measured(&mut setup));
        }
        if wanted("proxies") {
            results.proxies.push(proxies::compared(&mut setup));
        }
        // What follows does not depend on the key's type but for the time of a signature.
        if key.1 == "P-256" {
            if wanted("mixed-load") {
                results.mixed_loads.push(mixed_load::measured(&mut setup));
            }
            if wanted("resumption") {
                results.resumed.push(resumption::measured(&mut setup));
            }
            if wanted("slow-tokens") {
                results.slow_tokens = slow_tokens::measured(&mut setup);
            }
        }
    }
    results.targets = targets::held(&results);
    report::print(&results);
    // A part of a run would take the place of a whole one.
    if parts.is_none() {
        report::write(&results);
    }
}

/// The part of a child, which prints what it measured.
fn act(role: Role) {
    let runtime = Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()
        .expect("a runtime");
    match role {
        Role::Sign { config, seconds } => print(&signatures::compared(&config, seconds)),
        Role::SignSlowly { config, seconds } => print(&signatures::by_engine(&config, seconds)),
        Role::SignRecorded { config, seconds } => print(&signatures::recorded(&config, seconds)),
        Role::Connect { config, way, load } => {
            // As an application does it: not on the thread that starts the runtime.
            let task = runtime.spawn(async move { clients::connect(&config, way, load).await });
            print(&runtime.block_on(task).expect("no panic"));
        }
        Role::ThroughProxy {
            port,
            path,
            keep_alive,
            processes,
            load,
        } => {
            let measured = clients::through_proxy(port, &path, keep_alive, &processes, load);
            print(&runtime.block_on(measured));
        }
        Role::MixedLoad {
            port,
            new_per_second,
            seconds,
        } => print(&runtime.block_on(mixed_load::ask(port, new_per_second, seconds))),
        Role::Lateness {
            config,
            connections,
            seconds,
        } => {
            let task = async move { lateness::measured(&config, connections, seconds).await };
            let task = runtime.spawn(task);
            print(&runtime.block_on(task).expect("no panic"));
        }
        Role::LoadAndLogIn { module, pin_file } => {
            print(&starts::load_and_log_in(&module, &pin_file));
        }
        Role::SoMany {
            port,
            path,
            connections,
            requests,
        } => {
            let measured = clients::so_many(port, &path, connections, requests);
            print(&runtime.block_on(measured));
        }
    }
}

fn print(found: &impl Serialize) {
    println!("{}", serde_json::to_string(found).expect("JSON"));
}
