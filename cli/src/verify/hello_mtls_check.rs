//! The steps that check the response of `GET /hello-mtls`: the clock, the hub's mTLS status, and the client certificate
//! that it saw.

use std::time::{Duration, SystemTime};

use http::header::DATE;

use super::hello_mtls_response::{HelloMtlsResponse, SeenCertificate};
use crate::check_steps::{Outcome, Steps};
use hsm_mtls::internal::certificate::Certificate;
use hsm_mtls::internal::certificate::name::Comparison;
use hsm_mtls::internal::client::HubResponse;
use hsm_mtls::internal::exit_code::ExitCode;

/// The step about the hub's clock.
pub(super) const CLOCK_STEP: &str = "clock";
/// The step about what the hub holds the session for.
pub(super) const STATUS_STEP: &str = "mTLS status";
/// The step about the client certificate that the hub saw.
pub(super) const PRESENTED_STEP: &str = "presented certificate";

/// The clock skew that the scheme's token verifiers allow.
const MAX_CLOCK_SKEW: Duration = Duration::from_secs(10);

/// Compares this machine's clock with the hub's `Date`, whose resolution is a second.
pub(super) fn check_clock(steps: &mut Steps, response: &HubResponse) {
    const NAME: &str = CLOCK_STEP;
    let date = response
        .headers
        .get(DATE)
        .and_then(|date| date.to_str().ok());
    let Some(hub) = date.and_then(|date| httpdate::parse_http_date(date).ok()) else {
        steps.seen(
            NAME,
            Outcome::Note,
            "the answer carries no date to compare with",
        );
        return;
    };
    let now = SystemTime::now();
    let (skew, direction) = match now.duration_since(hub) {
        Ok(ahead) => (ahead, "ahead of"),
        Err(behind) => (behind.duration(), "behind"),
    };
    let seconds = skew.as_secs();
    if skew <= MAX_CLOCK_SKEW {
        steps.seen(
            NAME,
            Outcome::Good,
            format!("within {} s of the hub's", seconds + 1),
        );
    } else {
        steps.note(
            NAME,
            format!("this machine is {seconds} s {direction} the hub"),
            "set the clock (NTP): certificates are judged by it, and a token that is dated more than 10 s off is refused",
        );
    }
}

/// Checks that the hub regards the session as mutual TLS, with the certificate that was presented.
pub(super) fn check_response(steps: &mut Steps, response: &HubResponse, presented: &Certificate) {
    let Some(hello) = HelloMtlsResponse::parse(&response.body) else {
        steps.fault(
            STATUS_STEP,
            format!(
                "the body is not what /hello-mtls answers: {}",
                response.excerpt()
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
        steps.seen(STATUS_STEP, Outcome::Good, detail);
    } else {
        steps.fault(
            STATUS_STEP,
            detail,
            "the hub does not hold this session for mutual: ask its operator with the interaction id of this call",
            ExitCode::Finding,
        );
    }
    check_presented_certificate(steps, &hello, presented);
}

fn check_presented_certificate(
    steps: &mut Steps,
    hello: &HelloMtlsResponse,
    presented: &Certificate,
) {
    let seen = hello.client_certificate.as_ref();
    let reported = |field: fn(&SeenCertificate) -> &Option<String>| {
        seen.and_then(|seen| field(seen).as_deref())
            .unwrap_or("nothing")
    };
    let (subject, issuer) = (
        reported(|seen| &seen.subject),
        reported(|seen| &seen.issuer),
    );
    match hello.compare(presented) {
        Comparison::Match => steps.seen(
            PRESENTED_STEP,
            Outcome::Good,
            "the hub saw the subject and issuer that were presented",
        ),
        Comparison::Inconclusive => steps.note(
            PRESENTED_STEP,
            format!("cannot tell from what the hub shows: subject {subject}, issuer {issuer}"),
            "compare by hand with `hsm-mtls cert show`, or ask the hub's operator which certificate its log has for this call",
        ),
        Comparison::Mismatch => {
            let pairs = [
                ("subject", presented.subject(), subject),
                ("issuer", presented.issuer(), issuer),
            ];
            let differences: Vec<_> = pairs
                .iter()
                .filter(|(_, ours, seen)| ours.compare(seen) == Comparison::Mismatch)
                .map(|(field, ours, seen)| format!("{field} {seen} where {ours} was presented"))
                .collect();
            steps.fault(
                PRESENTED_STEP,
                format!("the hub saw another certificate: {}", differences.join("; ")),
                "something in between ends TLS and presents a certificate of its own: find that middlebox",
                ExitCode::Finding,
            );
        }
    }
}
