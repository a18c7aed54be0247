//! An [`Identity`] and a trust store made into a `rustls::ClientConfig` that cannot be anonymous.

mod algorithms;
mod diagnose;
mod error;
pub mod issuers;
pub mod observation;
mod own_chain;
mod resolver;
mod revocation;
mod signer;
pub mod trust;
mod unsupported;

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs};
use rustls::{ClientConfig, NamedGroup, SupportedProtocolVersion, version};

use crate::certificate::anchors::Anchors;
use crate::certificate::name::DistinguishedName;
use crate::config::environment::Environment;
use crate::config::{Config, Group, TlsConfig};
use crate::identity::Identity;
use crate::rfc3339;
pub use diagnose::diagnose;
pub use diagnose::ended;
pub(crate) use diagnose::of_handshake;
pub(crate) use error::SILENT_REFUSAL;
pub use error::{Ending, Moment, TlsError};
use issuers::{Acceptance, OurIssuers};
use observation::Asked;
use resolver::OneIdentity;
use trust::{HubVerifier, TrustStore, Watched};

/// The crypto provider, chosen here and nowhere else: aws-lc-rs, with the configured groups.
pub fn provider(config: &TlsConfig) -> Arc<CryptoProvider> {
    let mut provider = aws_lc_rs::default_provider();
    if let Some(groups) = &config.groups {
        provider.kx_groups = groups.iter().map(|group| kx_group(*group)).collect();
    }
    Arc::new(provider)
}

fn kx_group(group: Group) -> &'static dyn SupportedKxGroup {
    match group {
        Group::X25519MLKEM768 => aws_lc_rs::kx_group::X25519MLKEM768,
        Group::X25519 => aws_lc_rs::kx_group::X25519,
        Group::Secp256r1 => aws_lc_rs::kx_group::SECP256R1,
        Group::Secp384r1 => aws_lc_rs::kx_group::SECP384R1,
    }
}

const BOTH_VERSIONS: &[&SupportedProtocolVersion] = &[&version::TLS13, &version::TLS12];
const TLS12_ONLY: &[&SupportedProtocolVersion] = &[&version::TLS12];

/// Everything that a handshake needs, proved and checked.
#[derive(Clone)]
pub struct Tls {
    provider: Arc<CryptoProvider>,
    resolver: Arc<OneIdentity>,
    trust: Arc<TrustStore>,
    issuers: Arc<OurIssuers>,
    versions: &'static [&'static SupportedProtocolVersion],
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("versions", &self.versions)
            .finish_non_exhaustive()
    }
}

impl Tls {
    /// Prepares handshakes of `identity` with the configured hosts.
    ///
    /// # Errors
    /// The trust anchors cannot be read or used.
    pub fn new(config: &Config, identity: &Identity) -> Result<Self, TlsError> {
        let anchors = Anchors::load(config)?;
        let provider = provider(&config.tls);
        let trust = Arc::new(TrustStore::load(&config.trust, &anchors, &provider)?);
        // An RSA key in a token without PSS cannot sign for TLS 1.3. It would be negotiated, and
        // fail: so it is not offered.
        let tls13 = identity
            .signer()
            .schemes()
            .iter()
            .any(|scheme| scheme.in_tls13());
        if !tls13 {
            tracing::warn!("the token has no RSA-PSS: offering TLS 1.2 only");
        }
        Ok(Self {
            provider,
            resolver: Arc::new(OneIdentity::of(identity)),
            trust,
            issuers: Arc::new(OurIssuers::of(identity.chain(), config.environment)),
            versions: if tls13 { BOTH_VERSIONS } else { TLS12_ONLY },
        })
    }

    /// The trust anchors.
    pub fn trust(&self) -> &TrustStore {
        &self.trust
    }

    /// Whether our certificate may be shown yet. When its time is over is for the server to say.
    pub(crate) fn has_begun(&self, now: SystemTime) -> Result<(), TlsError> {
        let leaf = self.resolver.leaf();
        match leaf.begins() > now {
            true => Err(TlsError::NotYetValid {
                not_before: leaf.not_before(),
                now: rfc3339::now(),
            }),
            false => Ok(()),
        }
    }

    /// What a server's CertificateRequest says of our issuer.
    pub fn acceptance(&self, asked: &Asked) -> Acceptance {
        self.issuers.acceptance(asked)
    }

    /// The other environment, where this is the name of one of its documented CAs.
    pub fn other_environment(&self, ca: &DistinguishedName) -> Option<Environment> {
        self.issuers.other_environment(ca)
    }

    /// Whether the hello is as large as the hybrid group makes it: more than one packet, which some
    /// middleboxes drop.
    fn hello_is_large(&self) -> bool {
        self.provider
            .kx_groups
            .iter()
            .any(|group| group.name() == NamedGroup::X25519MLKEM768)
    }

    /// The same without the hybrid group, and so with a small hello. `None` where the hello is small
    /// already, or nothing that the configuration allows would be left.
    pub fn with_small_hello(&self) -> Option<Self> {
        let mut provider = CryptoProvider::clone(&self.provider);
        provider
            .kx_groups
            .retain(|group| group.name() != NamedGroup::X25519MLKEM768);
        if provider.kx_groups.is_empty() || !self.hello_is_large() {
            return None;
        }
        Some(Self {
            provider: Arc::new(provider),
            ..self.clone()
        })
    }

    /// An alert that is explained by what this side could not offer.
    pub(crate) fn explain_version(&self, error: TlsError) -> TlsError {
        const PROTOCOL_VERSION: u8 = 70;
        match error {
            TlsError::Alert {
                code: PROTOCOL_VERSION,
                ..
            } if self.versions.len() == TLS12_ONLY.len() => TlsError::NeedsRsaPss,
            other => other,
        }
    }

    /// The configuration for connections that this crate makes and watches.
    pub(crate) fn watched(
        &self,
        config: &Config,
        alpn: &[&[u8]],
    ) -> Result<ClientConfig, TlsError> {
        self.client_config(config, alpn, Watched::Always)
    }

    /// A configuration for an application that makes its own connections.
    ///
    /// What still holds on this path: the certificate is offered to the configured hosts only, a
    /// handshake that cannot be signed fails with the true reason, and nothing is resumed. What
    /// cannot be enforced: that the server *asks* for the certificate. rustls tells a resolver and
    /// a verifier nothing of the connection that they serve, so a server that does not ask gets an
    /// anonymous client. Use [`crate::Client`] or `hsm_mtls::reqwest` where you can.
    ///
    /// # Errors
    /// rustls refuses the configuration.
    pub fn unwatched_client_config(
        &self,
        config: &Config,
        alpn: &[&[u8]],
    ) -> Result<ClientConfig, TlsError> {
        self.client_config(config, alpn, Watched::Perhaps)
    }

    fn client_config(
        &self,
        config: &Config,
        alpn: &[&[u8]],
        watched: Watched,
    ) -> Result<ClientConfig, TlsError> {
        let verifier = HubVerifier::new(Arc::clone(&self.trust), &config.hub.origins(), watched);
        let mut client = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(self.versions)
            .map_err(|error| TlsError::Setup(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(Arc::clone(&self.resolver) as Arc<_>);
        // A resumed session proves no key: every connection is a full handshake.
        client.resumption = Resumption::disabled();
        client.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(client)
    }
}
