//! `token check --load`: what an HSM does under load, as an operator wants to know it before the
//! applications find out.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::super::error::Error;
use crate::check_steps::Steps;
use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use hsm_mtls::internal::diagnostic::Diagnostic as _;
use hsm_mtls::internal::engine::{EngineError, Purpose, Sign, challenge};
use hsm_mtls::internal::exit_code::ExitCode;
use hsm_mtls::internal::poison::IgnorePoison as _;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use serde_json::{Value, json};

use super::super::interrupt::Interrupt;
use super::super::{CommandError, output};
use super::millis;

/// The step's name in the report.
pub(super) const STEP: &str = "load";

/// What is shown of each result.
const SHARES: [(&str, f64); 6] = [
    ("min", 0.0),
    ("p50", 0.5),
    ("p90", 0.9),
    ("p99", 0.99),
    ("p99.9", 0.999),
    ("max", 1.0),
];

/// So many signatures, so many at once.
#[derive(Clone, Copy)]
pub(in crate::commands) struct Load {
    pub(in crate::commands) total: u32,
    pub(in crate::commands) concurrency: u32,
}

/// What came of it.
pub(super) struct Measured {
    load: Load,
    elapsed: Duration,
    /// Whether somebody at the terminal ended it.
    pub(super) interrupted: bool,
    /// How long each took, sorted, by result: `good` or the class of the error.
    by_result: BTreeMap<&'static str, Vec<Duration>>,
}

/// What the callers have in common.
struct Shared {
    next: AtomicU32,
    stop: Arc<AtomicBool>,
    last: Mutex<Option<EngineError>>,
}

impl Load {
    /// Asks for all of it, and writes the step.
    pub(super) fn put_on(self, signer: &Arc<dyn Sign>, steps: &mut Steps) -> Measured {
        let bar = bar(self.total);
        let shared = Shared {
            next: AtomicU32::new(0),
            stop: Arc::new(AtomicBool::new(false)),
            last: Mutex::new(None),
        };
        // What was measured so far is what whoever waits no longer wants to see.
        let interrupt = Interrupt::sets(&shared.stop);
        let started = Instant::now();
        let mut by_result = BTreeMap::<_, Vec<_>>::new();
        thread::scope(|scope| {
            let callers: Vec<_> = (0..self.concurrency.min(self.total))
                .map(|_| scope.spawn(|| self.call(signer.as_ref(), &shared, &bar)))
                .collect();
            for caller in callers {
                // A caller that panicked has said so itself; the others' times still count.
                for (result, took) in caller.join().unwrap_or_default() {
                    by_result.entry(result).or_default().push(took);
                }
            }
        });
        let elapsed = started.elapsed();
        bar.finish_and_clear();
        for times in by_result.values_mut() {
            times.sort_unstable();
        }
        let measured = Measured {
            load: self,
            elapsed,
            interrupted: interrupt.came(),
            by_result,
        };
        let last = shared.last.into_inner();
        match last.ignore_poison() {
            None if measured.interrupted => steps.bad(
                STEP,
                format!("interrupted: {}", measured.summary()),
                "what is below was measured until then",
                ExitCode::Interrupted,
            ),
            None => steps.good(STEP, measured.summary()),
            Some(error) => {
                let error = Error::from(error);
                let detail = format!("{}; the last: {error}", measured.summary());
                steps.bad(STEP, detail, error.hint(), error.exit_code());
            }
        }
        measured
    }

    /// One caller: the next as soon as the last is answered.
    fn call(
        self,
        signer: &dyn Sign,
        shared: &Shared,
        bar: &ProgressBar,
    ) -> Vec<(&'static str, Duration)> {
        let mut results = Vec::new();
        while !shared.stop.load(Ordering::Relaxed)
            && shared.next.fetch_add(1, Ordering::Relaxed) < self.total
        {
            let started = Instant::now();
            let result = challenge(signer, Purpose::SelfTest);
            results.push(match result {
                Ok(took) => ("good", took),
                Err(error) => {
                    let class = error.class();
                    // A PIN that is refused or guarded is nothing to insist on.
                    if error.pin().is_some() {
                        shared.stop.store(true, Ordering::Relaxed);
                    }
                    let mut last = shared.last.lock().ignore_poison();
                    *last = Some(error);
                    (class, started.elapsed())
                }
            });
            bar.inc(1);
        }
        results
    }
}

/// On a terminal only, and on standard error: the result is on standard output.
fn bar(total: u32) -> ProgressBar {
    let target = match io::stderr().is_terminal() {
        true => ProgressDrawTarget::stderr(),
        false => ProgressDrawTarget::hidden(),
    };
    let bar = ProgressBar::with_draw_target(Some(total.into()), target);
    let style = "  load [{wide_bar}] {pos}/{len}  {rate}  {eta} left";
    if let Ok(style) = ProgressStyle::with_template(style) {
        let rate = |state: &ProgressState, out: &mut dyn fmt::Write| {
            // A bar that cannot be written is no reason to stop.
            let _ = write!(out, "{:.0}/s", state.per_sec());
        };
        bar.set_style(style.with_key("rate", rate).progress_chars("=> "));
    }
    bar
}

impl Measured {
    fn good(&self) -> usize {
        self.by_result.get("good").map_or(0, Vec::len)
    }

    fn asked(&self) -> usize {
        self.by_result.values().map(Vec::len).sum()
    }

    fn per_second(&self) -> f64 {
        self.good() as f64 / self.elapsed.as_secs_f64().max(f64::EPSILON)
    }

    fn summary(&self) -> String {
        format!(
            "{} of {} signed and verified, {} at once: {:.1} a second",
            self.good(),
            self.load.total,
            self.load.concurrency,
            self.per_second()
        )
    }

    /// Prints it for people: a row for each result, or a list where the terminal is too narrow for that.
    pub(super) fn print(&self) -> Result<(), CommandError> {
        let table = self.table().to_string();
        output::line("")?;
        if output::fits(&table) {
            output::whole(&table)?;
        } else {
            for (result, times) in &self.by_result {
                output::line(&format!("{result} {}", times.len()))?;
                let shares = SHARES
                    .map(|(name, share)| (name, format!("{:.2} ms", millis(at(times, share)))));
                output::fields(&shares)?;
            }
        }
        output::line("")
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        *table.style_mut() = NOTHING;
        let shares = SHARES.iter().map(|(name, _)| format!("{name} ms"));
        let heads = ["result", "count"].map(str::to_owned);
        table.set_header(heads.into_iter().chain(shares));
        for (result, times) in &self.by_result {
            let shares = SHARES
                .iter()
                .map(|(_, share)| format!("{:.2}", millis(at(times, *share))));
            let row = [(*result).to_owned(), times.len().to_string()];
            table.add_row(row.into_iter().chain(shares));
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }

    /// For programs.
    pub(super) fn report(&self) -> Value {
        let results: BTreeMap<_, _> = self
            .by_result
            .iter()
            .map(|(result, times)| {
                let mut row = json!({ "count": times.len() });
                for (name, share) in SHARES {
                    row[format!("{name}_ms")] = json!(millis(at(times, share)));
                }
                (*result, row)
            })
            .collect();
        let mut report = json!({
            "signatures": self.load.total,
            "asked": self.asked(),
            "concurrency": self.load.concurrency,
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

/// What so large a share of them did not take longer than.
pub(super) fn at(sorted: &[Duration], share: f64) -> Duration {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    let index = rank.clamp(1, sorted.len().max(1)) - 1;
    sorted.get(index).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_the_time_that_so_many_did_not_exceed() {
        let times: Vec<_> = (1..=100).map(Duration::from_millis).collect();
        for (share, millis) in [(0.0, 1), (0.5, 50), (0.99, 99), (0.999, 100), (1.0, 100)] {
            assert_eq!(at(&times, share), Duration::from_millis(millis), "{share}");
        }
        assert_eq!(at(&[], 0.5), Duration::ZERO);
    }
}
