//! `make bench`: what hsm-mtls costs beside the token itself and beside other clients of it.
//!
//! Tables for people on stdout, results.json, signing.svg and the tables of docs/bench.md for keeps.
//! `BENCH_SECONDS` says how long one cell of a table is measured; 3 unless told. The figures of one
//! run are made in turn and can be compared with each other, and hardly with those of another run.
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
#![allow(unreachable_pub, reason = "pub is what the other rooms may use")]

#[path = "../../tests/common/mod.rs"]
mod common;

mod clients;
mod in_memory;
mod load;
mod machine;
mod plot;
mod processes;
mod proxies;
mod raw;
mod report;
mod results;
mod role;
mod scenarios;
mod servers;
mod signatures;
mod table;
mod targets;

use serde::Serialize;
use tokio::runtime::Builder;

use machine::Machine;
use results::{Proxies, Results};
use role::Role;
use scenarios::{KEYS, Place};

/// As many as the machine of the docs has cores; the runtime of an inline signer is blocked by it.
const WORKERS: usize = 2;

fn main() {
    if let Some(role) = role::of_this_process() {
        return act(role);
    }
    let seconds = std::env::var("BENCH_SECONDS").map_or(3.0, |text| {
        text.parse().expect("BENCH_SECONDS is a number of seconds")
    });
    let mut results = Results {
        machine: Machine::here(),
        signatures: Vec::new(),
        recorded: Vec::new(),
        handshakes: Vec::new(),
        slow_tokens: Vec::new(),
        proxies: Proxies::default(),
        targets: Vec::new(),
    };
    for key in KEYS {
        let place = Place::new(key, seconds);
        results.signatures.push(place.signatures());
        results.recorded.push(place.recorded());
        results.handshakes.extend(place.handshakes());
        match key.1 {
            "P-256" => results.slow_tokens = place.slow_tokens(),
            _ => results.proxies = proxies::compared(place),
        }
    }
    results.targets = targets::held(&results);
    report::write(&results);
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
