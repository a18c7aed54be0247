//! The metrics of the proxy. Their names and labels are a contract, like those of [`hsm_mtls::internal::metrics`].

use std::time::{Duration, SystemTime};

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use hsm_mtls::internal::config::Service;
use hsm_mtls::internal::jwt::StockCounts;
use hsm_mtls::internal::metrics::{Kind, Metric, describe_all, metric};

const REQUESTS: &str = "hsm_mtls_proxy_requests_total";
const REQUEST_SECONDS: &str = "hsm_mtls_proxy_request_seconds";
const CONNECTIONS_USED: &str = "hsm_mtls_proxy_connections_used_total";
const CONNECTIONS_OPENED: &str = "hsm_mtls_proxy_connections_opened_total";
const CONNECTIONS_OPEN: &str = "hsm_mtls_proxy_connections_open";
const PROBLEMS: &str = "hsm_mtls_proxy_problems_total";
const CALLERS_REFUSED: &str = "hsm_mtls_proxy_callers_refused_total";
const CONNECTIONS_DISPLACED: &str = "hsm_mtls_proxy_connections_displaced_total";
const CLIENTS: &str = "hsm_mtls_proxy_clients";
const RELOADS: &str = "hsm_mtls_proxy_reloads_total";
const TOKENS: &str = "hsm_mtls_proxy_jwt_tokens_total";
const HUB_CLOCK: &str = "hsm_mtls_proxy_hub_clock_ahead_seconds";
const REVOKED: &str = "hsm_mtls_proxy_certificate_revoked";
const CRL_NEXT_UPDATE: &str = "hsm_mtls_proxy_crl_next_update_timestamp_seconds";
const LOG_LINES_LOST: &str = "hsm_mtls_proxy_log_lines_lost_total";

/// Buckets of `hsm_mtls_proxy_request_seconds`, in seconds.
pub const BUCKETS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0,
];

/// Every metric of the proxy.
pub const ALL: [Metric; 15] = {
    use Kind::{Counter, Gauge, Histogram};
    [
        metric(
            REQUESTS,
            Counter,
            &["upstream", "status"],
            "requests answered, by the class of the status (1xx to 5xx)",
        ),
        metric(
            REQUEST_SECONDS,
            Histogram,
            &["upstream"],
            "from the head of a request to the end of its answer",
        ),
        metric(
            CONNECTIONS_USED,
            Counter,
            &["upstream", "connection"],
            "requests sent over a connection that was there (warm), or that they had to wait for (new)",
        ),
        metric(
            CONNECTIONS_OPENED,
            Counter,
            &["upstream", "result"],
            "connections made to the hub; the result is good, resumed, or the stage of the failure",
        ),
        metric(
            CONNECTIONS_OPEN,
            Gauge,
            &["upstream"],
            "connections to the hub, those that are being made too",
        ),
        metric(
            PROBLEMS,
            Counter,
            &["stage"],
            "answers of the proxy's own, by stage",
        ),
        metric(
            CALLERS_REFUSED,
            Counter,
            &[],
            "connections of processes that may not call",
        ),
        metric(
            CONNECTIONS_DISPLACED,
            Counter,
            &[],
            "connections that were closed for new ones, because all slots were in use",
        ),
        metric(CLIENTS, Gauge, &[], "connections of applications"),
        metric(
            RELOADS,
            Counter,
            &["result"],
            "reloads; the result is good or failed",
        ),
        metric(
            TOKENS,
            Counter,
            &["result"],
            "tokens of JWT Auth: handed out at once, after a wait or in vain (waited), or thrown away as too old (discarded)",
        ),
        metric(
            HUB_CLOCK,
            Gauge,
            &["upstream"],
            "by how many seconds the hub's clock is ahead of this machine's, by its last response with JWT Auth",
        ),
        metric(
            REVOKED,
            Gauge,
            &["key"],
            "whether our certificate is on a CRL of its issuer: 1 or 0, and NaN where no list says so",
        ),
        metric(
            CRL_NEXT_UPDATE,
            Gauge,
            &[],
            "when the CRLs with the status of our certificate begin to be outdated (nextUpdate), as Unix time",
        ),
        metric(
            LOG_LINES_LOST,
            Counter,
            &[],
            "lines of the access log that could not be written",
        ),
    ]
};

/// Registers the descriptions of all metrics.
pub fn describe() {
    describe_all(&ALL);
}

/// The metrics of one service. The handles are kept, because looking one up costs more than counting.
pub(super) struct PoolMetrics {
    upstream: &'static str,
    responses: [Counter; 5],
    seconds: Histogram,
    warm: Counter,
    new: Counter,
    open: Gauge,
}

impl PoolMetrics {
    pub(super) fn of(service: Service) -> Self {
        let upstream = service.label();
        let class =
            |class: &'static str| counter!(REQUESTS, "upstream" => upstream, "status" => class);
        let used = |connection: &'static str| counter!(CONNECTIONS_USED, "upstream" => upstream, "connection" => connection);
        Self {
            upstream,
            responses: ["1xx", "2xx", "3xx", "4xx", "5xx"].map(class),
            seconds: histogram!(REQUEST_SECONDS, "upstream" => upstream),
            warm: used("warm"),
            new: used("new"),
            open: gauge!(CONNECTIONS_OPEN, "upstream" => upstream),
        }
    }

    /// A response was received, after this time.
    pub(super) fn answered(&self, status: u16, took: Duration) {
        let class = usize::from(status / 100).clamp(1, 5) - 1;
        self.responses[class].increment(1);
        self.seconds.record(took.as_secs_f64());
    }

    /// A request was sent over a connection that existed before (`warm`), or a new one.
    pub(super) fn used(&self, warm: bool) {
        let counter = if warm { &self.warm } else { &self.new };
        counter.increment(1);
    }

    /// A connection was opened, or failed at a stage.
    pub(super) fn opened(&self, result: &'static str) {
        counter!(CONNECTIONS_OPENED, "upstream" => self.upstream, "result" => result).increment(1);
    }

    /// So many connections are open.
    pub(super) fn set_open(&self, connections: usize) {
        self.open.set(connections as f64);
    }
}

/// A problem was reported to an application.
pub(super) fn problem(stage: &'static str) {
    counter!(PROBLEMS, "stage" => stage).increment(1);
}

pub(super) fn caller_refused() {
    counter!(CALLERS_REFUSED).increment(1);
}

pub(super) fn connection_displaced() {
    counter!(CONNECTIONS_DISPLACED).increment(1);
}

/// So many connections of applications are open.
pub(super) fn set_clients(count: usize) {
    gauge!(CLIENTS).set(count as f64);
}

/// Whether the certificate of the key is revoked; `None` if that is not known.
pub(super) fn set_revoked(key: &'static str, revoked: Option<bool>) {
    let value = revoked.map_or(f64::NAN, |revoked| f64::from(u8::from(revoked)));
    gauge!(REVOKED, "key" => key).set(value);
}

/// The CRLs begin to be outdated at this time.
pub(super) fn set_crl_next_update(time: SystemTime) {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    gauge!(CRL_NEXT_UPDATE).set(since.unwrap_or_default().as_secs() as f64);
}

pub(super) fn reloaded(good: bool) {
    let result = if good { "good" } else { "failed" };
    counter!(RELOADS, "result" => result).increment(1);
}

/// Tokens were handed out or thrown away, as counted since the start.
pub(super) fn set_tokens(counts: StockCounts) {
    for (result, count) in [
        ("at-once", counts.at_once),
        ("waited", counts.waited),
        ("discarded", counts.discarded),
    ] {
        counter!(TOKENS, "result" => result).absolute(count);
    }
}

/// The clock of a service is so many seconds ahead.
pub(super) fn hub_clock(service: Service, ahead: i64) {
    gauge!(HUB_CLOCK, "upstream" => service.label()).set(ahead as f64);
}

pub(super) fn log_lines_lost(lines: u64) {
    counter!(LOG_LINES_LOST).increment(lines);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_lists_every_metric() {
        let page = include_str!("../../../docs/proxy.md");
        for Metric {
            name,
            kind,
            labels,
            meaning,
        } in ALL
        {
            let kind = format!("{kind:?}").to_lowercase();
            let row = format!("| `{name}` | {kind} | {} | {meaning} |", labels.join(", "));
            assert!(page.contains(&row), "docs/proxy.md lacks: {row}");
        }
        assert_eq!(page.matches("| `hsm_mtls_proxy_").count(), ALL.len());
    }
}
