//! Converts hyper's errors into [`ClientError`]. In TLS 1.3 the server's refusal of the client certificate is among
//! them, as an error of the first read.

use std::error::Error as StdError;
use std::io;

use super::ClientError;
use crate::tls::issuers::{ForeignIssuer, explain_refusal};
use crate::tls::{Ending, HandshakePhase, TlsError, diagnose, ending_of};

/// Converts an error before the response.
///
/// `observed` is how the connection ended, if that is known; otherwise it is derived from the error. On a connection that
/// was `reused`, that is, had carried a response before, the end is not a refusal of the client certificate.
pub fn before_response(
    error: hyper::Error,
    foreign: Option<&ForeignIssuer>,
    observed: Option<Ending>,
    reused: bool,
) -> ClientError {
    let foreign = foreign.filter(|_| !reused);
    if let Some(tls) = diagnose(&error) {
        return ClientError::Tls(explain_refusal(tls, foreign));
    }
    if error.is_parse() {
        let message = full_message(&error);
        // hyper's client has no accessors for these errors, only messages.
        return if message.contains("too large") {
            ClientError::HeadTooLong
        } else if message.contains("version") {
            // Without an HTTP version, it may be any protocol.
            ClientError::Http(message)
        } else {
            ClientError::Malformed(message)
        };
    }
    let ending = match (observed, find_source::<io::Error>(&error)) {
        (Some(ending), _) => ending,
        (None, Some(io)) => match ending_of(io.kind()) {
            Some(ending) => ending,
            None => return ClientError::Tls(TlsError::Network(full_message(&error))),
        },
        (None, None) => Ending::Orderly,
    };
    if reused {
        return ClientError::ConnectionLost(ending);
    }
    let closed = TlsError::Closed {
        ending,
        phase: HandshakePhase::AfterClientCertificate,
    };
    match explain_refusal(closed, foreign) {
        explained @ TlsError::IssuerNotAccepted { .. } => ClientError::Tls(explained),
        _ => ClientError::NoAnswer(ending),
    }
}

/// Converts an error within the response body.
pub fn within_response(error: &(dyn StdError + 'static)) -> ClientError {
    if let Some(tls) = diagnose(error) {
        return ClientError::Tls(tls);
    }
    let Some(io) = find_source::<io::Error>(error) else {
        return ClientError::Body(full_message(error));
    };
    match ending_of(io.kind()) {
        // Both are UnexpectedEof: the message of rustls is about the missing close_notify, that of hyper, after a
        // close_notify, about the missing rest of the body.
        Some(Ending::Abrupt) if !io.to_string().contains("close_notify") => {
            ClientError::HalfAnswer(Ending::Orderly)
        }
        Some(ending) => ClientError::HalfAnswer(ending),
        None => ClientError::Body(full_message(error)),
    }
}

/// The first error of type `E` in the chain of sources.
fn find_source<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// The messages of the error and all its sources.
fn full_message(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let message = source.to_string();
        if !text.contains(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        next = source.source();
    }
    text
}
