//! The library's metrics. They are reported through the facade of the crate `metrics` to the recorder that the
//! application installs, such as a Prometheus exporter; without a recorder they cost almost nothing.
//!
//! ```
//! for metric in hsm_mtls::metrics::ALL {
//!     println!("{} {:?}: {}", metric.name, metric.kind, metric.meaning);
//! }
//! ```
//!
//! Names and labels do not change between versions. No label value is a secret, and none comes from the network.

use std::sync::Arc;
use std::time::Duration;

use metrics::{SharedString, counter, gauge, histogram};

/// The type of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A count that only increases.
    Counter,
    /// A current value, which increases and decreases.
    Gauge,
    /// A distribution of durations, in seconds.
    Histogram,
}

/// The description of a metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// The name in Prometheus style, with the unit at its end: `hsm_mtls_signature_seconds`.
    pub name: &'static str,
    /// The type.
    pub kind: Kind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it measures.
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

const SIGNATURE_SECONDS: &str = "hsm_mtls_signature_seconds";
const QUEUE_DEPTH: &str = "hsm_mtls_queue_depth";
const SESSIONS_IN_USE: &str = "hsm_mtls_sessions_in_use";
const SESSION_LIMIT: &str = "hsm_mtls_sessions_at_most";
const SESSIONS_OPENED: &str = "hsm_mtls_sessions_opened_total";
const LOGINS: &str = "hsm_mtls_logins_total";
const INITIALIZATIONS: &str = "hsm_mtls_module_initializations_total";
const TOKEN_UP: &str = "hsm_mtls_token_up";
const TOKEN_SEARCHES: &str = "hsm_mtls_token_searches_total";
const CERTIFICATE_DAYS_LEFT: &str = "hsm_mtls_certificate_days_left";
const SIGNERS_REPLACED: &str = "hsm_mtls_signers_replaced_total";
const TOKEN_ASKED: &str = "hsm_mtls_token_asked";
const CONNECTIONS_OF_TOKEN: &str = "hsm_mtls_connections_of_token_total";
const LOG_LINES_LOST: &str = "hsm_mtls_log_lines_lost_total";

/// Every metric of this crate. The label `key` is the PKCS#11 URI of the key, `purpose` the purpose of the signature
/// (`tls13-client-auth` ...), and `result` is `good` or the class of the error.
pub const ALL: [Metric; 14] = {
    use Kind::{Counter, Gauge, Histogram};
    [
        metric(
            SIGNATURE_SECONDS,
            Histogram,
            &["key", "purpose", "result"],
            "from the request to the verified signature or the error, queueing included",
        ),
        metric(
            QUEUE_DEPTH,
            Gauge,
            &["key"],
            "requests that wait for a session",
        ),
        metric(
            SESSIONS_IN_USE,
            Gauge,
            &["key"],
            "sessions at work on a signature",
        ),
        metric(
            SESSION_LIMIT,
            Gauge,
            &["key"],
            "the most sessions: `sessions`, or less where the token gives less",
        ),
        metric(
            SESSIONS_OPENED,
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
            TOKEN_SEARCHES,
            Counter,
            &["key", "result"],
            "attempts to find a lost token again",
        ),
        metric(
            SIGNERS_REPLACED,
            Counter,
            &[],
            "signer processes that were replaced, because the token could not be recovered in them",
        ),
        metric(
            CERTIFICATE_DAYS_LEFT,
            Gauge,
            &["key"],
            "whole days until the certificate ends, as of the last handshake or token",
        ),
        metric(
            TOKEN_ASKED,
            Gauge,
            &["token"],
            "of several tokens with a key for the connections: 1, or 0 while this one does not sign and the others are asked",
        ),
        metric(
            CONNECTIONS_OF_TOKEN,
            Counter,
            &["token"],
            "of several tokens with a key for the connections: connections that this one signed",
        ),
        metric(
            LOG_LINES_LOST,
            Counter,
            &[],
            "log lines that standard error did not take",
        ),
    ]
};

/// Registers the descriptions of [`ALL`] with the recorder. An application calls it once, after it has installed its
/// recorder.
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

/// Counts a return of C_Login.
pub(crate) fn login(result: &'static str) {
    counter!(LOGINS, "result" => result).increment(1);
}

/// Counts a C_Finalize with its C_Initialize.
pub(crate) fn module_reinitialized(good: bool) {
    let result = if good { "good" } else { "failed" };
    counter!(INITIALIZATIONS, "result" => result).increment(1);
}

/// Counts signer processes that were replaced.
pub(crate) fn signers_replaced(processes: u32) {
    counter!(SIGNERS_REPLACED).increment(processes.into());
}

/// Sets whether a token is asked for signatures of connections, where there are several.
#[cfg(feature = "front-end")]
pub(crate) fn token_asked(name: &Arc<str>, is_asked: bool) {
    gauge!(TOKEN_ASKED, "token" => SharedString::from(Arc::clone(name)))
        .set(f64::from(u8::from(is_asked)));
}

/// Counts a connection that a token signed, where there are several.
#[cfg(feature = "front-end")]
pub(crate) fn connection_of_token(name: &Arc<str>) {
    counter!(CONNECTIONS_OF_TOKEN, "token" => SharedString::from(Arc::clone(name))).increment(1);
}

/// Counts log lines that could not be written to standard error.
pub(crate) fn log_lines_lost(lines: u64) {
    counter!(LOG_LINES_LOST).increment(lines);
}

/// The metrics of one key.
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
        histogram!(SIGNATURE_SECONDS, "key" => self.key(), "purpose" => purpose, "result" => result)
            .record(took.as_secs_f64());
    }

    pub(crate) fn queue(&self, waiting: usize, in_use: usize, limit: usize) {
        gauge!(QUEUE_DEPTH, "key" => self.key()).set(waiting as f64);
        gauge!(SESSIONS_IN_USE, "key" => self.key()).set(in_use as f64);
        gauge!(SESSION_LIMIT, "key" => self.key()).set(limit as f64);
    }

    pub(crate) fn session_opened(&self, result: &'static str) {
        counter!(SESSIONS_OPENED, "key" => self.key(), "result" => result).increment(1);
    }

    pub(crate) fn token_up(&self, up: bool) {
        gauge!(TOKEN_UP, "key" => self.key()).set(if up { 1.0 } else { 0.0 });
    }

    pub(crate) fn searched(&self, result: &'static str) {
        counter!(TOKEN_SEARCHES, "key" => self.key(), "result" => result).increment(1);
    }

    pub(crate) fn certificate(&self, days_left: i64) {
        gauge!(CERTIFICATE_DAYS_LEFT, "key" => self.key()).set(days_left as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_lists_each_metric() {
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
