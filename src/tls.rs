//! An [`Identity`] and a trust store made into a `rustls::ClientConfig` that cannot be anonymous.

mod diagnose;
pub mod observation;
mod resolver;
mod signer;
pub mod trust;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs};
use rustls::{ClientConfig, SupportedProtocolVersion, version};
use thiserror::Error as ThisError;

use crate::certificate::anchors::Anchors;
use crate::config::{Config, Group, TlsConfig};
use crate::engine::EngineError;
use crate::error::Error;
use crate::identity::Identity;
pub use diagnose::diagnose;
pub(crate) use diagnose::of_handshake;
use resolver::OneIdentity;
use trust::{HubVerifier, TrustStore, Watched};

/// Why a handshake was not had, or could not be prepared.
#[derive(Clone, Debug, ThisError)]
pub enum TlsError {
    /// Our certificate was not wanted. Nothing was sent over this connection.
    #[error("the server did not ask for our certificate")]
    NotAsked,
    /// The resolver, verifier and connection could not be told to belong together.
    #[error(
        "a handshake was made outside of the connector, so it is not known whether the server asked for our certificate"
    )]
    NotObserved,
    /// The certificate is not for this host.
    #[error("{host} is not a configured host ({}); it was not offered the certificate", configured.join(", "))]
    HostNotConfigured {
        /// Who would have been offered it.
        host: String,
        /// Who may be.
        configured: Vec<String>,
    },
    /// No signature scheme in common.
    #[error("the server accepts no signature that the token can make: it takes {}, the key can {}", offered.join(", "), ours.join(", "))]
    NoCommonScheme {
        /// The server's.
        offered: Vec<String>,
        /// Ours.
        ours: Vec<&'static str>,
    },
    /// The token did not sign.
    #[error("our side of the handshake was not signed: {0}")]
    Signature(Arc<EngineError>),
    /// The server's certificate is not good.
    #[error("the server's certificate was refused: {0}")]
    ServerCertificate(String),
    /// The server's certificate is out of its time.
    #[error("the server's certificate was refused: {0}")]
    ServerTime(&'static str),
    /// The CRLs speak against the server's certificate, or do not speak of it.
    #[error("the server's certificate was refused by the CRLs of [trust]: {0}")]
    Revocation(String),
    /// The server's certificate chains to no configured anchor.
    #[error("the server's certificate does not chain to a trusted root")]
    ServerUntrusted,
    /// The server's certificate is for another host.
    #[error("the server's certificate is for another host: {0}")]
    ServerName(String),
    /// The server sent a fatal alert.
    #[error("the server refused us with the TLS alert {name} ({code})")]
    Alert {
        /// The name of RFC 8446, section 6.
        name: String,
        /// Its number.
        code: u8,
    },
    /// The connection ended in the middle.
    #[error("the server closed the connection during the handshake")]
    Closed,
    /// Neither side could go on.
    #[error("no common ground with the server: {0}")]
    Protocol(String),
    /// The network failed.
    #[error("the network failed: {0}")]
    Network(String),
    /// Public trust is configured and the machine has no roots.
    #[error("this machine has no public roots{}", because(.0))]
    NoPublicRoots(Vec<String>),
    /// A root of the bundle cannot be an anchor.
    #[error("a root of `anchors` cannot be used: {0}")]
    Anchor(String),
    /// A CRL cannot be used.
    #[error("the CRL {} cannot be used: {why}", path.display())]
    Crl {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// rustls refused what we configured.
    #[error("TLS cannot be set up: {0}")]
    Setup(String),
}

fn because(errors: &[String]) -> String {
    match errors {
        [] => String::new(),
        some => format!(": {}", some.join("; ")),
    }
}

impl TlsError {
    /// What to do next.
    pub fn hint(&self) -> String {
        match self {
            Self::NotAsked => {
                "is this the mTLS host? Some servers ask only on certain paths (by renegotiation, which is not supported): \
                 the hub asks on every connection, so look for a proxy or load balancer that ends TLS in between"
                    .to_owned()
            }
            Self::NotObserved => "make connections with hsm_mtls::client, which watches them".to_owned(),
            Self::HostNotConfigured { .. } => {
                "call a host of the configuration; `hsm-mtls config check` lists them, and [hub] overrides them".to_owned()
            }
            Self::NoCommonScheme { .. } => {
                "TLS 1.3 needs RSA-PSS or ECDSA: switch CKM_RSA_PKCS_PSS on in the token, or have TLS 1.2 allowed by the server".to_owned()
            }
            Self::Signature(error) => error.hint(),
            Self::ServerCertificate(_) => "ask the hub's operator; a proxy that inspects TLS presents a certificate of its own too".to_owned(),
            Self::ServerTime(_) => "check this machine's clock, then ask the hub's operator".to_owned(),
            Self::Revocation(_) => {
                "if it says expired or unknown, fetch the Trust Framework's CRL anew; if it says revoked, this is not a hub to talk to".to_owned()
            }
            Self::ServerUntrusted => {
                "`hsm-mtls verify` says which trust the hub's certificate satisfies; set `mode` and `anchors` of [trust] to it".to_owned()
            }
            Self::ServerName(_) => {
                "check the host of [hub] or `lfi_code`: every participant's certificate chains to the same CA, so the name decides".to_owned()
            }
            Self::Alert { code, .. } => diagnose::alert_hint(*code).to_owned(),
            Self::Closed => {
                "a firewall or load balancer in between may end it; a large hello is one cause: set `groups = [\"x25519\", \"secp256r1\"]` in [tls]".to_owned()
            }
            Self::Protocol(_) => "the hub speaks TLS 1.2 with ECDHE and AEAD, or TLS 1.3; is this the hub?".to_owned(),
            Self::Network(_) => "try again; if it stays, look at firewall and routes".to_owned(),
            Self::NoPublicRoots(_) => "install `ca-certificates`, or set `mode = \"trust-framework\"`".to_owned(),
            Self::Anchor(_) => "fetch the Trust Framework's bundle anew".to_owned(),
            Self::Crl { .. } => "fetch the CRL anew; it is PEM or DER".to_owned(),
            Self::Setup(_) => "this is a fault of ours: please report it with the configuration".to_owned(),
        }
    }
}

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
    pub fn new(config: &Config, identity: &Identity) -> Result<Self, Error> {
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
            versions: if tls13 { BOTH_VERSIONS } else { TLS12_ONLY },
        })
    }

    /// The trust anchors.
    pub fn trust(&self) -> &TrustStore {
        &self.trust
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
    /// anonymous client. Use [`crate::client`] or its `reqwest` where you can.
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
