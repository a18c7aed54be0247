//! The request of `verify`, and the steps that check the answer of a service of no scheme: that it is the one which the
//! configuration expects. Such a service does not say which certificate it saw.

use std::borrow::Cow;

use super::hello_mtls_check::{CLOCK_STEP, PRESENTED_STEP, STATUS_STEP};
use crate::check_steps::{Outcome, Steps};
use hsm_mtls::internal::client::HubResponse;
use hsm_mtls::internal::exit_code::ExitCode;
use hsm_mtls::internal::regime::{Expectation, VerifyRequest};

/// The step about the body.
const ANSWER_STEP: &str = "answer";

/// The step of the request.
pub(super) fn request_step(verify: &VerifyRequest) -> String {
    format!("GET {}", verify.path)
}

/// The steps from the request on, in their order.
pub(super) fn request_steps(verify: &VerifyRequest) -> Vec<Cow<'static, str>> {
    let answer = match verify.expect {
        Expectation::HelloMtls => Some(STATUS_STEP),
        Expectation::Status => verify.contains.as_ref().map(|_| ANSWER_STEP),
    };
    let mut steps = vec![request_step(verify).into(), CLOCK_STEP.into()];
    steps.extend(answer.map(Cow::Borrowed));
    steps.push(PRESENTED_STEP.into());
    steps
}

/// What the status says against the answer, and what to do about it. `None`: it is the expected one.
pub(super) fn unexpected_status(
    response: &HubResponse,
    expected: &VerifyRequest,
) -> Option<(String, &'static str)> {
    let status = response.status.as_u16();
    if status == expected.status {
        return None;
    }
    Some(match response.error_response() {
        Some(refusal) => (refusal.detail, refusal.hint),
        None => (
            format!("{status}, where {} is expected", expected.status),
            "if that is a good answer, write it into `verify` of the service: { path = .., status = .. }",
        ),
    })
}

/// Checks that the body holds the text which is expected, if there is one.
pub(super) fn check_answer(steps: &mut Steps, response: &HubResponse, expected: &VerifyRequest) {
    match &expected.contains {
        None => {}
        Some(text) if String::from_utf8_lossy(&response.body).contains(text) => {
            steps.seen(ANSWER_STEP, Outcome::Good, format!("it holds {text:?}"));
        }
        Some(text) => steps.fault(
            ANSWER_STEP,
            format!("{text:?} is not in it: {}", response.excerpt()),
            "something other than the service answers here, or `contains` of its `verify` is outdated",
            ExitCode::Finding,
        ),
    }
    steps.seen(
        PRESENTED_STEP,
        Outcome::Note,
        "the service answers after the handshake with our certificate; which one it saw it does not say",
    );
}
