//! A connection with the hub that may be used: its handshake was observed, and the server asked for our certificate.

use tokio_rustls::client::TlsStream;

use super::handshake_stream::HandshakeStream;
use crate::config::origin::Origin;
use crate::tls::issuers::ForeignIssuer;
use crate::tls::session_store::ResumedSession;

/// The stream of a connection whose handshake was observed.
pub type HubStream = TlsStream<HandshakeStream>;

/// A connection on which the server asked for the client certificate and received it.
///
/// Only a handshake of a [`Connector`](super::connector::Connector) makes it: any other stream might be anonymous.
pub struct Connection {
    pub(super) stream: HubStream,
    pub(super) origin: Origin,
    // Explains a refusal of the client certificate, which in TLS 1.3 arrives with the first read.
    pub(super) foreign: Option<Box<ForeignIssuer>>,
    pub(super) resumed: Option<ResumedSession>,
}

impl Connection {
    /// The origin to which the connection is.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// TLS version, cipher suite and key-exchange group, as text.
    pub fn describe(&self) -> String {
        let (_, tls) = self.stream.get_ref();
        let version = tls
            .protocol_version()
            .map_or("", |version| version.as_str().unwrap_or(""));
        let suite = tls
            .negotiated_cipher_suite()
            .map(|suite| format!("{:?}", suite.suite()));
        let group = tls
            .negotiated_key_exchange_group()
            .map(|group| format!("{:?}", group.name()));
        let resumed = self.resumed.as_ref().map(|_| "resumed".to_owned());
        [Some(version.replace("_", ".")), suite, group, resumed]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join(", ")
    }

    /// The session of an earlier connection that it resumes, on which the client certificate was presented: nothing was signed.
    pub fn resumed(&self) -> Option<&ResumedSession> {
        self.resumed.as_ref()
    }

    /// Whether the server chose HTTP/2.
    pub fn is_h2(&self) -> bool {
        self.stream.get_ref().1.alpn_protocol() == Some(b"h2")
    }

    /// The stream, and the issuers that the server's CertificateRequest accepts if the client certificate's is not among
    /// them.
    pub fn into_parts(self) -> (HubStream, Option<Box<ForeignIssuer>>) {
        (self.stream, self.foreign)
    }
}
