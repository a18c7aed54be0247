//! What hyper reports when a call fails, and what it means: the server's refusal in TLS 1.3 comes
//! as an error of the first read.

use std::error::Error as StdError;
use std::io;

use super::ClientError;
use crate::tls::issuers::{ForeignIssuer, explain};
use crate::tls::{Closing, TlsError, diagnose, ended};

/// Nothing of an answer had come.
pub(super) fn before_an_answer(
    error: hyper::Error,
    foreign: Option<&ForeignIssuer>,
) -> ClientError {
    if let Some(tls) = diagnose(&error) {
        return ClientError::Tls(explain(tls, foreign));
    }
    if error.is_parse() {
        return ClientError::Http(chain(&error));
    }
    let reset = match source::<io::Error>(&error).map(io::Error::kind).map(ended) {
        Some(Some(reset)) => reset,
        Some(None) => return ClientError::Tls(TlsError::Network(chain(&error))),
        // Closed in order, before or after our request had gone.
        None => false,
    };
    let closed = TlsError::Closed {
        reset,
        when: Closing::AfterOurCertificate,
    };
    match explain(closed, foreign) {
        explained @ TlsError::IssuerNotAccepted { .. } => ClientError::Tls(explained),
        _ => ClientError::NoAnswer { reset },
    }
}

/// Status and headers had come.
pub(super) fn within_an_answer(error: &(dyn StdError + 'static)) -> ClientError {
    match diagnose(error) {
        Some(tls) => ClientError::Tls(tls),
        None => ClientError::HalfAnswer(chain(error)),
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
