//! What is counted and timed, each name in one place: through the `metrics` facade, to whatever
//! recorder the application installs. Without one nothing is kept, and it costs next to nothing.
//!
//! Names and labels are read by dashboards: they are a contract. No label holds a secret, and none
//! comes from the network.

use std::sync::Arc;
use std::time::Duration;

use metrics::{SharedString, counter, gauge, histogram};

/// How a metric behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// A distribution.
    Histogram,
}

/// One metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Prometheus style, the unit at the end.
    pub name: &'static str,
    /// How it behaves.
    pub kind: Kind,
    /// What it is split by.
    pub labels: &'static [&'static str],
    /// What it says.
    pub meaning: &'static str,
}

/// A metric of another crate of this workspace.
#[doc(hidden)]
pub const fn metric(
    name: &'static str,
    kind: Kind,
    labels: &'static [&'static str],
    meaning: &'static str,
) -> Metric {
    Metric {
        name,
        kind,
        labels,
        meaning,
    }
}

const SIGNATURE: &str = "hsm_mtls_signature_seconds";
const QUEUE: &str = "hsm_mtls_queue_depth";
const IN_USE: &str = "hsm_mtls_sessions_in_use";
const AT_MOST: &str = "hsm_mtls_sessions_at_most";
const OPENED: &str = "hsm_mtls_sessions_opened_total";
const LOGINS: &str = "hsm_mtls_logins_total";
const INITIALIZATIONS: &str = "hsm_mtls_module_initializations_total";
const TOKEN_UP: &str = "hsm_mtls_token_up";
const SEARCHES: &str = "hsm_mtls_token_searches_total";
const DAYS: &str = "hsm_mtls_certificate_days_left";
const LOST: &str = "hsm_mtls_log_lines_lost_total";

/// Every metric of this crate. `key` is the key's PKCS#11 URI, `result` is `good` or the class of
/// the error ([`crate::engine::EngineError::class`]).
pub const ALL: [Metric; 11] = {
    use Kind::{Counter, Gauge, Histogram};
    [
        metric(
            SIGNATURE,
            Histogram,
            &["key", "purpose", "result"],
            "from the request to the verified signature or the error, queueing included",
        ),
        metric(QUEUE, Gauge, &["key"], "requests that wait for a session"),
        metric(IN_USE, Gauge, &["key"], "sessions at work on a signature"),
        metric(
            AT_MOST,
            Gauge,
            &["key"],
            "the most sessions: `sessions`, or less where the token gives less",
        ),
        metric(
            OPENED,
            Counter,
            &["key", "result"],
            "sessions opened for signatures, the key found in them",
        ),
        metric(LOGINS, Counter, &["result"], "C_Login was called"),
        metric(
            INITIALIZATIONS,
            Counter,
            &["result"],
            "C_Finalize and C_Initialize of a running module",
        ),
        metric(
            TOKEN_UP,
            Gauge,
            &["key"],
            "1, or 0 from the loss of the token until it is found again",
        ),
        metric(
            SEARCHES,
            Counter,
            &["key", "result"],
            "attempts to find a lost token again",
        ),
        metric(
            DAYS,
            Gauge,
            &["key"],
            "whole days until the certificate ends, as of the last handshake",
        ),
        metric(
            LOST,
            Counter,
            &[],
            "log lines that standard error did not take",
        ),
    ]
};

/// Tells the recorder what each metric means. An application calls it once, after it has installed
/// its recorder.
pub fn describe() {
    describe_all(&ALL);
}

/// Describes metrics to the installed recorder.
#[doc(hidden)]
pub fn describe_all(metrics: &[Metric]) {
    for metric in metrics {
        match metric.kind {
            Kind::Counter => metrics::describe_counter!(metric.name, metric.meaning),
            Kind::Gauge => metrics::describe_gauge!(metric.name, metric.meaning),
            Kind::Histogram => {
                metrics::describe_histogram!(metric.name, metrics::Unit::Seconds, metric.meaning);
            }
        }
    }
}

/// C_Login returned.
pub(crate) fn login(result: &'static str) {
    counter!(LOGINS, "result" => result).increment(1);
}

/// C_Finalize and C_Initialize were called.
pub(crate) fn initialized_again(good: bool) {
    let result = if good { "good" } else { "failed" };
    counter!(INITIALIZATIONS, "result" => result).increment(1);
}

/// Standard error did not take so many lines.
pub(crate) fn log_lines_lost(lines: u64) {
    counter!(LOST).increment(lines);
}

/// What is measured of one key.
#[derive(Clone, Debug)]
pub(crate) struct KeyMetrics {
    key: SharedString,
}

impl KeyMetrics {
    pub(crate) fn new(uri: &str) -> Self {
        Self {
            key: SharedString::from(Arc::<str>::from(uri)),
        }
    }

    fn key(&self) -> SharedString {
        self.key.clone()
    }

    pub(crate) fn signature(&self, purpose: &'static str, result: &'static str, took: Duration) {
        histogram!(SIGNATURE, "key" => self.key(), "purpose" => purpose, "result" => result)
            .record(took.as_secs_f64());
    }

    pub(crate) fn queue(&self, waiting: usize, in_use: usize, at_most: usize) {
        gauge!(QUEUE, "key" => self.key()).set(waiting as f64);
        gauge!(IN_USE, "key" => self.key()).set(in_use as f64);
        gauge!(AT_MOST, "key" => self.key()).set(at_most as f64);
    }

    pub(crate) fn session_opened(&self, result: &'static str) {
        counter!(OPENED, "key" => self.key(), "result" => result).increment(1);
    }

    pub(crate) fn token_up(&self, up: bool) {
        gauge!(TOKEN_UP, "key" => self.key()).set(if up { 1.0 } else { 0.0 });
    }

    pub(crate) fn searched(&self, result: &'static str) {
        counter!(SEARCHES, "key" => self.key(), "result" => result).increment(1);
    }

    pub(crate) fn certificate(&self, days_left: i64) {
        gauge!(DAYS, "key" => self.key()).set(days_left as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_for_operators_lists_each() {
        let page = include_str!("../docs/metrics.md");
        for metric in ALL {
            let Metric {
                name,
                kind,
                labels,
                meaning,
            } = metric;
            let kind = format!("{kind:?}").to_lowercase();
            let row = format!("| `{name}` | {kind} | {} | {meaning} |", labels.join(", "));
            assert!(page.contains(&row), "docs/metrics.md lacks: {row}");
        }
        let rows = page.matches("| `hsm_mtls_").count();
        assert_eq!(rows, ALL.len());
    }
}
