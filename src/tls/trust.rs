//! Verifies the server: host name, trust anchors and revocation. Two rules of this crate are added: the client certificate
//! is offered to the configured hosts only, and a server that does not ask for it is refused.

use std::sync::Arc;
use std::time::SystemTime;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};

use super::TlsError;
use super::chain_verifier::{ChainVerifier, LeafStatus, public_roots, root_store};
pub use super::client_chain::verify_client_chain;
use super::diagnose::from_rustls;
use super::handshake_observer::record;
use super::other_generation;
use super::replay;
use super::revocation::Crls;
use super::signature_algorithms::with_all_algorithms;
use super::signing_key::rustls_error;
use super::unsupported::{self, VerificationContext};
use super::verified_chains::VerifiedChains;
use crate::certificate::Certificate;
use crate::certificate::anchors::Anchors;
use crate::config::origin::Origin;
use crate::config::trust::{Trust, TrustMode};

/// The configured trust anchors and CRLs. For diagnosis, a chain can also be evaluated against anchors that are not
/// configured.
#[derive(Debug)]
pub struct TrustStore {
    mode: TrustMode,
    trust_framework: ChainVerifier,
    /// `None` unless `mode` includes public trust: loading the system's store takes longer than a handshake.
    public: Option<ChainVerifier>,
    provider: Arc<CryptoProvider>,
    /// The intermediate CAs of the bundle, for servers that send only their leaf certificate.
    intermediates: Vec<CertificateDer<'static>>,
    /// For the diagnosis of what rustls does not support, as are the parsed CRLs.
    anchors: Anchors,
    crls: Arc<Crls>,
    verified: VerifiedChains,
}

/// Which trust anchors a server's chain leads to, and whether its leaf is for the host.
#[derive(Debug)]
pub struct TrustEvaluation {
    /// Whether the chain leads to a root of the Trust Framework, or why not.
    pub trust_framework: Result<(), TlsError>,
    /// Whether the chain leads to a public root of this machine, or why not.
    pub public: Result<(), TlsError>,
    /// Whether the leaf is for the host name, or why not.
    pub host_name: Result<(), TlsError>,
}

impl TrustStore {
    /// Builds the verifiers.
    ///
    /// # Errors
    /// A trust anchor or CRL cannot be used, or public trust is configured and this machine has no roots.
    pub fn load(
        trust: &Trust,
        anchors: &Anchors,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, TlsError> {
        let provider = &with_all_algorithms(provider);
        let roots = Arc::new(root_store(anchors)?);
        let crls = Arc::new(Crls::load(trust)?);
        let trust_framework = ChainVerifier::new(&roots, provider, &crls, LeafStatus::Required)?;
        let of_public = |status| ChainVerifier::new(&public_roots()?, provider, &crls, status);
        let public = match trust.mode {
            TrustMode::TrustFramework => None,
            TrustMode::Public => Some(of_public(LeafStatus::Required)?),
            // The CRLs may be the Trust Framework's only.
            TrustMode::Both => Some(of_public(LeafStatus::Optional)?),
        };
        Ok(Self {
            mode: trust.mode,
            trust_framework,
            public,
            provider: Arc::clone(provider),
            intermediates: anchors
                .intermediates()
                .iter()
                .map(|ca| CertificateDer::from(ca.der().to_vec()))
                .collect(),
            anchors: anchors.clone(),
            crls,
            verified: VerifiedChains::default(),
        })
    }

    /// From when on the first of the CRLs is outdated, where that means a refusal.
    pub(super) fn outdated_from(&self) -> SystemTime {
        self.crls.outdated_from()
    }

    /// Evaluates a chain (DER, leaf first) against all trust anchors, whatever `mode` is. `None` if it is empty.
    pub fn evaluate(&self, chain: &[Vec<u8>], name: &ServerName<'_>) -> Option<TrustEvaluation> {
        let (leaf, intermediates) = chain.split_first()?;
        let sent: Vec<_> = chain.iter().map(Vec::as_slice).collect();
        let leaf = CertificateDer::from(leaf.as_slice());
        let intermediates: Vec<_> = intermediates
            .iter()
            .map(|der| CertificateDer::from(der.as_slice()))
            .chain(self.intermediates.iter().cloned())
            .collect();
        let host_name =
            ParsedCertificate::try_from(&leaf).and_then(|parsed| verify_server_name(&parsed, name));
        // The same time for both: two messages that differ only in a second would look like two reasons.
        let now = UnixTime::now();
        // The host name is evaluated separately: webpki checks it last, so an error about the name means that the chain was
        // accepted.
        let evaluate_chain = |verifier: &ChainVerifier| {
            let verdict = verifier.verify(&leaf, &intermediates, name, now);
            match (verdict, &host_name) {
                (Ok(_), _) => Ok(()),
                (
                    Err(Error::InvalidCertificate(
                        CertificateError::NotValidForName
                        | CertificateError::NotValidForNameContext { .. },
                    )),
                    Err(_),
                ) => Ok(()),
                (Err(error), _) => Err(self.explain(&error, &sent)),
            }
        };
        Some(TrustEvaluation {
            trust_framework: evaluate_chain(&self.trust_framework),
            public: match &self.public {
                Some(verifier) => evaluate_chain(verifier),
                None => public_roots()
                    .and_then(|roots| {
                        ChainVerifier::new(
                            &roots,
                            &self.provider,
                            &Arc::new(Crls::none()),
                            LeafStatus::Optional,
                        )
                    })
                    .and_then(|verifier| evaluate_chain(&verifier)),
            },
            host_name: host_name.map_err(|error| from_rustls(&error)),
        })
    }

    /// The configured mode.
    pub fn mode(&self) -> TrustMode {
        self.mode
    }

    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.verified.contains(leaf, intermediates, name, now) {
            return Ok(ServerCertVerified::assertion());
        }
        let all_intermediates: Vec<_> = intermediates
            .iter()
            .chain(&self.intermediates)
            .cloned()
            .collect();
        let check = |verifier: &ChainVerifier| verifier.verify(leaf, &all_intermediates, name, now);
        let verified = match (self.mode, &self.public) {
            (TrustMode::TrustFramework, _) | (TrustMode::Both, None) => {
                check(&self.trust_framework)
            }
            (TrustMode::Public, Some(public)) => check(public),
            (TrustMode::Both, Some(public)) => {
                check(&self.trust_framework).or_else(|error| {
                    // Public trust does not override any other error, such as a revocation by the Trust Framework.
                    match error {
                        Error::InvalidCertificate(CertificateError::UnknownIssuer) => check(public),
                        other => Err(other),
                    }
                })
            }
            (TrustMode::Public, None) => Err(rustls_error(TlsError::NoPublicRoots(Vec::new()))),
        };
        if verified.is_ok() {
            let (others, until) = (&self.intermediates, self.outdated_from());
            self.verified
                .insert(leaf, intermediates, others, name, now, until);
        }
        verified.map_err(|error| {
            let sent = std::iter::once(leaf).chain(intermediates);
            let sent: Vec<_> = sent.map(AsRef::as_ref).collect();
            match self.explain(&error, &sent) {
                unsupported @ TlsError::Unsupported(_) => rustls_error(unsupported),
                // rustls chooses the alert that it sends by its own error.
                _ => error,
            }
        })
    }

    fn explain(&self, error: &Error, sent: &[&[u8]]) -> TlsError {
        let parsed = sent
            .iter()
            .map(|der| Certificate::from_der(der, "the server").ok());
        let chain: Vec<_> = parsed.map_while(|certificate| certificate).collect();
        let context = VerificationContext {
            chain: &chain,
            is_complete: chain.len() == sent.len(),
            anchors: &self.anchors,
            crls: self.crls.all_parsed(),
        };
        other_generation::explain(unsupported::explain(error, &context), &chain, &self.anchors)
    }

    /// Names the CA of another generation, where an unknown issuer is one. `sent` is the chain, leaf first.
    pub(super) fn explain_untrusted(&self, error: TlsError, sent: &[Vec<u8>]) -> TlsError {
        if !matches!(error, TlsError::ServerUntrusted) || !self.mode.takes_trust_framework() {
            return error;
        }
        let parsed = sent
            .iter()
            .map_while(|der| Certificate::from_der(der, "the server").ok());
        other_generation::explain(error, &parsed.collect::<Vec<_>>(), &self.anchors)
    }
}

/// Whether a handshake must be observed ([`super::handshake_observer`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ObservationPolicy {
    /// A handshake that is not observed is aborted.
    Required,
    /// The application makes its own connections, so it is unknown whether the server asked for the certificate.
    Optional,
}

/// The `ServerCertVerifier` of all connections to the hub.
#[derive(Debug)]
pub(super) struct ServerVerifier {
    trust: Arc<TrustStore>,
    origins: Vec<Origin>,
    observation: ObservationPolicy,
}

impl ServerVerifier {
    pub(super) fn new(
        trust: Arc<TrustStore>,
        origins: &[&Origin],
        observation: ObservationPolicy,
    ) -> Self {
        Self {
            trust,
            origins: origins.iter().copied().cloned().collect(),
            observation,
        }
    }
}

impl ServerCertVerifier for ServerVerifier {
    /// rustls calls this once per full handshake, after the resolver: the CertificateRequest precedes the server's
    /// Certificate in TLS 1.3 and the ServerHelloDone in TLS 1.2. So this method knows, before the client certificate is
    /// sent, whether the server asked for it.
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let host = server_name.to_str();
        let of_host = |origin: &&Origin| origin.host.eq_ignore_ascii_case(&host);
        let origins: Vec<_> = self.origins.iter().filter(of_host).collect();
        let asked = record(|observation| {
            observation.server_chain = std::iter::once(end_entity)
                .chain(intermediates)
                .map(|certificate| certificate.to_vec())
                .collect();
            // The connector has set the peer; reqwest's layer does not know it.
            observation
                .peer
                .get_or_insert_with(|| match origins.as_slice() {
                    [origin] => origin.host_and_port(),
                    _ => host.clone().into_owned(),
                });
            observation.certificate_request.is_some()
        });
        if origins.is_empty() {
            return Err(rustls_error(TlsError::HostNotConfigured {
                host: host.into_owned(),
                configured: self
                    .origins
                    .iter()
                    .map(|origin| origin.host.clone())
                    .collect(),
            }));
        }
        let verified = self
            .trust
            .verify(end_entity, intermediates, server_name, now)?;
        match (asked, self.observation) {
            (Some(true), _) | (None, ObservationPolicy::Optional) => Ok(verified),
            (Some(false), _) => Err(rustls_error(TlsError::NotAsked)),
            (None, ObservationPolicy::Required) => Err(rustls_error(TlsError::NotObserved)),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let verifier = self.trust.trust_framework.of_signatures();
        replay::server_proof(message, cert, dss.scheme, dss.signature(), || {
            verifier
                .verify_tls12_signature(message, cert, dss)
                .map_err(|_| unsupported::proof_error(cert))
        })
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let verifier = self.trust.trust_framework.of_signatures();
        replay::server_proof(message, cert, dss.scheme, dss.signature(), || {
            verifier
                .verify_tls13_signature(message, cert, dss)
                .map_err(|_| unsupported::proof_error(cert))
        })
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.trust
            .trust_framework
            .of_signatures()
            .supported_verify_schemes()
    }
}
