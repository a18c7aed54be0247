//! The evidence file for the onboarding ticket: which certificate was presented to the hub, when, and with a key of which
//! token. It begins with sentences, then holds the full report, and no secret.

use serde::Serialize;

use super::handshake_check::SIGNATURE_STEP;
use super::hello_mtls_check::PRESENTED_STEP;
use super::{PROGRAM, ServiceReport, VerifyReport};
use crate::check_steps::{Outcome, Step};
use hsm_mtls::internal::config::Config;
use hsm_mtls::internal::diagnostic::Diagnostic;
use hsm_mtls::internal::regime::Regime;
use hsm_mtls::internal::rfc3339;

/// The content of the evidence file.
#[derive(Debug, Serialize)]
pub struct Evidence<'a> {
    /// Version of this structure; 0 until it is declared stable.
    pub schema: u32,
    /// The result in sentences.
    pub statement: Vec<String>,
    /// The full report, if the hub was contacted.
    pub report: Option<&'a VerifyReport>,
    /// The error, if the hub was not contacted.
    pub failure: Option<Failure>,
}

/// What stopped the verification before anything was sent.
#[derive(Debug, Serialize)]
pub struct Failure {
    /// When it failed, RFC 3339.
    pub time: String,
    /// Name and version of this program.
    pub program: &'static str,
    /// The regime, and its environment.
    pub regime: &'static str,
    /// Such as preprod or production.
    pub environment: &'static str,
    /// The LFI's code within host names, in a regime that has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lfi_code: Option<String>,
    /// The error message.
    pub error: String,
    /// The hint for the next step.
    pub hint: String,
    /// The exit code of the command.
    pub exit: u8,
}

impl<'a> Evidence<'a> {
    /// The evidence of a verification that contacted the hub.
    pub fn of(report: &'a VerifyReport) -> Self {
        let presented = &report.certificate;
        let mut statement = vec![format!(
            "On {}, {} tried{} whether the {} environment{} establishes mutual TLS.",
            report.time,
            report.program,
            for_whom(report.lfi_code.as_ref()),
            report.environment,
            hub(report.regime)
        )];
        statement.push(format!(
            "The certificate that was tried is of {}, issued by {}, {}.",
            presented.subject, presented.issuer, presented.fingerprint
        ));
        let token = report
            .holder
            .as_ref()
            .map_or("a token", |device| &device.token);
        statement.push(format!(
            "Its private key is {} of the token {token}: it signed a random challenge that the certificate verifies.",
            presented.key
        ));
        statement.extend(report.services.iter().map(service_statement));
        statement.extend(report.sig4.as_ref().map(|sig4| {
            format!(
                "The key that signs tokens of JWT Auth is {}: it signed a random challenge that the certificate with the kid {} \
                 verifies.",
                sig4.key, sig4.kid
            )
        }));
        statement.push("This record holds no secret.".to_owned());
        Self {
            schema: 0,
            statement,
            report: Some(report),
            failure: None,
        }
    }

    /// The evidence of a verification that failed before it contacted the hub.
    pub fn of_failure(config: &Config, error: &dyn Diagnostic) -> Self {
        let failure = Failure {
            time: rfc3339::now(),
            program: PROGRAM,
            regime: &config.environment.regime().name,
            environment: config.environment.as_str(),
            lfi_code: config.lfi_code.as_ref().map(ToString::to_string),
            error: error.to_string(),
            hint: error.hint(),
            exit: error.exit_code() as u8,
        };
        Self {
            schema: 0,
            statement: vec![
                format!(
                    "On {}, {} sent nothing{} to the {} environment{}: {}.",
                    failure.time,
                    failure.program,
                    for_whom(failure.lfi_code.as_ref()),
                    failure.environment,
                    hub(failure.regime),
                    failure.error
                ),
                "This record holds no secret.".to_owned(),
            ],
            report: None,
            failure: Some(failure),
        }
    }
}

/// The sentences about one service. They state only what was observed: a service that was not reached was presented
/// nothing.
fn service_statement(service: &ServiceReport) -> String {
    let steps = service.steps.list();
    let state = match steps.iter().find(|step| step.outcome == Outcome::Bad) {
        None => "mutual TLS is established".to_owned(),
        Some(step) => format!(
            "mutual TLS is NOT established; {}: {}",
            step.name, step.detail
        ),
    };
    let not_reported = |step: &Step| step.name == PRESENTED_STEP && step.outcome == Outcome::Note;
    let mut sentences = vec![format!("{} ({}): {state}.", service.name, service.origin)];
    if let Some(proxy) = &service.forward_proxy {
        sentences.push(format!(
            "The way to it is through the forward proxy {proxy}, within whose tunnel TLS is."
        ));
    }
    if let Some(server) = &service.server_certificate {
        sentences.push(format!(
            "It presented the certificate of {}, {}.",
            server.subject, server.fingerprint
        ));
    }
    let signed = |step: &Step| step.name == SIGNATURE_STEP && step.outcome == Outcome::Good;
    if steps.iter().any(signed) {
        sentences.push("For ours, the handshake was signed in the token.".to_owned());
    }
    if steps.iter().any(not_reported) {
        sentences.push("It did not tell which certificate it saw.".to_owned());
    }
    if let Some(id) = &service.interaction_id {
        sentences.push(format!("The call's x-fapi-interaction-id is {id}."));
    }
    sentences.join(" ")
}

fn for_whom(lfi_code: Option<&String>) -> String {
    lfi_code.map_or_else(String::new, |code| format!(" for {code}"))
}

/// What the services belong to, where the regime knows them.
fn hub(regime: &str) -> String {
    let regime = Regime::named(regime).filter(|regime| !regime.services.is_empty());
    regime.map_or_else(String::new, |regime| format!(" of the {}", regime.title))
}
