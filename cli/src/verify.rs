//! The onboarding verification: mutual TLS with each service of the hub, as a list of named steps that shows which one
//! fails.

mod answer_check;
pub mod evidence_file;
mod handshake_check;
mod hello_mtls_check;
pub mod hello_mtls_response;
mod service_check;
mod way_check;

use std::time::SystemTime;

use serde::Serialize;

use crate::check_steps::Steps;
pub use handshake_check::ServerCertificate;
use hsm_mtls::internal::certificate::Certificate;
use hsm_mtls::internal::certificate::revocation::RevocationStatus;
use hsm_mtls::internal::client::Client;
use hsm_mtls::internal::client::connector::Connector;
use hsm_mtls::internal::config::Config;
use hsm_mtls::internal::exit_code::ExitCode;
use hsm_mtls::internal::identity::Identity;
use hsm_mtls::internal::rfc3339;
use hsm_mtls::internal::tls::{Tls, TlsError};
use hsm_mtls::internal::token::device_info::DeviceInfo;
use service_check::ServiceCheck;

/// The result of a verification: all services of one environment.
#[derive(Debug, Serialize)]
pub struct VerifyReport {
    /// Version of this structure; 0 until it is declared stable.
    pub schema: u32,
    /// When the verification started, RFC 3339.
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
    /// The client certificate that was presented.
    pub certificate: PresentedCertificate,
    /// Module and token that hold its key.
    pub holder: Option<DeviceInfo>,
    /// The results for each service.
    pub services: Vec<ServiceReport>,
    /// Whether mutual TLS is established with all services.
    pub established: bool,
    /// The second key, if there is `[sig4]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sig4: Option<SigningCertificate>,
}

/// The Sig4 certificate, the proof that its key is in the token, and the published key set.
#[derive(Debug, Serialize)]
pub struct SigningCertificate {
    /// Its `kid`: `x5t#S256`
    pub kid: String,
    /// RFC 3339
    pub not_after: String,
    /// The URI of the private key.
    pub key: String,
    /// Whether it is on a CRL; absent where none is configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revocation: Option<OwnRevocation>,
    /// Where the key set was looked for, and the steps of its check; absent until it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_set: Option<KeySetReport>,
    /// For the check.
    #[serde(skip)]
    pub certificate: Certificate,
}

/// The check of the published key set.
#[derive(Debug, Serialize)]
pub struct KeySetReport {
    /// The URL.
    pub source: String,
    /// The steps that were taken.
    pub steps: Steps,
}

/// The client certificate that was presented, and the proof that its key is in the token.
#[derive(Debug, Serialize)]
pub struct PresentedCertificate {
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
    /// The URI of the private key.
    pub key: String,
    /// The number of signatures that proved the pair (purpose `proof`).
    pub proofs: u32,
    /// How long the proof took, in milliseconds.
    pub proof_millis: f64,
    /// Whether it is on a CRL; absent where none is configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revocation: Option<OwnRevocation>,
}

/// Whether a certificate of ours is on a CRL of `[trust]`.
#[derive(Debug, Serialize)]
pub struct OwnRevocation {
    /// `None` where no list says so.
    pub revoked: Option<bool>,
    /// The lists, and what they say.
    pub detail: String,
}

impl OwnRevocation {
    /// Looks for the first of the certificates in the CRLs; `None` where none is configured.
    fn of(config: &Config, certificates: &[Certificate]) -> Option<Self> {
        let looks = !config.trust.crls.is_empty();
        looks.then(|| {
            let now = SystemTime::now();
            let status = RevocationStatus::of_configured(config, certificates, now);
            Self {
                revoked: status.is_revoked(),
                detail: status.detail(),
            }
        })
    }
}

/// The result for one service.
#[derive(Debug, Serialize)]
pub struct ServiceReport {
    /// Its short name.
    pub service: &'static str,
    /// The service's name.
    pub name: &'static str,
    /// The URL's origin: scheme, host and port.
    pub origin: String,
    /// `http://host:port` of the forward proxy on the way to it; absent where it is connected to directly.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forward_proxy: Option<String>,
    /// Whether mutual TLS is established.
    pub established: bool,
    /// The server's certificate, if the handshake got that far.
    pub server_certificate: Option<ServerCertificate>,
    /// `x-fapi-interaction-id` of the request, if one was sent.
    pub interaction_id: Option<String>,
    /// The steps that were taken.
    pub steps: Steps,
}

impl VerifyReport {
    /// The exit code of the command.
    pub fn exit_code(&self) -> ExitCode {
        let key_set = self.sig4.as_ref().and_then(|sig4| sig4.key_set.as_ref());
        let services = self.services.iter().map(|service| &service.steps);
        let steps = services.chain(key_set.map(|key_set| &key_set.steps));
        let revoked = self.revoked().next().map(|_| ExitCode::Finding);
        ExitCode::nearest_to_token(steps.map(Steps::exit_code).chain(revoked))
    }

    /// The certificates of ours that are revoked, by their names.
    pub fn revoked(&self) -> impl Iterator<Item = (&'static str, &OwnRevocation)> {
        let sig4 = self.sig4.as_ref().and_then(|sig4| sig4.revocation.as_ref());
        let own = [("C3", self.certificate.revocation.as_ref()), ("Sig4", sig4)];
        let known = own.into_iter().filter_map(|(key, own)| Some((key, own?)));
        known.filter(|(_, own)| own.revoked == Some(true))
    }
}

/// Name and version of this program, for reports and evidence files.
pub const PROGRAM: &str = concat!("hsm-mtls ", env!("CARGO_PKG_VERSION"));

/// Presents the certificate to each service. `open` opens the identity: [`Identity::open`], or
/// [`hsm_mtls::internal::signer::identity`].
///
/// # Errors
/// Token, key, certificate or anchors cannot be used: nothing was sent. Failures after that are in the report.
pub async fn verify<E: From<TlsError>>(
    config: &Config,
    open: impl FnOnce() -> Result<Identity, E>,
) -> Result<VerifyReport, E> {
    let time = rfc3339::now();
    let identity = open()?;
    // Each check is to see a whole handshake.
    let config = &config.clone().without_resumption();
    let tls = Tls::new(config, &identity)?;
    let connector = Connector::new(config, &tls)?;
    let small_hello = match tls.with_small_client_hello() {
        Some(small) => Some(Connector::new(config, &small)?),
        None => None,
    };
    let client = Client::new(config, connector.clone());
    let leaf = identity.chain().leaf();
    let mut services = Vec::new();
    for service in &config.hub.services {
        let check = ServiceCheck {
            tls: &tls,
            connector: &connector,
            small_hello: small_hello.as_ref(),
            client: &client,
            presented: leaf,
            service,
        };
        let checked = check.run().await;
        services.push(ServiceReport {
            service: service.service.label(),
            name: service.service.name(),
            origin: service.origin.to_string(),
            forward_proxy: connector
                .via(&service.origin)
                .map(|(name, _)| name.to_owned()),
            established: checked.steps.exit_code() == ExitCode::Good,
            server_certificate: checked.server,
            interaction_id: checked.interaction_id,
            steps: checked.steps,
        });
    }
    Ok(VerifyReport {
        schema: 0,
        time,
        program: PROGRAM,
        regime: &config.environment.regime().name,
        environment: config.environment.as_str(),
        lfi_code: config.lfi_code.as_ref().map(ToString::to_string),
        certificate: PresentedCertificate::of(config, &identity),
        holder: identity.device_info(),
        established: services.iter().all(|service| service.established),
        services,
        sig4: identity.sig4().map(|sig4| SigningCertificate {
            kid: sig4.certificate().x5t_s256(),
            not_after: sig4.certificate().not_after(),
            key: sig4.signer().key_uri(),
            revocation: OwnRevocation::of(config, std::slice::from_ref(sig4.certificate())),
            key_set: None,
            certificate: sig4.certificate().clone(),
        }),
    })
}

impl PresentedCertificate {
    fn of(config: &Config, identity: &Identity) -> Self {
        let chain = identity.chain();
        let certificates: Vec<_> = chain.certificates().cloned().collect();
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
            revocation: OwnRevocation::of(config, &certificates),
        }
    }
}
