//! The ledger as it grows: verified, shown, and continued by a program that starts.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hsm_mtls::internal::config::ledger::{Fsync, LedgerConfig};
use hsm_mtls::internal::config::trust::Fingerprint;
use hsm_mtls::internal::ledger::{
    Attempt, Entry, FileLedger, Ledger, Outcome, OutcomeResult, Process,
};

use crate::common::bank::BINARY;
use crate::growth::{Line, Series};
use crate::setup::Setup;

const LEDGER: &str = "growth.jsonl";
/// The first amount; each further one is ten times the one before.
const FIRST: u64 = 1_000;
const LAST: u64 = 1_000_000;
/// Of each command, of which the fastest counts: what disturbs it makes it slower only.
const TIMES: usize = 3;

pub fn measured(setup: &mut Setup) -> Series {
    let last = std::env::var("GROWTH_RECORDS").map_or(LAST, |text| {
        text.parse().expect("GROWTH_RECORDS is a number of records")
    });
    setup.bank.configure(|settings| {
        settings.sections =
            format!("[signer]\nper_second = 1000000\n\n[ledger]\nfile = \"{LEDGER}\"\n");
    });
    let mut lines = [
        Line::new("ledger verify"),
        Line::new("ledger show"),
        Line::new("ledger show --counts"),
        Line::new("a start: request, signed"),
    ];
    let mut records = 0;
    let mut goal = FIRST;
    while goal <= last {
        eprintln!("the ledger: {goal} records");
        append(setup, goal - records);
        records = goal;
        let commands: [&[&str]; 4] = [
            &["ledger", "verify"],
            &["ledger", "show"],
            &["ledger", "show", "--counts"],
            &["request", "GET", "cm:/once"],
        ];
        for (line, arguments) in lines.iter_mut().zip(commands) {
            let times = (0..TIMES).map(|_| timed(setup, arguments));
            let least = times.min().expect("some times");
            line.points.push((goal as f64, least.as_secs_f64()));
        }
        goal *= 10;
    }
    setup.without_proxy();
    Series {
        title: "The ledger",
        name: "ledger",
        x: "records",
        y: "seconds",
        lines: lines.into(),
    }
}

/// Signatures with their outcomes, as the engine records them.
fn append(setup: &Setup, records: u64) {
    let ledger = FileLedger::open(&LedgerConfig {
        file: setup.bank.path(LEDGER),
        fsync: Fsync::Interval,
        fsync_interval: Duration::from_secs(1),
        rotate_at_mib: 64,
        head: None,
        head_interval: Duration::from_secs(300),
    });
    let ledger = ledger.expect("a ledger");
    for _ in 0..records / 2 {
        let attempt = ledger.record(&Entry::Attempt(Attempt {
            purpose: "tls13-client-auth",
            key: "pkcs11:token=lfi;object=c3;type=private",
            spki: Fingerprint([1; 32]),
            scheme: "ecdsa_secp256r1_sha256",
            message: Fingerprint([2; 32]),
            peer: Some("127.0.0.1:443"),
            interaction_id: Some("c4a2f1de-0a1b-4b8e-8f63-2c9e1b7d4a55"),
            jti: None,
            audience: None,
            expires: None,
            process: Process::current(),
        }));
        let outcome = Outcome {
            of: attempt.expect("a record"),
            result: OutcomeResult::Good,
            class: None,
            ckr: None,
            function: None,
            spki: None,
            duration: Duration::from_micros(818),
        };
        let outcome = ledger.record(&Entry::Outcome(outcome));
        outcome.expect("a record");
    }
}

fn timed(setup: &Setup, arguments: &[&str]) -> Duration {
    let mut command = Command::new(BINARY.expect("cargo tells benchmarks where the command is"));
    command
        .arg("--config")
        .arg(setup.bank.config_path())
        .args(arguments)
        .env_remove("SOFTHSM2_CONF")
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let began = Instant::now();
    let done = command.output().expect("hsm-mtls runs");
    let took = began.elapsed();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(
        done.status.success(),
        "hsm-mtls {}: {said}",
        arguments.join(" ")
    );
    took
}
