//! Is this the hub? Host name, trust anchors, revocation, and two laws of our own: the certificate
//! is for the configured hosts only, and a server that does not ask for it is refused.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::TlsError;
use super::algorithms::for_certificates;
use super::diagnose::of_rustls;
use super::observation::note;
pub use super::own_chain::verify_own_chain;
use super::revocation::read_crls;
use super::signer::refuse;
use super::unsupported::{self, Against};
use crate::certificate::Certificate;
use crate::certificate::anchors::Anchors;
use crate::certificate::crl::RevocationList;
use crate::config::environment::Origin;
use crate::config::trust::{Trust, TrustMode};

/// The trust anchors of a configuration. A chain can be held against those that are not configured
/// too, to tell the operator.
#[derive(Debug)]
pub struct TrustStore {
    mode: TrustMode,
    trust_framework: Arc<WebPkiServerVerifier>,
    /// There where the mode takes it. Reading a machine's whole store costs more than a handshake.
    public: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
    /// The bundle's CAs below the roots: a server that sends its leaf alone is understood.
    intermediates: Vec<CertificateDer<'static>>,
    /// To tell what the library cannot check.
    anchors: Anchors,
    crls: Vec<RevocationList>,
}

/// Which trust a server's chain satisfies.
#[derive(Debug)]
pub struct Satisfies {
    /// The Trust Framework's root; else why not.
    pub trust_framework: Result<(), TlsError>,
    /// A public root of this machine; else why not.
    pub public: Result<(), TlsError>,
    /// The host name; else why not.
    pub host_name: Result<(), TlsError>,
}

impl TrustStore {
    /// Builds the verifiers.
    ///
    /// # Errors
    /// An anchor or CRL cannot be used, or public trust is wanted and this machine has no roots.
    pub fn load(
        trust: &Trust,
        anchors: &Anchors,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, TlsError> {
        let provider = &for_certificates(provider);
        let roots = Arc::new(root_store(anchors)?);
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(provider));
        let crls = read_crls(&trust.crls, &roots, provider)?;
        let readable = crls
            .iter()
            .filter_map(|der| RevocationList::from_der(der).ok());
        let readable = readable.collect();
        // A CRL that the operator gave is meant: no status is a refusal, and so is an old list.
        let verifier = if trust.crls.is_empty() {
            verifier
        } else {
            verifier
                .with_crls(crls)
                .only_check_end_entity_revocation()
                .enforce_revocation_expiration()
        };
        let trust_framework = verifier
            .build()
            .map_err(|error| TlsError::Setup(error.to_string()))?;
        let public = match trust.mode.takes_public() {
            true => Some(public_verifier(provider)?),
            false => None,
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
            crls: readable,
        })
    }

    /// Holds a chain (DER, leaf first) against every trust that is known here, whatever the mode.
    pub fn evaluate(&self, chain: &[Vec<u8>], name: &ServerName<'_>) -> Option<Satisfies> {
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
        // One time for both trusts: the roots of the system take a while to read, and two verdicts
        // that differ in nothing but the clock's second would read like two reasons.
        let now = UnixTime::now();
        // The chain is judged apart from the name: a verifier that fails at the name alone has
        // accepted the chain, because it looks at the name last.
        let judge = |verifier: &WebPkiServerVerifier| {
            let verdict = verifier.verify_server_cert(&leaf, &intermediates, name, &[], now);
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
        Some(Satisfies {
            trust_framework: judge(&self.trust_framework),
            public: match &self.public {
                Some(verifier) => judge(verifier),
                None => public_verifier(&self.provider).and_then(|verifier| judge(&verifier)),
            },
            host_name: host_name.map_err(|error| of_rustls(&error)),
        })
    }

    /// The configured anchors.
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
        let sent_and_known: Vec<_> = intermediates
            .iter()
            .chain(&self.intermediates)
            .cloned()
            .collect();
        let with = |verifier: &WebPkiServerVerifier| {
            verifier.verify_server_cert(leaf, &sent_and_known, name, &[], now)
        };
        let verified = match (self.mode, &self.public) {
            (TrustMode::TrustFramework, _) | (TrustMode::Both, None) => with(&self.trust_framework),
            (TrustMode::Public, Some(public)) => with(public),
            (TrustMode::Both, Some(public)) => with(&self.trust_framework).or_else(|error| {
                // Revoked by the Trust Framework is revoked: the other trust does not heal it.
                match error {
                    Error::InvalidCertificate(CertificateError::UnknownIssuer) => with(public),
                    other => Err(other),
                }
            }),
            (TrustMode::Public, None) => Err(refuse(TlsError::NoPublicRoots(Vec::new()))),
        };
        verified.map_err(|error| {
            let sent = std::iter::once(leaf).chain(intermediates);
            let sent: Vec<_> = sent.map(AsRef::as_ref).collect();
            match self.explain(&error, &sent) {
                gap @ TlsError::Unsupported(_) => refuse(gap),
                // The library's own error also decides which alert the server is sent.
                _ => error,
            }
        })
    }

    fn explain(&self, error: &Error, sent: &[&[u8]]) -> TlsError {
        let read = sent
            .iter()
            .map(|der| Certificate::from_der(der, "the server").ok());
        let chain: Vec<_> = read.map_while(|certificate| certificate).collect();
        let against = Against {
            chain: &chain,
            is_whole: chain.len() == sent.len(),
            anchors: &self.anchors,
            crls: &self.crls,
        };
        unsupported::explain(error, &against)
    }
}

/// Whether connections are watched ([`super::observation`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Watched {
    /// Always: a handshake that nobody watches is refused.
    Always,
    /// The application makes its own connections: whether the server asked cannot be known.
    Perhaps,
}

/// The verifier that rustls is given.
#[derive(Debug)]
pub(super) struct HubVerifier {
    trust: Arc<TrustStore>,
    origins: Vec<Origin>,
    watched: Watched,
}

impl HubVerifier {
    pub(super) fn new(trust: Arc<TrustStore>, origins: &[&Origin], watched: Watched) -> Self {
        Self {
            trust,
            origins: origins.iter().copied().cloned().collect(),
            watched,
        }
    }
}

impl ServerCertVerifier for HubVerifier {
    /// rustls calls this once per full handshake, and always after the resolver: the server's
    /// CertificateRequest precedes its Certificate in TLS 1.3, and its ServerHelloDone in 1.2.
    /// So here, before anything of ours is sent, it is known whether we were asked.
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
        let known: Vec<_> = self.origins.iter().filter(of_host).collect();
        let asked = note(|seen| {
            seen.server_chain = std::iter::once(end_entity)
                .chain(intermediates)
                .map(|certificate| certificate.to_vec())
                .collect();
            // Who makes the connection mostly knows; reqwest's layer does not.
            seen.peer.get_or_insert_with(|| match known.as_slice() {
                [origin] => origin.host_and_port(),
                _ => host.clone().into_owned(),
            });
            seen.asked.is_some()
        });
        if known.is_empty() {
            return Err(refuse(TlsError::HostNotConfigured {
                host: host.into_owned(),
                configured: self
                    .origins
                    .iter()
                    .map(|known| known.host.clone())
                    .collect(),
            }));
        }
        let verified = self
            .trust
            .verify(end_entity, intermediates, server_name, now)?;
        match (asked, self.watched) {
            (Some(true), _) | (None, Watched::Perhaps) => Ok(verified),
            (Some(false), _) => Err(refuse(TlsError::NotAsked)),
            (None, Watched::Always) => Err(refuse(TlsError::NotObserved)),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let verifier = &self.trust.trust_framework;
        verifier
            .verify_tls12_signature(message, cert, dss)
            .map_err(|_| not_proved(cert))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let verifier = &self.trust.trust_framework;
        verifier
            .verify_tls13_signature(message, cert, dss)
            .map_err(|_| not_proved(cert))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.trust.trust_framework.supported_verify_schemes()
    }
}

/// The chain was good, and its owner did not sign: whoever answers has only copied it. Where the key is of a
/// kind that is not supported, nobody knows who signed.
fn not_proved(cert: &CertificateDer<'_>) -> Error {
    let leaf = Certificate::from_der(cert, "the server").ok();
    let kind = leaf.as_ref().and_then(Certificate::unsupported_key);
    refuse(match kind {
        Some(kind) => TlsError::Unsupported(format!("its kind of key ({kind})")),
        None => TlsError::ServerNotProved,
    })
}

pub(super) fn root_store(anchors: &Anchors) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for root in anchors.roots() {
        roots
            .add(CertificateDer::from(root.der().to_vec()))
            .map_err(|error| TlsError::Anchor(error.to_string()))?;
    }
    Ok(roots)
}

fn public_verifier(provider: &Arc<CryptoProvider>) -> Result<Arc<WebPkiServerVerifier>, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // A store of an operating system holds certificates that webpki cannot read; they are left out.
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        let errors = found.errors.iter().map(ToString::to_string).collect();
        return Err(TlsError::NoPublicRoots(errors));
    }
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map_err(|error| TlsError::Setup(error.to_string()))
}
