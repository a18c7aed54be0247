//! The handshake messages of TLS 1.2 that a client signs in its CertificateVerify (RFC 5246, section 7.4.8): from ClientHello
//! to ClientKeyExchange.
//!
//! They come from a process that may have been taken over, so each is parsed to its last byte. What is free in them is what
//! both sides draw at random; the certificates, names and statuses of the server are at least well-formed, and bounded.

mod byte_reader;
mod certificates;
mod client_hello;
mod extension;
mod key_exchange;
mod server_hello;

use std::fmt;

use crate::certificate::Certificate;
use crate::tls::hub_verifier::Offer;
use byte_reader::ByteReader;
use client_hello::ClientHello;
use key_exchange::ServerKeyExchange;
use server_hello::ServerHello;

/// A handshake message (RFC 5246, section 7.4; certificate_status: RFC 6066).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HandshakeMessage {
    ClientHello,
    ServerHello,
    ServerCertificate,
    CertificateStatus,
    ServerKeyExchange,
    CertificateRequest,
    ServerHelloDone,
    ClientCertificate,
    ClientKeyExchange,
}

impl HandshakeMessage {
    fn number(self) -> u8 {
        match self {
            Self::ClientHello => 1,
            Self::ServerHello => 2,
            Self::ServerCertificate | Self::ClientCertificate => 11,
            Self::ServerKeyExchange => 12,
            Self::CertificateRequest => 13,
            Self::ServerHelloDone => 14,
            Self::ClientKeyExchange => 16,
            Self::CertificateStatus => 22,
        }
    }
}

impl fmt::Display for HandshakeMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ClientHello => "ClientHello",
            Self::ServerHello => "ServerHello",
            Self::ServerCertificate => "the server's Certificate",
            Self::CertificateStatus => "CertificateStatus",
            Self::ServerKeyExchange => "ServerKeyExchange",
            Self::CertificateRequest => "CertificateRequest",
            Self::ServerHelloDone => "ServerHelloDone",
            Self::ClientCertificate => "the client's Certificate",
            Self::ClientKeyExchange => "ClientKeyExchange",
        })
    }
}

/// Why the bytes are no such handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TranscriptError {
    #[error("{0} is not where it belongs")]
    Missing(HandshakeMessage),
    #[error("{0} is not as in a handshake of ours ({1})")]
    Malformed(HandshakeMessage, &'static str),
    #[error("something is behind its end")]
    Trailing,
}

/// A handshake up to the client's CertificateVerify.
#[derive(Debug)]
pub(super) struct Transcript<'a> {
    /// The host that the server was called by; `None`: an address.
    pub(super) server_name: Option<&'a str>,
    /// The leaf first; at least one.
    pub(super) server_chain: Vec<Certificate>,
    /// What the server signed: both randoms and its parameters.
    pub(super) server_signed: Vec<u8>,
    pub(super) server_scheme: u16,
    pub(super) server_signature: &'a [u8],
    /// The schemes that the server accepts of the client.
    pub(super) client_schemes: Vec<u16>,
    /// The leaf first; at least one.
    pub(super) client_chain: Vec<Certificate>,
}

impl<'a> Transcript<'a> {
    pub(super) fn parse(bytes: &'a [u8], offer: &Offer) -> Result<Self, TranscriptError> {
        use HandshakeMessage as Message;
        let mut messages = Messages(ByteReader::new(bytes));
        let client = messages.read(Message::ClientHello, |body| ClientHello::parse(body, offer))?;
        let server = messages.read(Message::ServerHello, |body| {
            ServerHello::parse(body, &client, offer)
        })?;
        let server_chain = messages.read(Message::ServerCertificate, certificates::certificates)?;
        if server.has_status && messages.is_next(Message::CertificateStatus) {
            messages.read(Message::CertificateStatus, certificates::check_status)?;
        }
        let key_exchange = messages.read(Message::ServerKeyExchange, |body| {
            ServerKeyExchange::parse(body, &client, &server)
        })?;
        let client_schemes = messages.read(
            Message::CertificateRequest,
            certificates::certificate_request,
        )?;
        messages.read(Message::ServerHelloDone, |body| {
            body.is_empty().then_some(()).ok_or("end")
        })?;
        let client_chain = messages.read(Message::ClientCertificate, certificates::certificates)?;
        messages.read(Message::ClientKeyExchange, |body| {
            key_exchange::check_client_key_exchange(body, key_exchange.group)
        })?;
        messages.0.end().ok_or(TranscriptError::Trailing)?;
        Ok(Self {
            server_name: client.server_name,
            server_chain,
            server_signed: [client.random, server.random, key_exchange.parameters].concat(),
            server_scheme: key_exchange.scheme,
            server_signature: key_exchange.signature,
            client_schemes,
            client_chain,
        })
    }
}

/// The messages that are not read yet.
struct Messages<'a>(ByteReader<'a>);

impl<'a> Messages<'a> {
    fn is_next(&self, message: HandshakeMessage) -> bool {
        self.0.rest().first() == Some(&message.number())
    }

    fn read<T>(
        &mut self,
        message: HandshakeMessage,
        parse: impl FnOnce(&'a [u8]) -> Result<T, &'static str>,
    ) -> Result<T, TranscriptError> {
        let missing = TranscriptError::Missing(message);
        if self.0.u8() != Some(message.number()) {
            return Err(missing);
        }
        let body = self.0.vector24().ok_or(missing)?;
        parse(body.rest()).map_err(|part| TranscriptError::Malformed(message, part))
    }
}

#[cfg(test)]
#[path = "tls12_transcript_tests.rs"]
mod tests;
