//! What a run found, as it is kept in docs/bench/results.json.

use serde::Serialize;

use crate::machine::Machine;
use crate::pairs::{Ratio, median};
use crate::role::Measured;

#[derive(Serialize)]
pub struct Results {
    pub machine: Machine,
    pub signatures: Vec<SignatureRow>,
    pub recorded: Vec<RecordedRow>,
    pub handshakes: Vec<HandshakeRow>,
    pub slow_tokens: SlowTokens,
    /// By the type of the client's key.
    pub proxies: Vec<Proxies>,
    pub mixed_loads: Vec<MixedLoad>,
    pub one_shots: Vec<OneShot>,
    pub starts: Vec<Starts>,
    pub resumed: Vec<Resumed>,
    pub targets: Vec<Target>,
}

/// In microseconds.
#[derive(Clone, Copy, Default, Serialize)]
pub struct Percentiles {
    pub p50: u32,
    pub p90: u32,
    pub p99: u32,
    pub samples: usize,
}

impl Percentiles {
    pub fn of(mut micros: Vec<u32>) -> Self {
        micros.sort_unstable();
        let at = |share: usize| micros.get(micros.len() * share / 100).copied();
        Self {
            p50: at(50).unwrap_or(0),
            p90: at(90).unwrap_or(0),
            p99: at(99).unwrap_or(0),
            samples: micros.len(),
        }
    }
}

#[derive(Serialize)]
pub struct SignatureRow {
    pub key: &'static str,
    pub raw: Percentiles,
    pub on_other_thread: Percentiles,
    pub verification: Percentiles,
    pub engine: Percentiles,
    pub in_signer_process: Percentiles,
}

impl SignatureRow {
    /// What the signer process adds to the engine within this one, in microseconds.
    pub fn process_adds(&self) -> i64 {
        i64::from(self.in_signer_process.p50) - i64::from(self.engine.p50)
    }

    /// Of the medians: the way to another thread and back.
    pub fn handover(&self) -> i64 {
        i64::from(self.on_other_thread.p50) - i64::from(self.raw.p50)
    }

    /// Of the medians: what the engine adds to the two calls, the verification included.
    pub fn above_raw(&self) -> i64 {
        i64::from(self.engine.p50) - i64::from(self.raw.p50)
    }
}

/// The engine without a ledger and with one.
#[derive(Serialize)]
pub struct RecordedRow {
    pub key: &'static str,
    pub without: Percentiles,
    pub interval: Percentiles,
    pub each: Percentiles,
}

impl RecordedRow {
    /// Of the medians: what two records cost.
    pub fn cost(&self) -> i64 {
        i64::from(self.interval.p50) - i64::from(self.without.p50)
    }
}

#[derive(Serialize)]
pub struct HandshakeRow {
    pub key: &'static str,
    pub connections: usize,
    pub client: &'static str,
    /// None where it could not be measured: `missing` says why.
    pub measured: Option<Rate>,
    pub missing: Option<String>,
}

#[derive(Serialize)]
pub struct Rate {
    pub per_second: f64,
    pub micros: Percentiles,
    pub cpu_micros: f64,
    pub failures: u64,
}

impl Rate {
    pub fn of(measured: Measured) -> Self {
        let done = measured.micros.len() as f64;
        if let Some(why) = &measured.first_failure {
            eprintln!("{} requests failed: {why}", measured.failures);
        }
        Self {
            per_second: done / measured.seconds,
            cpu_micros: measured.cpu_micros as f64 / done.max(1.0),
            failures: measured.failures,
            micros: Percentiles::of(measured.micros),
        }
    }
}

#[derive(Default, Serialize)]
pub struct SlowTokens {
    pub rows: Vec<SlowRow>,
    pub lateness: Lateness,
}

/// How late a task's timer was, in microseconds.
#[derive(Default, Serialize)]
pub struct Lateness {
    /// Handshakes at once.
    pub connections: usize,
    pub handshakes: usize,
    pub failures: u64,
    pub idle: Percentiles,
    pub loaded: Percentiles,
}

#[derive(Serialize)]
pub struct SlowRow {
    pub token: &'static str,
    pub client: &'static str,
    /// What the token itself allows: sessions by the time of a signature.
    pub limit_per_second: Option<f64>,
    pub rate: Option<Rate>,
    /// Requests a second, delayed : not delayed, of the rounds in turn.
    pub of_undelayed: Option<Ratio>,
    pub signature: Option<Percentiles>,
    pub calls_per_signature: Option<f64>,
}

/// The local proxy beside nginx.
#[derive(Default, Serialize)]
pub struct Proxies {
    pub rates: Vec<ProxyRow>,
    pub memory: Vec<MemoryRow>,
    pub signatures: Option<SignatureCount>,
}

#[derive(Serialize)]
pub struct ProxyRow {
    /// The client's key, and the hub's.
    pub key: &'static str,
    pub hub: &'static str,
    /// Of connections to the hub.
    pub traffic: &'static str,
    pub connections: usize,
    pub client: &'static str,
    /// CPU per request, our proxy : this one, of pairs in turn.
    pub ours_to_this: Option<Ratio>,
    /// As the hub counted them.
    pub connections_per_request: Option<f64>,
    /// Context switches of all threads of all processes.
    pub switches_per_request: Option<f64>,
    /// Calls, or why they could not be counted. None where they were not asked for.
    pub futex_calls: Option<Result<f64, String>>,
    /// None where it could not be measured: `missing` says why.
    pub measured: Option<Rate>,
    pub missing: Option<String>,
}

/// Of all processes of a proxy, in KiB.
#[derive(Serialize)]
pub struct MemoryRow {
    pub key: &'static str,
    /// The most connections of applications so far.
    pub connections: usize,
    pub client: &'static str,
    /// Each process's own peak (VmHWM): a page that they share counts in each. The first is the one
    /// that started the others.
    pub peaks_kib: Vec<u64>,
    /// The most that was seen under load where a shared page counts once (PSS).
    pub pss_kib: Option<u64>,
}

impl MemoryRow {
    pub fn peak_kib(&self) -> u64 {
        self.peaks_kib.iter().sum()
    }
}

/// What was signed for requests over connections that stood.
#[derive(Serialize)]
pub struct SignatureCount {
    pub requests: usize,
    pub answered: usize,
    /// Connections to the hub that stood before them.
    pub connections: usize,
    /// Before them, since the proxy began.
    pub before: u64,
    pub signatures: u64,
}

/// Requests over kept connections beside new ones.
#[derive(Serialize)]
pub struct MixedLoad {
    pub rows: Vec<MixedRow>,
    /// Of kept requests beside new ones, of pairs in turn.
    pub p99_ms: Option<Ratio>,
}

#[derive(Serialize)]
pub struct MixedRow {
    pub key: &'static str,
    pub client: &'static str,
    pub new_per_second: u32,
    pub missing: Option<String>,
    pub kept: Option<Rate>,
    pub new: Option<Rate>,
}

/// One request by a process of its own, beside curl: milliseconds.
#[derive(Serialize)]
pub struct OneShot {
    pub key: &'static str,
    pub wall_ms: Option<Ratio>,
    pub cpu_ms: Option<Ratio>,
    pub missing: Option<String>,
}

/// Milliseconds.
#[derive(Serialize)]
pub struct Starts {
    pub key: &'static str,
    /// From the start of the proxy to its first good answer, beside nginx.
    pub first_answer_ms: Option<Ratio>,
    pub missing: Option<String>,
    /// From the end of a signer to the end of the next request, whose handshake was signed.
    pub signer_again_ms: Vec<f64>,
    /// The module's load, C_Initialize, C_OpenSession and C_Login in a process that has just begun.
    pub module_by_itself_ms: Vec<f64>,
    /// Such a request where the signer stands (median).
    pub handshake_ms: f64,
}

impl Starts {
    /// What a signer that is started again adds to the module's own load and login, of the medians; the handshake is in it.
    pub fn beyond_module_ms(&self) -> Option<f64> {
        Some(median(self.signer_again_ms.clone())? - median(self.module_by_itself_ms.clone())?)
    }
}

/// Signatures for new connections to a hub that gives out tickets.
#[derive(Serialize)]
pub struct Resumed {
    pub key: &'static str,
    pub requests: usize,
    pub failures: u64,
    /// As the hub counted them.
    pub connections: u64,
    pub signatures: u64,
}

/// What was promised, and what came of it.
#[derive(Serialize)]
pub struct Target {
    pub what: String,
    pub wanted: String,
    pub found: String,
    pub met: bool,
}
