//! What the hub remembers of requests and connections.

use bytes::Bytes;
use http::{HeaderMap, Method};
use rustls::pki_types::CertificateDer;
use rustls::{HandshakeKind, ProtocolVersion, SignatureScheme};

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct SeenRequest {
    pub method: Method,
    pub path_and_query: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// RFC 4514, most specific first.
    pub client_subject: Option<String>,
    /// Position in [`Hub::connections`] of the connection it came on.
    pub connection: usize,
}

/// A connection whose handshake ended, well or not.
#[derive(Clone, Debug)]
pub struct SeenConnection {
    /// What the client presented, also when it was refused.
    pub client_certificate: Option<CertificateDer<'static>>,
    /// The certificates that it sent after the first.
    pub client_intermediates: Vec<CertificateDer<'static>>,
    /// With what the client signed; `None` without a client certificate and in a resumed session.
    pub signature_scheme: Option<SignatureScheme>,
    /// `None` when the handshake failed.
    pub version: Option<ProtocolVersion>,
    /// `None` when the handshake failed.
    pub kind: Option<HandshakeKind>,
    pub server_name: Option<String>,
    pub alpn: Option<Vec<u8>>,
    pub handshake: Result<(), String>,
}
