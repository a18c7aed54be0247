//! What a process of the benchmark does, and what it hands back: the module's variables have to be in
//! place before a process starts its first thread, so each measurement is a process of its own.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

const ROLE: &str = "HSM_MTLS_BENCH_ROLE";

/// What a child is asked to do.
#[derive(Serialize, Deserialize)]
pub enum Role {
    /// Signatures one after the other: C_SignInit and C_Sign by themselves, and through the engine.
    Sign { config: PathBuf, seconds: f64 },
    /// Signatures through the engine only: a slow token is not asked twice.
    SignSlowly { config: PathBuf, seconds: f64 },
    /// Signatures one after the other, without a ledger and with one.
    SignRecorded { config: PathBuf, seconds: f64 },
    /// A new connection for each request.
    Connect {
        config: PathBuf,
        way: Way,
        load: Load,
    },
    /// Plain requests to a proxy that makes the new connections.
    ThroughProxy {
        port: u16,
        path: String,
        keep_alive: bool,
        processes: Vec<u32>,
        load: Load,
    },
    /// So many plain requests to a proxy, however long they take.
    SoMany {
        port: u16,
        path: String,
        connections: usize,
        requests: usize,
    },
    /// Requests over kept connections at an even rate, beside so many new connections a second.
    MixedLoad {
        port: u16,
        new_per_second: u32,
        seconds: f64,
    },
    /// How late a task wakes up: on an idle runtime, and beside handshakes.
    Lateness {
        config: PathBuf,
        connections: usize,
        seconds: f64,
    },
    /// The module by itself: loaded, initialised, and logged in.
    LoadAndLogIn { module: PathBuf, pin_file: PathBuf },
}

/// How a connection is made.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Way {
    /// The product.
    Product,
    /// The product's client over a key in memory, without a token.
    InMemory,
    /// rustls, whose signature is made by C_SignInit and C_Sign on the runtime's own thread.
    Raw,
}

/// How much is asked for.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct Load {
    pub connections: usize,
    pub seconds: f64,
}

/// What a load measured.
#[derive(Default, Serialize, Deserialize)]
pub struct Measured {
    pub micros: Vec<u32>,
    pub seconds: f64,
    pub cpu_micros: u64,
    pub failures: u64,
    pub first_failure: Option<String>,
}

impl Measured {
    /// Another round of the same.
    pub fn add(&mut self, other: Self) {
        self.micros.extend(other.micros);
        self.seconds += other.seconds;
        self.cpu_micros += other.cpu_micros;
        self.failures += other.failures;
        self.first_failure = self.first_failure.take().or(other.first_failure);
    }
}

/// Latencies of signatures, in microseconds.
#[derive(Default, Serialize, Deserialize)]
pub struct Signatures {
    pub raw: Vec<u32>,
    /// The same calls, made by another thread.
    pub on_other_thread: Vec<u32>,
    pub engine: Vec<u32>,
    /// The engine in a signer process.
    #[serde(default)]
    pub in_signer_process: Vec<u32>,
    pub verification: Vec<u32>,
}

/// What new connections did to requests over connections that are kept.
#[derive(Default, Serialize, Deserialize)]
pub struct MixedFound {
    /// Of requests over kept connections, in microseconds.
    pub kept: Measured,
    /// Of new connections.
    pub new: Measured,
}

/// Lateness of a task's timer, in microseconds.
#[derive(Default, Serialize, Deserialize)]
pub struct LatenessFound {
    pub idle: Vec<u32>,
    pub loaded: Vec<u32>,
    pub handshakes: usize,
    pub failures: u64,
}

/// The same with a ledger, by how its records are synced to the disk.
#[derive(Default, Serialize, Deserialize)]
pub struct Recorded {
    pub without: Vec<u32>,
    pub interval: Vec<u32>,
    pub each: Vec<u32>,
}

/// The role of this process, where it is a child.
pub fn of_this_process() -> Option<Role> {
    let role = std::env::var(ROLE).ok()?;
    Some(serde_json::from_str(&role).expect("a role that the parent wrote"))
}

/// Plays a role in a process of its own. `environment` is the module's.
pub fn play<T: DeserializeOwned>(role: &Role, environment: &[(&str, &Path)]) -> T {
    play_under(&[], role, environment)
}

/// The same, run by another program: its words, the benchmark's own follow.
pub fn play_under<T: DeserializeOwned>(
    before: &[OsString],
    role: &Role,
    environment: &[(&str, &Path)],
) -> T {
    let role = serde_json::to_string(role).expect("JSON");
    let program = std::env::current_exe().expect("the benchmark");
    let mut words = before.iter().cloned().chain([program.into_os_string()]);
    let done = Command::new(words.next().expect("a program"))
        .args(words)
        .env(ROLE, &role)
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .expect("the benchmark runs again");
    assert!(done.status.success(), "{role} failed");
    serde_json::from_slice(&done.stdout).expect("what the child measured")
}
