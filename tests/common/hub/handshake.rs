//! The hub's half of the TLS handshake, which takes down what the client presented even when it is refused.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{
    NoClientAuth, ServerSessionMemoryCache, StoresServerSessions, WebPkiClientVerifier,
};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig, SignatureScheme,
    SupportedProtocolVersion,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::{AskForCertificate, HubOptions, SeenConnection};

/// For how long a refused client's last bytes are read. Its own deadlines are shorter.
const LINGER: Duration = Duration::from_secs(5);
const REMEMBERED_SESSIONS: usize = 64;

/// What a connection needs in order to be accepted; each gets a configuration, and so a witness, of its own.
pub struct Acceptor {
    provider: Arc<CryptoProvider>,
    versions: Vec<&'static SupportedProtocolVersion>,
    verifier: Arc<dyn ClientCertVerifier>,
    client_schemes: Option<Vec<SignatureScheme>>,
    identity: Arc<SingleCertAndKey>,
    alpn: Vec<Vec<u8>>,
    sessions: Arc<dyn StoresServerSessions>,
}

/// A connection whose handshake failed, still open so that the alert can reach the client.
pub struct Refused {
    pub seen: SeenConnection,
    pub tcp: Option<TcpStream>,
}

impl Acceptor {
    pub fn new(options: &HubOptions) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = match options.ask {
            AskForCertificate::Required => {
                let roots = Arc::new(roots(&options.client_roots_pem));
                WebPkiClientVerifier::builder_with_provider(roots, provider.clone())
                    .build()
                    .expect("client roots")
            }
            AskForCertificate::Never => Arc::new(NoClientAuth),
        };
        let server = &options.server;
        let identity = CertifiedKey::from_der(
            server.chain_der.clone(),
            server.key_der.clone_key(),
            &provider,
        )
        .expect("a server certificate with its key");
        Self {
            provider,
            versions: options.versions.clone(),
            verifier,
            client_schemes: options.client_schemes.clone(),
            identity: Arc::new(identity.into()),
            alpn: options.alpn.clone(),
            sessions: ServerSessionMemoryCache::new(REMEMBERED_SESSIONS),
        }
    }

    pub async fn accept(
        &self,
        tcp: TcpStream,
    ) -> Result<(TlsStream<TcpStream>, SeenConnection), Refused> {
        let mut acceptor = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), tcp);
        let hello = match (&mut acceptor).await {
            Ok(hello) => hello,
            Err(error) => {
                return Err(Refused {
                    seen: failed(&error),
                    tcp: acceptor.take_io(),
                });
            }
        };
        let server_name = hello.client_hello().server_name().map(str::to_owned);
        let witness = Arc::new(Witness {
            verifier: self.verifier.clone(),
            schemes: self.client_schemes.clone(),
            presented: Mutex::default(),
        });
        let config = Arc::new(self.config(witness.clone()));
        let outcome = hello.into_stream(config).into_fallible().await;
        let presented = witness.presented().clone();
        match outcome {
            Ok(tls) => {
                let connection = tls.get_ref().1;
                let chain = connection.peer_certificates().unwrap_or_default();
                let seen = SeenConnection {
                    client_certificate: chain.first().cloned(),
                    client_intermediates: chain.iter().skip(1).cloned().collect(),
                    signature_scheme: presented.scheme,
                    version: connection.protocol_version(),
                    kind: connection.handshake_kind(),
                    server_name,
                    alpn: connection.alpn_protocol().map(<[u8]>::to_vec),
                    handshake: Ok(()),
                };
                Ok((tls, seen))
            }
            Err((error, tcp)) => Err(Refused {
                seen: SeenConnection {
                    client_certificate: presented.certificate,
                    client_intermediates: presented.intermediates,
                    signature_scheme: presented.scheme,
                    server_name,
                    ..failed(&error)
                },
                tcp: Some(tcp),
            }),
        }
    }

    fn config(&self, witness: Arc<Witness>) -> ServerConfig {
        let mut config = ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&self.versions)
            .expect("protocol versions of the provider")
            .with_client_cert_verifier(witness)
            .with_cert_resolver(self.identity.clone());
        config.alpn_protocols.clone_from(&self.alpn);
        config.session_storage = Arc::clone(&self.sessions);
        config
    }
}

fn failed(error: &std::io::Error) -> SeenConnection {
    SeenConnection {
        client_certificate: None,
        client_intermediates: Vec::new(),
        signature_scheme: None,
        version: None,
        kind: None,
        server_name: None,
        alpn: None,
        handshake: Err(error.to_string()),
    }
}

fn roots(bundle_pem: &str) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(bundle_pem.as_bytes()) {
        roots
            .add(certificate.expect("a bundle in PEM"))
            .expect("a CA certificate");
    }
    roots
}

/// Closing a socket with unread bytes sends a reset, which can overtake the alert: reads them first.
pub async fn linger(tcp: Option<TcpStream>) {
    let Some(mut tcp) = tcp else { return };
    let drained = async {
        tcp.shutdown().await?;
        let mut rest = [0; 4096];
        while tcp.read(&mut rest).await? > 0 {}
        std::io::Result::Ok(())
    };
    // The client may have gone already, or never go: neither is the hub's affair.
    let _gone = tokio::time::timeout(LINGER, drained).await;
}

#[derive(Clone, Debug, Default)]
struct Presented {
    certificate: Option<CertificateDer<'static>>,
    intermediates: Vec<CertificateDer<'static>>,
    scheme: Option<SignatureScheme>,
}

/// Writes down what passes and leaves the verdict to the verifier.
#[derive(Debug)]
struct Witness {
    verifier: Arc<dyn ClientCertVerifier>,
    schemes: Option<Vec<SignatureScheme>>,
    presented: Mutex<Presented>,
}

impl Witness {
    fn presented(&self) -> MutexGuard<'_, Presented> {
        self.presented
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientCertVerifier for Witness {
    fn offer_client_auth(&self) -> bool {
        self.verifier.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.verifier.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.verifier.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        *self.presented() = Presented {
            certificate: Some(end_entity.clone().into_owned()),
            intermediates: intermediates
                .iter()
                .map(|certificate| certificate.clone().into_owned())
                .collect(),
            scheme: None,
        };
        self.verifier
            .verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.presented().scheme = Some(dss.scheme);
        self.verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.presented().scheme = Some(dss.scheme);
        self.verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes
            .clone()
            .unwrap_or_else(|| self.verifier.supported_verify_schemes())
    }
}
