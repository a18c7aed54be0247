//! TLS with rustls: builds a `rustls::ClientConfig` from an [`Identity`] and the trust anchors, such that no handshake
//! succeeds without the client certificate.

pub(crate) mod anonymous;
mod chain_status;
mod chain_verifier;
mod client_cert_resolver;
mod client_chain;
mod diagnose;
mod error;
pub mod handshake_observer;
pub(crate) mod hub_verifier;
pub mod issuers;
mod other_generation;
pub(crate) mod replay;
mod revocation;
pub mod session_store;
mod signature_algorithms;
mod signing_key;
pub mod trust;
mod unsupported;
mod verified_chains;
mod webpki_error;

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs};
use rustls::{ClientConfig, NamedGroup, SupportedProtocolVersion, version};

use crate::certificate::anchors::Anchors;
use crate::certificate::name::DistinguishedName;
use crate::config::environment::Environment;
use crate::config::origin::Origin;
use crate::config::{Config, Group, TlsConfig};
use crate::identity::Identity;
use crate::rfc3339;
use client_cert_resolver::ClientCertResolver;
pub use diagnose::diagnose;
pub use diagnose::ending_of;
pub(crate) use diagnose::from_handshake;
pub(crate) use error::SILENT_REFUSAL;
pub use error::{Ending, HandshakePhase, TlsError};
use handshake_observer::{CertificateRequest, Observer};
use issuers::{ClientIssuers, IssuerMatch};
use replay::{RecordedTime, WantedSignature};
pub use revocation::check_crl;
use session_store::{ConnectionSessions, SessionStore};
use trust::{ObservationPolicy, ServerVerifier, TrustStore};

/// The crypto provider of all TLS in this crate: aws-lc-rs, with the configured key exchange groups.
pub fn provider(config: &TlsConfig) -> Arc<CryptoProvider> {
    let mut provider = aws_lc_rs::default_provider();
    if let Some(groups) = &config.groups {
        provider.kx_groups = groups.iter().map(|group| kx_group(*group)).collect();
    }
    Arc::new(replay::recorded_provider(provider))
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

/// The TLS client: certificate, signing key, trust anchors and crypto provider. Clones share them.
///
/// [`Tls::unobserved_client_config`] makes the `rustls::ClientConfig` for another HTTP stack. With [`crate::Client`] or
/// `hsm_mtls::reqwest`, no application needs to make a `Tls`.
#[derive(Clone)]
pub struct Tls {
    provider: Arc<CryptoProvider>,
    resolver: Arc<ClientCertResolver>,
    trust: Arc<TrustStore>,
    issuers: Arc<ClientIssuers>,
    versions: &'static [&'static SupportedProtocolVersion],
    /// None: no session is resumed.
    sessions: Option<Arc<SessionStore>>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("versions", &self.versions)
            .finish_non_exhaustive()
    }
}

impl Tls {
    /// Loads the trust anchors and CRLs of the configuration, for handshakes of `identity`.
    ///
    /// # Errors
    /// A trust anchor or CRL cannot be read or used.
    pub fn new(config: &Config, identity: &Identity) -> Result<Self, TlsError> {
        let anchors = Anchors::load(config)?;
        let provider = provider(&config.tls);
        let trust = Arc::new(TrustStore::load(&config.trust, &anchors, &provider)?);
        // A token without RSA-PSS cannot sign for TLS 1.3 with an RSA key. So TLS 1.3 is not offered: it would be
        // negotiated and then fail.
        let supports_tls13 = identity
            .signer()
            .schemes()
            .iter()
            .any(|scheme| scheme.in_tls13());
        if !supports_tls13 {
            tracing::warn!("the token has no RSA-PSS: offering TLS 1.2 only");
        }
        let sessions = config.tls.resumption.map(|lifetime| {
            let own = identity.chain().leaf().not_after_time();
            Arc::new(SessionStore::new(lifetime, own.min(trust.outdated_from())))
        });
        Ok(Self {
            provider,
            resolver: Arc::new(ClientCertResolver::new(identity)),
            trust,
            issuers: Arc::new(ClientIssuers::new(identity.chain(), config.environment)),
            versions: if supports_tls13 {
                BOTH_VERSIONS
            } else {
                TLS12_ONLY
            },
            sessions,
        })
    }

    /// The trust anchors.
    pub fn trust(&self) -> &TrustStore {
        &self.trust
    }

    /// Checks the client certificate's notBefore. Its notAfter is left to the server.
    pub(crate) fn check_not_before(&self, now: SystemTime) -> Result<(), TlsError> {
        let leaf = self.resolver.leaf();
        match leaf.not_before_time() > now {
            true => Err(TlsError::NotYetValid {
                not_before: leaf.not_before(),
                now: rfc3339::now(),
            }),
            false => Ok(()),
        }
    }

    /// Whether a server's CertificateRequest accepts one of the issuers in the client certificate's chain.
    pub fn match_issuers(&self, request: &CertificateRequest) -> IssuerMatch {
        self.issuers.match_request(request)
    }

    /// The other environment, if `ca` is the name of one of its documented CAs.
    pub fn other_environment(&self, ca: &DistinguishedName) -> Option<Environment> {
        self.issuers.other_environment(ca)
    }

    /// Whether the ClientHello offers X25519MLKEM768 and so is larger than one packet, which some middleboxes drop.
    fn has_large_client_hello(&self) -> bool {
        self.provider
            .kx_groups
            .iter()
            .any(|group| group.name() == NamedGroup::X25519MLKEM768)
    }

    /// A copy that does not offer X25519MLKEM768, so that the ClientHello fits into one packet. `None` if that group is not
    /// offered anyway, or is the only one.
    pub fn with_small_client_hello(&self) -> Option<Self> {
        let mut provider = CryptoProvider::clone(&self.provider);
        provider
            .kx_groups
            .retain(|group| group.name() != NamedGroup::X25519MLKEM768);
        if provider.kx_groups.is_empty() || !self.has_large_client_hello() {
            return None;
        }
        Some(Self {
            provider: Arc::new(provider),
            ..self.clone()
        })
    }

    /// Names the CA of another generation, where the issuer of a server's chain (leaf first) is unknown for that reason.
    pub(crate) fn explain_untrusted(&self, error: TlsError, chain: &[Vec<u8>]) -> TlsError {
        self.trust.explain_untrusted(error, chain)
    }

    /// The sessions of a connection to this origin; `offers` is whether it may offer one. `None`: it makes a full handshake.
    pub(crate) fn sessions(
        &self,
        origin: &Origin,
        offers: bool,
    ) -> Option<Arc<ConnectionSessions>> {
        let shared = self.sessions.as_ref()?;
        ConnectionSessions::new(shared, origin, offers).map(Arc::new)
    }

    /// Makes the signature that the first run of a handshake asked for, and records it in the handshake's observer.
    ///
    /// # Errors
    /// There is no verified signature in time ([`TlsError::Signature`]).
    pub(crate) async fn sign(
        &self,
        wanted: &WantedSignature,
        observer: &Observer,
    ) -> Result<Vec<u8>, TlsError> {
        signing_key::sign_async(&**self.resolver.key(), wanted, observer).await
    }

    /// Replaces a protocol_version alert by its explanation if only TLS 1.2 was offered.
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

    /// A configuration for connections whose handshakes this crate observes. `alpn` are the protocols, the preferred first.
    pub(crate) fn observed_client_config(
        &self,
        config: &Config,
        alpn: &[&[u8]],
    ) -> Result<ClientConfig, TlsError> {
        self.client_config(config, alpn, ObservationPolicy::Required)
    }

    /// A configuration for an application that makes its own connections. `alpn` are the protocols, the preferred first,
    /// such as `b"http/1.1"`.
    ///
    /// Still guaranteed: the certificate is offered to the configured hosts only, a handshake that cannot be signed
    /// fails with the true reason, and no session is resumed.
    ///
    /// Not guaranteed: that the server *asks* for the certificate. rustls does not tell a resolver or a verifier to which
    /// connection a call belongs, so a handshake with a server that does not ask succeeds, and the client is anonymous. Use
    /// [`crate::Client`] or `hsm_mtls::reqwest` where possible: they refuse such a server.
    ///
    /// # Errors
    /// rustls refuses the configuration ([`TlsError::Setup`]).
    pub fn unobserved_client_config(
        &self,
        config: &Config,
        alpn: &[&[u8]],
    ) -> Result<ClientConfig, TlsError> {
        self.client_config(config, alpn, ObservationPolicy::Optional)
    }

    fn client_config(
        &self,
        config: &Config,
        alpn: &[&[u8]],
        observation: ObservationPolicy,
    ) -> Result<ClientConfig, TlsError> {
        let verifier =
            ServerVerifier::new(Arc::clone(&self.trust), &config.hub.origins(), observation);
        let mut client = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(self.versions)
            .map_err(|error| TlsError::Setup(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(Arc::clone(&self.resolver) as Arc<_>);
        // A resumed session has no CertificateVerify, so every connection makes a full handshake, unless the connector gives it
        // sessions whose first handshake was proved.
        client.resumption = Resumption::disabled();
        client.time_provider = Arc::new(RecordedTime);
        client.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(client)
    }
}
