//! Servers that present the wrong certificate or want another's: each with a TLS configuration
//! that takes any client certificate, because what is refused is the behaviour's to say.

use std::sync::{Arc, LazyLock};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig, SignatureScheme,
    SupportedProtocolVersion,
};
use time::{Duration, OffsetDateTime};

use super::super::trust_framework::{Kind, ServerIdentity, TrustFramework};
use super::Behaviour;

const NAMES: [&str; 2] = ["localhost", "127.0.0.1"];

/// What is wrong with the server's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerCertificate {
    /// From a CA that has the name of ours and another key: a bundle of another year.
    NamesakeCa,
    /// From the Trust Framework of the other environment.
    Production,
    /// From the CA of a box that ends TLS to look into it, and asks for no certificate.
    Inspection,
    AnotherName,
    Expired,
    NotYetValid,
    /// For clients only.
    NotForServers,
    /// The hub's own, by somebody who does not have its key.
    Copied,
}

/// Whose clients are welcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Issuers {
    /// Those of the other environment.
    Production,
    /// Those of a CA that nobody here has heard of.
    Unrelated,
}

static NAMESAKE: LazyLock<TrustFramework> = LazyLock::new(|| TrustFramework::new(Kind::Sandbox));
static PRODUCTION: LazyLock<TrustFramework> =
    LazyLock::new(|| TrustFramework::new(Kind::Production));

pub fn server_config(
    framework: &TrustFramework,
    version: &'static SupportedProtocolVersion,
    behaviour: Behaviour,
) -> Arc<ServerConfig> {
    let server = match behaviour {
        Behaviour::Certificate(wrong) => wrong.issue(framework),
        _ => framework.issue_server(&NAMES),
    };
    let asks = !matches!(
        behaviour,
        Behaviour::NeverAsks | Behaviour::Certificate(ServerCertificate::Inspection)
    );
    let issuers = match behaviour {
        Behaviour::Issuers(Issuers::Production) => subjects(&PRODUCTION.bundle_pem()),
        Behaviour::Issuers(Issuers::Unrelated) => subjects(&authority("Another Client CA").0),
        _ => subjects(&framework.bundle_pem()),
    };
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[version])
        .expect("a version of the provider");
    let builder = match asks {
        true => builder.with_client_cert_verifier(Arc::new(AnyClient { issuers, provider })),
        false => builder.with_no_client_auth(),
    };
    let key = aws_lc_rs::default_provider()
        .key_provider
        .load_private_key(server.key_der)
        .expect("a key");
    // Nobody checks here that they belong together.
    let shown = SingleCertAndKey::from(CertifiedKey::new(server.chain_der, key));
    let mut config = builder.with_cert_resolver(Arc::new(shown));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // Nothing of the server's comes after the handshake but what is sent by hand.
    config.send_tls13_tickets = 0;
    config.enable_secret_extraction = true;
    Arc::new(config)
}

impl ServerCertificate {
    fn issue(self, framework: &TrustFramework) -> ServerIdentity {
        let dated = |from: Duration, until: Duration| {
            framework.issue_server_with(&NAMES, |params| {
                params.not_before = OffsetDateTime::now_utc() + from;
                params.not_after = OffsetDateTime::now_utc() + until;
            })
        };
        match self {
            Self::NamesakeCa => NAMESAKE.issue_server(&NAMES),
            Self::Production => PRODUCTION.issue_server(&NAMES),
            Self::Inspection => inspection(),
            Self::AnotherName => framework.issue_server(&["cm.otherbank.example"]),
            Self::Expired => dated(-Duration::days(90), -Duration::days(2)),
            Self::NotYetValid => dated(Duration::days(2), Duration::days(90)),
            Self::Copied => ServerIdentity {
                chain_der: framework.issue_server(&NAMES).chain_der,
                ..framework.issue_server(&NAMES)
            },
            Self::NotForServers => framework.issue_server_with(&NAMES, |params| {
                params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
            }),
        }
    }
}

fn inspection() -> ServerIdentity {
    let (ca, issuer) = authority("Bank Network Inspection CA");
    let key = KeyPair::generate().expect("a P-256 key");
    let params = CertificateParams::new(NAMES.map(str::to_owned)).expect("names");
    let leaf = params.signed_by(&key, &issuer).expect("a certificate");
    ServerIdentity::from_pem(&(leaf.pem() + &ca), &key.serialize_pem())
}

/// A CA of nobody's Trust Framework: its certificate in PEM, and what signs.
pub fn authority(name: &str) -> (String, Issuer<'static, KeyPair>) {
    let key = KeyPair::generate().expect("a P-256 key");
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).expect("a CA");
    (certificate.pem(), Issuer::new(params, key))
}

fn subjects(bundle_pem: &str) -> Vec<DistinguishedName> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(bundle_pem.as_bytes()) {
        let certificate = certificate.expect("a bundle in PEM");
        roots.add(certificate).expect("a CA certificate");
    }
    roots.subjects()
}

/// Names its issuers, and takes every certificate.
#[derive(Debug)]
struct AnyClient {
    issuers: Vec<DistinguishedName>,
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for AnyClient {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.issuers
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let known = &self.provider.signature_verification_algorithms;
        known.supported_schemes()
    }
}
