//! The answer to `GET /hello-mtls`, judged: the clocks, the hub's verdict, and the certificate that
//! it saw.

use std::time::{Duration, SystemTime};

use http::header::DATE;

use super::hello::{Hello, SeenCertificate};
use crate::check_steps::{Outcome, Steps};
use hsm_mtls::internal::certificate::Certificate;
use hsm_mtls::internal::certificate::name::Comparison;
use hsm_mtls::internal::client::HubResponse;
use hsm_mtls::internal::exit_code::ExitCode;

/// The step that tells whose certificate the hub saw.
pub(super) const PRESENTED: &str = "presented certificate";

/// The skew that the scheme's verifiers of tokens allow.
const SKEW_ALLOWED: Duration = Duration::from_secs(10);

/// Holds this machine's clock against the hub's `Date`, which counts whole seconds.
pub(super) fn clock(steps: &mut Steps, answer: &HubResponse) {
    const NAME: &str = "clock";
    let date = answer.headers.get(DATE).and_then(|date| date.to_str().ok());
    let Some(hub) = date.and_then(|date| httpdate::parse_http_date(date).ok()) else {
        steps.seen(
            NAME,
            Outcome::Note,
            "the answer carries no date to compare with",
        );
        return;
    };
    let now = SystemTime::now();
    let (apart, word) = match now.duration_since(hub) {
        Ok(ahead) => (ahead, "ahead of"),
        Err(behind) => (behind.duration(), "behind"),
    };
    let seconds = apart.as_secs();
    if apart <= SKEW_ALLOWED {
        steps.seen(
            NAME,
            Outcome::Good,
            format!("within {} s of the hub's", seconds + 1),
        );
    } else {
        steps.note(
            NAME,
            format!("this machine is {seconds} s {word} the hub"),
            "set the clock (NTP): certificates are judged by it, and a token that is dated more than 10 s off is refused",
        );
    }
}

/// Whether the hub holds the session for mutual, with the certificate that was presented.
pub(super) fn judge(steps: &mut Steps, answer: &HubResponse, presented: &Certificate) {
    let Some(hello) = Hello::parse(&answer.body) else {
        steps.fault(
            "mTLS status",
            format!(
                "the body is not what /hello-mtls answers: {}",
                answer.excerpt()
            ),
            "something other than the hub answers here: check [hub], and proxies in between",
            ExitCode::Finding,
        );
        return;
    };
    let status = hello
        .mtls_status
        .clone()
        .unwrap_or_else(|| "not given".to_owned());
    let host = hello
        .host_name
        .clone()
        .unwrap_or_else(|| "not given".to_owned());
    let connected = match hello.connection_established {
        Some(false) => "; connectionEstablished false",
        _ => "",
    };
    let detail = format!("{status}{connected}; host name {host}");
    if hello.established() {
        steps.seen("mTLS status", Outcome::Good, detail);
    } else {
        steps.fault(
            "mTLS status",
            detail,
            "the hub does not hold this session for mutual: ask its operator with the interaction id of this call",
            ExitCode::Finding,
        );
    }
    presented_certificate(steps, &hello, presented);
}

fn presented_certificate(steps: &mut Steps, hello: &Hello, presented: &Certificate) {
    let seen = hello.client_certificate.as_ref();
    let told = |of: fn(&SeenCertificate) -> &Option<String>| {
        seen.and_then(|seen| of(seen).as_deref())
            .unwrap_or("nothing")
    };
    let (subject, issuer) = (told(|seen| &seen.subject), told(|seen| &seen.issuer));
    match hello.compare(presented) {
        Comparison::Match => steps.seen(
            PRESENTED,
            Outcome::Good,
            "the hub saw the subject and issuer that were presented",
        ),
        Comparison::Inconclusive => steps.note(
            PRESENTED,
            format!("cannot tell from what the hub shows: subject {subject}, issuer {issuer}"),
            "compare by hand with `hsm-mtls cert show`, or ask the hub's operator which certificate its log has for this call",
        ),
        Comparison::Mismatch => {
            let ours = [
                ("subject", presented.subject(), subject),
                ("issuer", presented.issuer(), issuer),
            ];
            let other: Vec<_> = ours
                .iter()
                .filter(|(_, ours, seen)| ours.compare(seen) == Comparison::Mismatch)
                .map(|(what, ours, seen)| format!("{what} {seen} where {ours} was presented"))
                .collect();
            steps.fault(
                PRESENTED,
                format!("the hub saw another certificate: {}", other.join("; ")),
                "something in between ends TLS and presents a certificate of its own: find that middlebox",
                ExitCode::Finding,
            );
        }
    }
}
