//! The messages of a handshake of TLS 1.2, as a front end that was taken over can have them: a TLS client that believes any
//! server makes a handshake, and its signing key keeps what it is to sign.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::thread;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, RootCertStore, ServerConfig,
    ServerConnection, SignatureAlgorithm, SignatureScheme,
};

use super::trust_framework::ServerIdentity;

/// What a server shows, and what it has.
pub struct Server<'a> {
    pub chain: Vec<CertificateDer<'static>>,
    /// The key that it signs with, be it that of the certificate or not.
    pub key: &'a PrivateKeyDer<'static>,
    pub client_root: &'a CertificateDer<'static>,
    pub ocsp_response: Option<Vec<u8>>,
}

impl<'a> Server<'a> {
    pub fn of(identity: &'a ServerIdentity, client_root: &'a CertificateDer<'static>) -> Self {
        Self {
            chain: identity.chain_der.clone(),
            key: &identity.key_der,
            client_root,
            ocsp_response: None,
        }
    }
}

/// What the client is to sign in a handshake with this server, called `name`.
pub fn with_server(
    client_chain: &[CertificateDer<'static>],
    name: &str,
    server: &Server<'_>,
) -> Vec<u8> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let key = provider
        .key_provider
        .load_private_key(server.key.clone_key())
        .expect("a key of a server");
    let mut certified = CertifiedKey::new(server.chain.clone(), key);
    certified.ocsp.clone_from(&server.ocsp_response);
    let mut roots = RootCertStore::empty();
    roots.add(server.client_root.clone()).expect("a root");
    let clients = WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider))
        .build()
        .expect("a verifier of clients");
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS12])
        .expect("TLS 1.2")
        .with_client_cert_verifier(clients)
        .with_cert_resolver(Arc::new(Shown(Arc::new(certified))));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let mut connection = ServerConnection::new(Arc::new(config)).expect("a server");
    let (here, mut there) = UnixStream::pair().expect("a pair of sockets");
    thread::scope(|scope| {
        // It ends when the client does, which does not sign.
        scope.spawn(move || drop(connection.complete_io(&mut there)));
        over(here, client_chain, name)
    })
}

/// The same with the server that listens there.
pub fn with_port(client_chain: &[CertificateDer<'static>], name: &str, port: u16) -> Vec<u8> {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("a server that listens");
    over(stream, client_chain, name)
}

fn over(
    mut stream: impl Read + Write,
    client_chain: &[CertificateDer<'static>],
    name: &str,
) -> Vec<u8> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let kept = Arc::new(Mutex::new(None));
    let key = Arc::new(KeepingKey(Arc::clone(&kept)));
    let certified = CertifiedKey::new(client_chain.to_vec(), key);
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .expect("both versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Gullible(provider)))
        .with_client_cert_resolver(Arc::new(Shown(Arc::new(certified))));
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let mut connection = ClientConnection::new(Arc::new(config), name).expect("a client");
    let ended = connection.complete_io(&mut stream);
    let kept = kept.lock().expect("one thread").take();
    kept.unwrap_or_else(|| panic!("nothing was to be signed: {ended:?}"))
}

/// Shows one certificate, to whomever.
#[derive(Debug)]
struct Shown(Arc<CertifiedKey>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Keeps what it is to sign, and signs nothing.
#[derive(Clone, Debug)]
struct KeepingKey(Arc<Mutex<Option<Vec<u8>>>>);

impl SigningKey for KeepingKey {
    fn choose_scheme(&self, _: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        Some(Box::new(self.clone()))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::RSA
    }
}

impl Signer for KeepingKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        *self.0.lock().expect("one thread") = Some(message.to_vec());
        Err(Error::General("kept".to_owned()))
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::RSA_PSS_SHA256
    }
}

/// Believes any server.
#[derive(Debug)]
struct Gullible(Arc<CryptoProvider>);

impl ServerCertVerifier for Gullible {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// The handshake messages: type and body.
pub fn messages(transcript: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut rest = transcript;
    let mut found = Vec::new();
    while let [number, a, b, c, after @ ..] = rest {
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        found.push((*number, after[..length].to_vec()));
        rest = &after[length..];
    }
    found
}

pub fn joined(messages: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let message = |(number, body): &(u8, Vec<u8>)| {
        let length = (body.len() as u32).to_be_bytes();
        [&[*number][..], &length[1..], body].concat()
    };
    messages.iter().flat_map(message).collect()
}
