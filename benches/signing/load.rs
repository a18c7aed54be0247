//! So many connections for so long: durations of those that ended in time, and the CPU they cost.

use std::fs;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::sleep_until;

use crate::role::{Load, Measured};

/// Sessions are opened, and caches filled, before anything counts.
const WARM_UP: Duration = Duration::from_millis(400);
/// Linux counts a process's CPU in these (USER_HZ).
const TICKS_PER_SECOND: u64 = 100;

/// Runs `once` over and over on each of the connections. The CPU is that of `processes`.
pub async fn measure<F, R>(load: Load, processes: &[u32], make: impl Fn() -> F) -> Measured
where
    F: FnMut() -> R + Send + 'static,
    R: Future<Output = Result<(), String>> + Send + 'static,
{
    let begins = Instant::now() + WARM_UP;
    let length = Duration::from_secs_f64(load.seconds);
    let ends = begins + length;
    let mut tasks = JoinSet::new();
    for _ in 0..load.connections {
        let mut once = make();
        tasks.spawn(async move {
            let mut own = Measured::default();
            loop {
                let started = Instant::now();
                if started >= ends {
                    return own;
                }
                let result = once().await;
                let ended = Instant::now();
                // Over a long window as many begin before it as end after it.
                if ended < begins || ended >= ends {
                    continue;
                }
                match result {
                    Ok(()) => own.micros.push((ended - started).as_micros() as u32),
                    Err(why) => {
                        own.failures += 1;
                        own.first_failure.get_or_insert(why);
                    }
                }
            }
        });
    }
    sleep_until(begins.into()).await;
    let before = cpu_micros(processes);
    sleep_until(ends.into()).await;
    let cpu_micros = cpu_micros(processes) - before;
    let mut all = Measured {
        seconds: load.seconds,
        cpu_micros,
        ..Measured::default()
    };
    for own in tasks.join_all().await {
        all.micros.extend(own.micros);
        all.failures += own.failures;
        all.first_failure = all.first_failure.or(own.first_failure);
    }
    all
}

/// Runs `once` so many times in all, on so many connections at once.
pub async fn counted<F, R>(connections: usize, requests: usize, make: impl Fn() -> F) -> Measured
where
    F: FnMut() -> R + Send + 'static,
    R: Future<Output = Result<(), String>> + Send + 'static,
{
    let begun = Arc::new(AtomicUsize::new(0));
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..connections {
        let mut once = make();
        let begun = Arc::clone(&begun);
        tasks.spawn(async move {
            let mut own = Measured::default();
            while begun.fetch_add(1, Ordering::Relaxed) < requests {
                let started = Instant::now();
                match once().await {
                    Ok(()) => own.micros.push(started.elapsed().as_micros() as u32),
                    Err(why) => {
                        own.failures += 1;
                        own.first_failure.get_or_insert(why);
                    }
                }
            }
            own
        });
    }
    let mut all = Measured::default();
    for own in tasks.join_all().await {
        all.add(own);
    }
    all.seconds = began.elapsed().as_secs_f64();
    all
}

/// User and system time of all threads of the processes, also of those that have ended.
fn cpu_micros(processes: &[u32]) -> u64 {
    let ticks: u64 = processes
        .iter()
        .map(|process| {
            let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
            // After the name, which may hold anything: state is the third field, utime the 14th.
            let (_, fields) = stat.rsplit_once(')').unwrap_or_default();
            let fields = fields.split_whitespace().skip(11).take(2);
            fields
                .filter_map(|time| time.parse::<u64>().ok())
                .sum::<u64>()
        })
        .sum();
    ticks * (1_000_000 / TICKS_PER_SECOND)
}

/// A closure for [`measure`] that shares one client.
pub fn shared<C, F, R>(client: C, once: F) -> impl Fn() -> Box<dyn FnMut() -> R + Send>
where
    C: Send + Sync + 'static,
    F: Fn(Arc<C>) -> R + Send + Sync + Copy + 'static,
    R: Future<Output = Result<(), String>> + Send + 'static,
{
    let client = Arc::new(client);
    move || {
        let client = Arc::clone(&client);
        Box::new(move || once(Arc::clone(&client)))
    }
}
