//! `token check --load`: how many signatures a second the token makes, and how long each takes under load.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::super::error::Error;
use super::super::interrupt::Interrupt;
use super::super::{CommandError, output};
use super::millis;
use crate::check_steps::Steps;
use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use hsm_mtls::internal::diagnostic::Diagnostic as _;
use hsm_mtls::internal::engine::{EngineError, Purpose, Sign, challenge};
use hsm_mtls::internal::exit_code::ExitCode;
use hsm_mtls::internal::poison::IgnorePoison as _;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use serde_json::{Value, json};

/// The name of the step of `token check`.
pub(super) const STEP: &str = "load";

/// The quantiles of the durations that are reported.
const QUANTILES: [(&str, f64); 6] = [
    ("min", 0.0),
    ("p50", 0.5),
    ("p90", 0.9),
    ("p99", 0.99),
    ("p99.9", 0.999),
    ("max", 1.0),
];

/// The number of signatures, and how many are requested at the same time.
#[derive(Clone, Copy)]
pub(in crate::commands) struct LoadTest {
    pub(in crate::commands) total: u32,
    pub(in crate::commands) concurrency: u32,
}

/// The durations that a load test measured.
pub(super) struct LoadResult {
    load_test: LoadTest,
    elapsed: Duration,
    /// Whether SIGINT ended it early.
    interrupted: bool,
    /// How long each signature took, sorted, by result: `good` or the class of the error.
    by_result: BTreeMap<&'static str, Vec<Duration>>,
}

/// What the threads of a load test share.
struct Shared {
    started: AtomicU32,
    stop: Arc<AtomicBool>,
    last_error: Mutex<Option<EngineError>>,
}

impl LoadTest {
    /// Requests all signatures, and adds the step to `steps`.
    pub(super) fn run(self, signer: &Arc<dyn Sign>, steps: &mut Steps) -> LoadResult {
        let bar = progress_bar(self.total);
        let shared = Shared {
            started: AtomicU32::new(0),
            stop: Arc::new(AtomicBool::new(false)),
            last_error: Mutex::new(None),
        };
        // On SIGINT the test stops, and what was measured until then is reported.
        let interrupt = Interrupt::listen(&shared.stop);
        let started = Instant::now();
        let mut by_result = BTreeMap::<_, Vec<_>>::new();
        thread::scope(|scope| {
            let threads: Vec<_> = (0..self.concurrency.min(self.total))
                .map(|_| scope.spawn(|| self.request_signatures(signer.as_ref(), &shared, &bar)))
                .collect();
            for thread in threads {
                // The panic hook reports a thread that panicked; the durations of the others still count.
                for (result, duration) in thread.join().unwrap_or_default() {
                    by_result.entry(result).or_default().push(duration);
                }
            }
        });
        let elapsed = started.elapsed();
        bar.finish_and_clear();
        for times in by_result.values_mut() {
            times.sort_unstable();
        }
        let load_result = LoadResult {
            load_test: self,
            elapsed,
            interrupted: interrupt.is_received(),
            by_result,
        };
        let last_error = shared.last_error.into_inner();
        match last_error.ignore_poison() {
            None if load_result.interrupted => steps.bad(
                STEP,
                format!("interrupted: {}", load_result.summary()),
                "what is below was measured until then",
                ExitCode::Interrupted,
            ),
            None => steps.good(STEP, load_result.summary()),
            Some(error) => {
                let error = Error::from(error);
                let detail = format!("{}; the last: {error}", load_result.summary());
                steps.bad(STEP, detail, error.hint(), error.exit_code());
            }
        }
        load_result
    }

    /// Requests one signature after the other, until all of the test are started.
    fn request_signatures(
        self,
        signer: &dyn Sign,
        shared: &Shared,
        bar: &ProgressBar,
    ) -> Vec<(&'static str, Duration)> {
        let mut results = Vec::new();
        while !shared.stop.load(Ordering::Relaxed)
            && shared.started.fetch_add(1, Ordering::Relaxed) < self.total
        {
            let started = Instant::now();
            let result = challenge(signer, Purpose::SelfTest);
            results.push(match result {
                Ok(duration) => ("good", duration),
                Err(error) => {
                    let class = error.class();
                    // The test ends where a PIN was refused or is guarded: the rest would fail in the same way.
                    if error.pin().is_some() {
                        shared.stop.store(true, Ordering::Relaxed);
                    }
                    let mut last_error = shared.last_error.lock().ignore_poison();
                    *last_error = Some(error);
                    (class, started.elapsed())
                }
            });
            bar.inc(1);
        }
        results
    }
}

/// A progress bar on standard error, where that is a terminal.
fn progress_bar(total: u32) -> ProgressBar {
    let target = match io::stderr().is_terminal() {
        true => ProgressDrawTarget::stderr(),
        false => ProgressDrawTarget::hidden(),
    };
    let bar = ProgressBar::with_draw_target(Some(total.into()), target);
    let style = "  load [{wide_bar}] {pos}/{len}  {rate}  {eta} left";
    if let Ok(style) = ProgressStyle::with_template(style) {
        let rate = |state: &ProgressState, out: &mut dyn fmt::Write| {
            // The test goes on where the bar cannot be written.
            let _ = write!(out, "{:.0}/s", state.per_sec());
        };
        bar.set_style(style.with_key("rate", rate).progress_chars("=> "));
    }
    bar
}

impl LoadResult {
    fn signed(&self) -> usize {
        self.by_result.get("good").map_or(0, Vec::len)
    }

    fn requested(&self) -> usize {
        self.by_result.values().map(Vec::len).sum()
    }

    fn per_second(&self) -> f64 {
        self.signed() as f64 / self.elapsed.as_secs_f64().max(f64::EPSILON)
    }

    fn summary(&self) -> String {
        format!(
            "{} of {} signed and verified, {} at once: {:.1} a second",
            self.signed(),
            self.load_test.total,
            self.load_test.concurrency,
            self.per_second()
        )
    }

    /// Prints a table with a row for each result, or lists where the terminal is too narrow for it.
    pub(super) fn print(&self) -> Result<(), CommandError> {
        let table = self.table().to_string();
        output::line("")?;
        if output::fits(&table) {
            output::unwrapped(&table)?;
        } else {
            for (result, times) in &self.by_result {
                output::line(&format!("{result} {}", times.len()))?;
                let rows = QUANTILES.map(|(name, share)| {
                    (name, format!("{:.2} ms", millis(quantile(times, share))))
                });
                output::fields(&rows)?;
            }
        }
        output::line("")
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        *table.style_mut() = NOTHING;
        let quantiles = QUANTILES.iter().map(|(name, _)| format!("{name} ms"));
        let columns = ["result", "count"].map(str::to_owned);
        table.set_header(columns.into_iter().chain(quantiles));
        for (result, times) in &self.by_result {
            let quantiles = QUANTILES
                .iter()
                .map(|(_, share)| format!("{:.2}", millis(quantile(times, *share))));
            let row = [(*result).to_owned(), times.len().to_string()];
            table.add_row(row.into_iter().chain(quantiles));
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }

    /// The member `load` of the command's JSON.
    pub(super) fn as_json(&self) -> Value {
        let results: BTreeMap<_, _> = self
            .by_result
            .iter()
            .map(|(result, times)| {
                let mut row = json!({ "count": times.len() });
                for (name, share) in QUANTILES {
                    row[format!("{name}_ms")] = json!(millis(quantile(times, share)));
                }
                (*result, row)
            })
            .collect();
        let mut report = json!({
            "signatures": self.load_test.total,
            "asked": self.requested(),
            "concurrency": self.load_test.concurrency,
            "elapsed_ms": millis(self.elapsed),
            "per_second": self.per_second(),
            "results": results,
        });
        if self.interrupted {
            report["interrupted"] = json!(true);
        }
        report
    }
}

/// The quantile of sorted durations: a share of `share` of them is not longer.
pub(super) fn quantile(sorted: &[Duration], share: f64) -> Duration {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    let index = rank.clamp(1, sorted.len().max(1)) - 1;
    sorted.get(index).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_the_duration_that_this_share_does_not_exceed() {
        let times: Vec<_> = (1..=100).map(Duration::from_millis).collect();
        for (share, millis) in [(0.0, 1), (0.5, 50), (0.99, 99), (0.999, 100), (1.0, 100)] {
            assert_eq!(
                quantile(&times, share),
                Duration::from_millis(millis),
                "{share}"
            );
        }
        assert_eq!(quantile(&[], 0.5), Duration::ZERO);
    }
}
