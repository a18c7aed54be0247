//! The onboarding verification: the same certificate, shown to both services of the hub, step by
//! step, so that what fails names itself.

pub mod evidence;
pub mod hello;
mod hello_check;
mod server_certificate;
mod service_check;

use serde::Serialize;

use crate::check_steps::Steps;
use hsm_mtls::internal::certificate::Certificate;
use hsm_mtls::internal::client::Client;
use hsm_mtls::internal::client::connector::Connector;
use hsm_mtls::internal::config::Config;
use hsm_mtls::internal::config::environment::Service;
use hsm_mtls::internal::exit_code::ExitCode;
use hsm_mtls::internal::identity::Identity;
use hsm_mtls::internal::rfc3339;
use hsm_mtls::internal::tls::{Tls, TlsError};
use hsm_mtls::internal::token::device_info::DeviceInfo;
pub use server_certificate::ServerCertificate;
use service_check::ServiceCheck;

/// The outcome for an environment.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Version of this structure; 0 until it is declared stable.
    pub schema: u32,
    /// When it was begun, RFC 3339.
    pub time: String,
    /// Name and version of this program.
    pub program: &'static str,
    /// preprod or production
    pub environment: &'static str,
    /// The LFI's code within host names.
    pub lfi_code: String,
    /// The certificate that was shown.
    pub certificate: Shown,
    /// Module and token that hold its key.
    pub holder: Option<DeviceInfo>,
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
    /// SHA-256 of its DER.
    pub fingerprint: String,
    /// SHA-256 of each CA that was sent after it.
    pub sent_with: Vec<String>,
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
    /// What it presented, if it came to that.
    pub server_certificate: Option<ServerCertificate>,
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

/// Name and version of this program, as records name it.
pub const PROGRAM: &str = concat!("hsm-mtls ", env!("CARGO_PKG_VERSION"));

/// Shows the certificate to CM and HH. `open` is where the identity comes from: [`Identity::open`], or
/// [`hsm_mtls::internal::signer::identity`].
///
/// # Errors
/// Token, key, certificate or anchors are not as they must be: nothing was sent. What goes wrong
/// with the hub is in the report.
pub async fn verify<E: From<TlsError>>(
    config: &Config,
    open: impl FnOnce() -> Result<Identity, E>,
) -> Result<Report, E> {
    let time = rfc3339::now();
    let identity = open()?;
    let tls = Tls::new(config, &identity)?;
    let connector = Connector::new(config, &tls)?;
    let small_hello = match tls.with_small_client_hello() {
        Some(small) => Some(Connector::new(config, &small)?),
        None => None,
    };
    let client = Client::new(config, connector.clone());
    let leaf = identity.chain().leaf();
    let mut services = Vec::new();
    for service in Service::ALL {
        let check = ServiceCheck {
            tls: &tls,
            connector: &connector,
            small_hello: small_hello.as_ref(),
            client: &client,
            presented: leaf,
            origin: config.hub.origin(service),
        };
        let checked = check.run().await;
        services.push(ServiceReport {
            service: service.label(),
            name: service.name(),
            origin: check.origin.to_string(),
            established: checked.steps.exit_code() == ExitCode::Good,
            server_certificate: checked.server,
            interaction_id: checked.interaction_id,
            steps: checked.steps,
        });
    }
    Ok(Report {
        schema: 0,
        time,
        program: PROGRAM,
        environment: config.environment.as_str(),
        lfi_code: config.lfi_code.to_string(),
        certificate: Shown::of(&identity),
        holder: identity.device_info(),
        established: services.iter().all(|service| service.established),
        services,
    })
}

impl Shown {
    fn of(identity: &Identity) -> Self {
        let chain = identity.chain();
        let leaf = chain.leaf();
        let fingerprint = |certificate: &Certificate| certificate.fingerprint().to_string();
        Self {
            subject: leaf.subject().to_string(),
            issuer: leaf.issuer().to_string(),
            not_after: leaf.not_after(),
            x5t_s256: leaf.x5t_s256(),
            fingerprint: fingerprint(leaf),
            sent_with: chain.certificates().skip(1).map(fingerprint).collect(),
            key: identity.signer().key_uri(),
            proofs: 1,
            proof_millis: identity.proof().as_micros() as f64 / 1000.0,
        }
    }
}
