//! What hyper reports when a call fails, and what it means: the server's refusal in TLS 1.3 comes
//! as an error of the first read.

use std::error::Error as StdError;
use std::io;

use super::ClientError;
use crate::tls::issuers::{ForeignIssuer, explain};
use crate::tls::{Ending, Moment, TlsError, diagnose, ended};

/// Nothing of an answer had come.
///
/// `seen` is how the connection ended, where that was seen; else it is read from the error. Over a connection that
/// had `answered`, an end says nothing of our certificate.
pub fn before_an_answer(
    error: hyper::Error,
    foreign: Option<&ForeignIssuer>,
    seen: Option<Ending>,
    answered: bool,
) -> ClientError {
    let foreign = foreign.filter(|_| !answered);
    if let Some(tls) = diagnose(&error) {
        return ClientError::Tls(explain(tls, foreign));
    }
    if error.is_parse() {
        let what = chain(&error);
        // hyper names them in words only, where its server is left out.
        return if what.contains("too large") {
            ClientError::HeadTooLong
        } else if what.contains("version") {
            // Without one, it may be anything.
            ClientError::Http(what)
        } else {
            ClientError::Malformed(what)
        };
    }
    let how = match (seen, source::<io::Error>(&error)) {
        (Some(how), _) => how,
        (None, Some(io)) => match ended(io.kind()) {
            Some(how) => how,
            None => return ClientError::Tls(TlsError::Network(chain(&error))),
        },
        (None, None) => Ending::Orderly,
    };
    if answered {
        return ClientError::ConnectionLost(how);
    }
    let closed = TlsError::Closed {
        how,
        when: Moment::AfterOurCertificate,
    };
    match explain(closed, foreign) {
        explained @ TlsError::IssuerNotAccepted { .. } => ClientError::Tls(explained),
        _ => ClientError::NoAnswer(how),
    }
}

/// Status and headers had come.
pub fn within_an_answer(error: &(dyn StdError + 'static)) -> ClientError {
    if let Some(tls) = diagnose(error) {
        return ClientError::Tls(tls);
    }
    let Some(io) = source::<io::Error>(error) else {
        return ClientError::Body(chain(error));
    };
    match ended(io.kind()) {
        // Both ends within a body are UnexpectedEof: rustls names what it missed, and hyper, which
        // saw TLS end in order, the length that it missed.
        Some(Ending::Abrupt) if !io.to_string().contains("close_notify") => {
            ClientError::HalfAnswer(Ending::Orderly)
        }
        Some(how) => ClientError::HalfAnswer(how),
        None => ClientError::Body(chain(error)),
    }
}

fn source<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let said = source.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        next = source.source();
    }
    text
}
