//! The record for the onboarding ticket: what was shown to the hub, when, with which certificate
//! and from which token. It says it in words first, then in full, and holds no secret.

use serde::Serialize;

use super::hello_check::PRESENTED;
use super::server_certificate::SIGNATURE;
use super::{PROGRAM, Report, ServiceReport};
use crate::check_steps::{Outcome, Step};
use hsm_mtls::internal::config::Config;
use hsm_mtls::internal::diagnostic::Diagnostic;
use hsm_mtls::internal::rfc3339;

/// What is written to the evidence file.
#[derive(Debug, Serialize)]
pub struct Evidence<'a> {
    /// Version of this structure; 0 until it is declared stable.
    pub schema: u32,
    /// In words, a sentence each.
    pub statement: Vec<String>,
    /// All that was seen, where it came to the hub.
    pub report: Option<&'a Report>,
    /// Why it did not come to the hub.
    pub failure: Option<Failure>,
}

/// What stopped the verification before anything was sent.
#[derive(Debug, Serialize)]
pub struct Failure {
    /// When, RFC 3339.
    pub time: String,
    /// Name and version of this program.
    pub program: &'static str,
    /// preprod or production
    pub environment: &'static str,
    /// The LFI's code within host names.
    pub lfi_code: String,
    /// What is wrong.
    pub error: String,
    /// What to do next.
    pub hint: String,
    /// How the command ends.
    pub exit: u8,
}

impl<'a> Evidence<'a> {
    /// Of a verification that came to the hub.
    pub fn of(report: &'a Report) -> Self {
        let shown = &report.certificate;
        let mut statement = vec![format!(
            "On {}, {} tried for {} whether the {} environment of the API Hub establishes mutual TLS.",
            report.time, report.program, report.lfi_code, report.environment
        )];
        statement.push(format!(
            "The certificate that was tried is of {}, issued by {}, {}.",
            shown.subject, shown.issuer, shown.fingerprint
        ));
        let token = report.holder.as_ref().map_or("a token", |held| &held.token);
        statement.push(format!(
            "Its private key is {} of the token {token}: it signed a random challenge that the certificate verifies.",
            shown.key
        ));
        statement.extend(report.services.iter().map(of_service));
        statement.push("This record holds no secret.".to_owned());
        Self {
            schema: 0,
            statement,
            report: Some(report),
            failure: None,
        }
    }

    /// Of one that did not.
    pub fn of_failure(config: &Config, error: &dyn Diagnostic) -> Self {
        let failure = Failure {
            time: rfc3339::now(),
            program: PROGRAM,
            environment: config.environment.as_str(),
            lfi_code: config.lfi_code.to_string(),
            error: error.to_string(),
            hint: error.hint(),
            exit: error.exit_code() as u8,
        };
        Self {
            schema: 0,
            statement: vec![
                format!(
                    "On {}, {} sent nothing for {} to the {} environment of the API Hub: {}.",
                    failure.time,
                    failure.program,
                    failure.lfi_code,
                    failure.environment,
                    failure.error
                ),
                "This record holds no secret.".to_owned(),
            ],
            report: None,
            failure: Some(failure),
        }
    }
}

/// Only what was seen: a service that was not reached was presented nothing.
fn of_service(service: &ServiceReport) -> String {
    let steps = service.steps.list();
    let state = match steps.iter().find(|step| step.outcome == Outcome::Bad) {
        None => "mutual TLS is established".to_owned(),
        Some(step) => format!(
            "mutual TLS is NOT established; {}: {}",
            step.name, step.detail
        ),
    };
    let untold = |step: &Step| step.name == PRESENTED && step.outcome == Outcome::Note;
    let mut sentences = vec![format!("{} ({}): {state}.", service.name, service.origin)];
    if let Some(server) = &service.server_certificate {
        sentences.push(format!(
            "It presented the certificate of {}, {}.",
            server.subject, server.fingerprint
        ));
    }
    let signed = |step: &Step| step.name == SIGNATURE && step.outcome == Outcome::Good;
    if steps.iter().any(signed) {
        sentences.push("For ours, the handshake was signed in the token.".to_owned());
    }
    if steps.iter().any(untold) {
        sentences.push("It did not tell which certificate it saw.".to_owned());
    }
    if let Some(id) = &service.interaction_id {
        sentences.push(format!("The call's x-fapi-interaction-id is {id}."));
    }
    sentences.join(" ")
}
