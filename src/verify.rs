//! The onboarding verification: the same certificate, shown to both services of the hub, step by
//! step, so that what fails names itself.

pub mod hello;
mod visit;

use serde::Serialize;

use crate::client::Client;
use crate::client::connector::Connector;
use crate::config::Config;
use crate::config::environment::Service;
use crate::error::{Error, ExitCode};
use crate::identity::Identity;
use crate::step::Steps;
use crate::tls::Tls;
use crate::token::guard::Attendance;
use visit::Visit;

/// The outcome for an environment.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Version of this structure; 0 until it is declared stable.
    pub schema: u32,
    /// preprod or production
    pub environment: &'static str,
    /// The certificate that was shown.
    pub certificate: Shown,
    /// CM and HH.
    pub services: Vec<ServiceReport>,
    /// Whether both are established.
    pub established: bool,
}

/// The certificate that was shown, and the proof that its key is the token's.
#[derive(Debug, Serialize)]
pub struct Shown {
    /// Its subject.
    pub subject: String,
    /// Its issuer.
    pub issuer: String,
    /// RFC 3339
    pub not_after: String,
    /// `x5t#S256`
    pub x5t_s256: String,
    /// The private key.
    pub key: String,
    /// Signatures made to prove the pair (purpose `proof`).
    pub proofs: u32,
    /// How long the proof took, in milliseconds.
    pub proof_millis: f64,
}

/// The outcome for one service.
#[derive(Debug, Serialize)]
pub struct ServiceReport {
    /// `cm` or `hh`
    pub service: &'static str,
    /// Its name.
    pub name: &'static str,
    /// Where it was called.
    pub origin: String,
    /// Whether mutual TLS was shown.
    pub established: bool,
    /// `x-fapi-interaction-id` of the call, if it came to one.
    pub interaction_id: Option<String>,
    /// What was done.
    pub steps: Steps,
}

impl Report {
    /// How the command ends.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::nearest_to_token(
            self.services
                .iter()
                .map(|service| service.steps.exit_code()),
        )
    }
}

/// Shows the certificate to CM and HH.
///
/// # Errors
/// Token, key, certificate or anchors are not as they must be: nothing was sent. What goes wrong
/// with the hub is in the report.
pub async fn verify(config: &Config, attendance: Attendance) -> Result<Report, Error> {
    let identity = Identity::open(config, attendance)?;
    let tls = Tls::new(config, &identity)?;
    let connector = Connector::new(config, &tls)?;
    let client = Client::new(config, connector.clone());
    let leaf = identity.chain().leaf();
    let mut services = Vec::new();
    for service in Service::ALL {
        let visit = Visit {
            tls: &tls,
            connector: &connector,
            client: &client,
            chain: identity.chain(),
            origin: config.hub.origin(service),
        };
        let (steps, interaction_id) = visit.run().await;
        services.push(ServiceReport {
            service: service.label(),
            name: service.name(),
            origin: visit.origin.to_string(),
            established: steps.exit_code() == ExitCode::Good,
            interaction_id,
            steps,
        });
    }
    Ok(Report {
        schema: 0,
        environment: config.environment.as_str(),
        certificate: Shown {
            subject: leaf.subject().to_string(),
            issuer: leaf.issuer().to_string(),
            not_after: leaf.not_after(),
            x5t_s256: leaf.x5t_s256(),
            key: identity.signer().key_uri(),
            proofs: 1,
            proof_millis: identity.proof().as_micros() as f64 / 1000.0,
        },
        established: services.iter().all(|service| service.established),
        services,
    })
}
