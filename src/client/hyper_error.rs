//! Translates hyper's errors into [`ClientError`]: in TLS 1.3, the server's refusal of the client certificate is an
//! error of the first read.

use std::error::Error as StdError;
use std::io;

use super::ClientError;
use crate::tls::issuers::{ForeignIssuer, explain_refusal};
use crate::tls::{Ending, HandshakePhase, TlsError, diagnose, ending_of};

/// Translates an error before the response.
///
/// `observed` is how the connection ended, where that is known; otherwise it is derived from the error. If the
/// connection had `answered` requests before, its end is not about the client certificate.
pub fn before_response(
    error: hyper::Error,
    foreign: Option<&ForeignIssuer>,
    observed: Option<Ending>,
    answered: bool,
) -> ClientError {
    let foreign = foreign.filter(|_| !answered);
    if let Some(tls) = diagnose(&error) {
        return ClientError::Tls(explain_refusal(tls, foreign));
    }
    if error.is_parse() {
        let what = full_message(&error);
        // hyper without its server has no accessors for these kinds, only messages.
        return if what.contains("too large") {
            ClientError::HeadTooLong
        } else if what.contains("version") {
            // Without an HTTP version, it may be any protocol.
            ClientError::Http(what)
        } else {
            ClientError::Malformed(what)
        };
    }
    let how = match (observed, find_source::<io::Error>(&error)) {
        (Some(how), _) => how,
        (None, Some(io)) => match ending_of(io.kind()) {
            Some(how) => how,
            None => return ClientError::Tls(TlsError::Network(full_message(&error))),
        },
        (None, None) => Ending::Orderly,
    };
    if answered {
        return ClientError::ConnectionLost(how);
    }
    let closed = TlsError::Closed {
        how,
        when: HandshakePhase::AfterClientCertificate,
    };
    match explain_refusal(closed, foreign) {
        explained @ TlsError::IssuerNotAccepted { .. } => ClientError::Tls(explained),
        _ => ClientError::NoAnswer(how),
    }
}

/// Translates an error within the response body.
pub fn within_response(error: &(dyn StdError + 'static)) -> ClientError {
    if let Some(tls) = diagnose(error) {
        return ClientError::Tls(tls);
    }
    let Some(io) = find_source::<io::Error>(error) else {
        return ClientError::Body(full_message(error));
    };
    match ending_of(io.kind()) {
        // Both are UnexpectedEof: rustls' message names the missing close_notify; hyper's, after a close_notify, the
        // missing rest of the body.
        Some(Ending::Abrupt) if !io.to_string().contains("close_notify") => {
            ClientError::HalfAnswer(Ending::Orderly)
        }
        Some(how) => ClientError::HalfAnswer(how),
        None => ClientError::Body(full_message(error)),
    }
}

/// The first error of the type `E` in the chain of sources.
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
