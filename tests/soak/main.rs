//! A token that misbehaves in every way that we know, for as long as one likes, under load: each
//! request ends well or with a reason, no wrong signature leaves, and nothing grows.
//!
//! `SOAK_SECONDS` says how long; a short run is part of the tests, so that the long one keeps
//! working. Two clients run side by side, one whose token behaves and one whose token does not: what
//! the machine does to both is not held against either. `make soak` takes ten minutes and writes
//! docs/soak.md. It is a binary of its own, because it measures the memory of its processes, and `make soak` runs it
//! alone.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]
#![allow(unreachable_pub, reason = "pub is what the other modules use")]

#[path = "../common/mod.rs"]
mod common;

mod faults;
mod heap;
mod load;
mod memory;
mod outcome;
mod summary;

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use common::bank::{Bank, config_of_child};
use common::chaos::Chaos;
use common::generated_page;
use common::hub::{Hub, HubOptions};
use common::remote_token::{CLIENT, RemoteToken};
use faults::Faults;
use hsm_mtls::internal::config::Config;
use load::Load;
use memory::Trend;
use outcome::{ClientOutcome, HubOutcome, Outcome};

const SOCKET: &str = "SOAK_SOCKET";
const TOKEN: &str = "SOAK_TOKEN";
const RESULT: &str = "SOAK_RESULT";
const SECONDS: &str = "SOAK_SECONDS";
const PAGE: &str = "SOAK_PAGE";

const SESSIONS: usize = 4;
/// For one signature.
const TIMEOUT: Duration = Duration::from_secs(2);
/// What a request may take beside its signature.
const REST: Duration = Duration::from_secs(1);
/// From here on, memory has a trend that can be told from noise.
const LONG_ENOUGH: Duration = Duration::from_secs(300);

/// KiB of resident memory that threads and holes may take in a client whose token misbehaves.
const MOST_RESIDENT_ABOVE: u64 = 16 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Behaves,
    Misbehaves,
}

#[test]
fn every_request_ends_well_or_with_a_reason() {
    if let Some(config) = config_of_child() {
        return soak(&config);
    }
    let (calm, faulty) = thread::scope(|scope| {
        let calm = scope.spawn(|| run(Token::Behaves));
        let faulty = scope.spawn(|| run(Token::Misbehaves));
        (calm.join().unwrap(), faulty.join().unwrap())
    });
    let text = summary::markdown(&calm, &faulty);
    println!("{text}");
    if let Some(page) = std::env::var_os(PAGE) {
        generated_page::write(page.as_ref(), "soak", &text);
    }
    for outcome in [&calm, &faulty] {
        let ClientOutcome {
            unexplained,
            wrong_signatures,
            slowest_request_ms,
            slowest_signature_ms,
            not_recovered,
            requests,
            good,
            ..
        } = &outcome.client;
        assert!(unexplained.is_empty(), "{unexplained:#?}");
        assert!(not_recovered.is_empty(), "{not_recovered:#?}");
        assert_eq!((*wrong_signatures, outcome.hub.wrong_signatures), (0, 0));
        assert_eq!(
            *requests,
            good + outcome.client.failed.values().sum::<u64>()
        );
        let ms = |time: Duration| time.as_millis() as u64;
        assert!(*slowest_signature_ms <= ms(TIMEOUT * 11 / 10 + REST / 4));
        assert!(*slowest_request_ms <= ms(TIMEOUT + REST));
        assert!(*good > 0 && outcome.hub.good > 0);
    }
    assert_eq!(calm.client.failed, Default::default());
    assert!(!faulty.client.failed.is_empty(), "no fault was felt");
    // Each session may have a thread that hangs, and each caller one for its handshake.
    let spare = SESSIONS as u64 + load::CALLERS as u64;
    assert!(faulty.client.most_threads <= calm.client.most_threads + spare);
    assert!(faulty.client.files_at_the_end <= calm.client.files_at_the_end + SESSIONS as u64);
    let resident = |outcome: &Outcome| outcome.client.resident.last().copied();
    assert!(resident(&faulty) < resident(&calm).map(|kib| kib + MOST_RESIDENT_ABOVE));
    if seconds() >= LONG_ENOUGH {
        let (calm, faulty) = (Trend::of(&calm.client), Trend::of(&faulty.client));
        assert!(faulty.is_within_noise_of(&calm), "{calm:?}, {faulty:?}");
    }
}

/// A bank of its own, with hub and token, and its client in a process of its own.
fn run(token: Token) -> Outcome {
    let mut bank = Bank::new();
    let hub = Hub::start_in_thread(HubOptions::of(&bank.framework, &["localhost", "127.0.0.1"]));
    bank.hub_at(hub.port());
    bank.certify("p-256");
    let timeout = TIMEOUT.as_secs();
    bank.configure(|settings| {
        settings.token_lines = format!("timeout = \"{timeout}s\"\nsessions = {SESSIONS}");
        settings.hub_lines = "connect_timeout = \"5s\"\nresponse_timeout = \"5s\"".to_owned();
    });
    let chaos = Chaos::between(&mut bank, "");
    let socket = bank.path("p11-kit.sock");
    let result = bank.path("outcome.json");
    let text = |path: &PathBuf| path.to_str().unwrap().to_owned();
    let variables = [
        ("CHAOS_TOKEN_MODULE", CLIENT.to_owned()),
        ("P11_KIT_SERVER_ADDRESS", RemoteToken::address(&socket)),
        (SOCKET, text(&socket)),
        (RESULT, text(&result)),
        (TOKEN, format!("{token:?}")),
    ];
    chaos.run_test(&bank, every_request_ends_well_or_with_a_reason, &variables);
    let client = std::fs::read(&result).unwrap();
    Outcome {
        client: serde_json::from_slice(&client).unwrap(),
        hub: HubOutcome::of(&hub),
    }
}

/// In the client's process.
fn soak(config: &Config) {
    let socket = PathBuf::from(std::env::var_os(SOCKET).unwrap());
    let misbehaves = std::env::var(TOKEN).unwrap() == format!("{:?}", Token::Misbehaves);
    let mut token = RemoteToken::at(&socket, "lfi");
    token.start();
    let load = Load::open(config);
    let end = Instant::now() + seconds();
    let (faults, memory) = thread::scope(|scope| {
        let memory = scope.spawn(|| memory::watch(end));
        let faults = scope.spawn(|| {
            let mut faults = Faults::of(&mut token, Chaos::of_child(), &load);
            if misbehaves {
                faults.go_on_until(end);
            }
            faults.felt()
        });
        load.run(end);
        (faults.join().unwrap(), memory.join().unwrap())
    });
    let outcome = load.outcome(faults, memory);
    let text = serde_json::to_vec_pretty(&outcome).unwrap();
    std::fs::write(std::env::var_os(RESULT).unwrap(), text).unwrap();
}

fn seconds() -> Duration {
    let seconds = std::env::var(SECONDS).map_or(20, |text| text.parse().unwrap());
    Duration::from_secs(seconds)
}
