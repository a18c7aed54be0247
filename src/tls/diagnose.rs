//! Converts errors of rustls and of the network into [`TlsError`], and fatal alerts into advice.

use std::error::Error as StdError;
use std::io;

use rustls::{CertRevocationListError, CertificateError, Error, InvalidMessage, PeerIncompatible};
use webpki::Error as Webpki;

use super::{Ending, HandshakePhase, TlsError};
use crate::rfc3339;
use crate::truncated_list::first_few;

/// Finds the TLS error in a chain of error sources. The error may be one of the first read after the handshake: in TLS 1.3
/// the server's refusal of the client certificate arrives there.
pub fn diagnose(error: &(dyn StdError + 'static)) -> Option<TlsError> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(ours) = error.downcast_ref::<TlsError>() {
            return Some(ours.clone());
        }
        if let Some(tls) = error.downcast_ref::<Error>() {
            return Some(from_rustls(tls));
        }
        // `io::Error::source` returns the source of its inner error, not the inner error itself.
        let inner = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        next = match inner {
            Some(inner) => Some(inner as &(dyn StdError + 'static)),
            None => error.source(),
        };
    }
    None
}

/// Converts an error of the handshake itself.
pub(crate) fn from_handshake(error: &io::Error) -> TlsError {
    diagnose(error).unwrap_or_else(|| match ending_of(error.kind()) {
        Some(ending) => TlsError::Closed {
            ending,
            phase: HandshakePhase::DuringHandshake,
        },
        None => TlsError::Network(error.to_string()),
    })
}

/// How the peer ended the connection; `None` if the error means something else.
pub fn ending_of(kind: io::ErrorKind) -> Option<Ending> {
    match kind {
        io::ErrorKind::UnexpectedEof => Some(Ending::Abrupt),
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe => Some(Ending::Reset),
        _ => None,
    }
}

pub(super) fn from_rustls(error: &Error) -> TlsError {
    match error {
        Error::Other(other) => match other.0.downcast_ref::<TlsError>() {
            Some(ours) => ours.clone(),
            None => TlsError::Setup(other.to_string()),
        },
        Error::AlertReceived(alert) => TlsError::Alert {
            name: snake_case(&format!("{alert:?}")),
            code: u8::from(*alert),
            // In TLS 1.3 an alert about the client certificate arrives after the handshake.
            phase: HandshakePhase::AfterClientCertificate,
        },
        Error::InvalidCertificate(error) => match error {
            CertificateError::UnknownIssuer => TlsError::ServerUntrusted,
            CertificateError::NotValidForNameContext {
                expected,
                presented,
            } => TlsError::ServerName {
                expected: expected.to_str().into_owned(),
                presented: presented_names(presented),
            },
            CertificateError::NotValidForName => TlsError::ServerName {
                expected: "the host that was called".to_owned(),
                presented: presented_names(&[]),
            },
            CertificateError::BadSignature => TlsError::ServerSignature,
            CertificateError::Revoked => TlsError::Revocation("it is revoked".to_owned()),
            CertificateError::UnknownRevocationStatus => {
                TlsError::Revocation("no list speaks of its issuer".to_owned())
            }
            CertificateError::ExpiredRevocationList
            | CertificateError::ExpiredRevocationListContext { .. } => {
                TlsError::Revocation("the list is older than its nextUpdate".to_owned())
            }
            CertificateError::ExpiredContext { time, not_after } => TlsError::ServerTime {
                expired: true,
                limit: rfc3339::of_unix(not_after.as_secs()),
                now: rfc3339::of_unix(time.as_secs()),
            },
            CertificateError::NotValidYetContext { time, not_before } => TlsError::ServerTime {
                expired: false,
                limit: rfc3339::of_unix(not_before.as_secs()),
                now: rfc3339::of_unix(time.as_secs()),
            },
            // The message of rustls contains the inner error only in its debug format.
            CertificateError::Other(other) => match other.0.downcast_ref::<Webpki>() {
                Some(error) => from_webpki(error),
                None => TlsError::ServerCertificate(other.0.to_string()),
            },
            other => TlsError::ServerCertificate(other.to_string()),
        },
        Error::InvalidCertRevocationList(error) => TlsError::Revocation(match error {
            CertRevocationListError::BadSignature => {
                "a list of its issuer's name is not signed by its issuer".to_owned()
            }
            CertRevocationListError::IssuerInvalidForCrl => {
                "its issuer may not sign lists (keyUsage has no cRLSign)".to_owned()
            }
            other => format!("{other:?}"),
        }),
        // The first bytes are not a TLS record; most likely they are HTTP.
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
        ) => TlsError::NotTls,
        Error::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13) => {
            TlsError::Protocol("it speaks neither TLS 1.2 nor TLS 1.3".to_owned())
        }
        Error::PeerIncompatible(_) | Error::NoApplicationProtocol => {
            TlsError::Protocol(error.to_string())
        }
        Error::InvalidMessage(_)
        | Error::InappropriateMessage { .. }
        | Error::InappropriateHandshakeMessage { .. }
        | Error::PeerMisbehaved(_)
        | Error::PeerSentOversizedRecord
        | Error::DecryptError => TlsError::Malformed(error.to_string()),
        // Errors of this side: no clock, no random numbers, an unusable configuration.
        other => TlsError::Setup(other.to_string()),
    }
}

/// Converts an error whose message webpki does not provide.
fn from_webpki(error: &Webpki) -> TlsError {
    TlsError::ServerCertificate(match error {
        Webpki::CaUsedAsEndEntity => "it is a CA's own".to_owned(),
        Webpki::EndEntityUsedAsCa => {
            "what is named as its issuer is no CA (basicConstraints)".to_owned()
        }
        Webpki::NameConstraintViolation => {
            "the name constraints of a CA above it do not allow its names".to_owned()
        }
        Webpki::PathLenConstraintViolated => {
            "there are more CAs above it than their pathLenConstraint allows".to_owned()
        }
        Webpki::SignatureAlgorithmMismatch => {
            "it names two signature algorithms for one signature".to_owned()
        }
        other => other.to_string(),
    })
}

/// The names in a certificate, from webpki's debug format: `DnsName("a.example")`.
fn presented_names(presented: &[String]) -> String {
    let plain = |name: &String| match name.split_once("(\"") {
        Some((_, rest)) => rest.trim_end_matches("\")").to_owned(),
        None => name.clone(),
    };
    match presented {
        [] => "no host".to_owned(),
        some => first_few(&some.iter().map(plain).collect::<Vec<_>>(), ", "),
    }
}

/// `CertificateRequired` → `certificate_required`, as RFC 8446 spells it.
fn snake_case(name: &str) -> String {
    match name {
        "UnknownCA" => return "unknown_ca".to_owned(),
        "UnrecognisedName" => return "unrecognized_name".to_owned(),
        _ => {}
    }
    name.chars()
        .enumerate()
        .fold(String::new(), |mut out, (index, c)| {
            if c.is_ascii_uppercase() && index > 0 {
                out.push('_');
            }
            out.push(c.to_ascii_lowercase());
            out
        })
}

/// What to do about a fatal alert of the hub, by its number (RFC 8446, section 6).
pub(super) fn alert_hint(code: u8, phase: HandshakePhase) -> &'static str {
    match code {
        116 => {
            "the hub wants a certificate and saw none, though we sent ours: something in between ends TLS and does not pass it on"
        }
        44 => {
            "the hub holds our certificate for revoked: ask who revoked it, and request a new one (`hsm-mtls csr`)"
        }
        45 => {
            "the hub holds our certificate for expired: see its dates with `hsm-mtls cert show`, and compare the clocks"
        }
        48 => {
            "the hub does not know our issuer: is it the C3 of this environment, and does the chain carry the Issuing CA? (`hsm-mtls cert show`)"
        }
        42 => {
            "the hub holds our certificate for malformed or its signature for wrong: fetch it anew from the Trust Framework and install that (`hsm-mtls cert install`)"
        }
        43 => {
            "the hub does not take this type of certificate or key: the scheme accepts RSA 2048 only (`hsm-mtls cert show`)"
        }
        46 => {
            "the hub refuses our certificate and does not say why: ask its operator with the time of this call, and show `hsm-mtls cert show`"
        }
        49 => {
            "the hub knows the certificate and does not let it in: ask its operator whether this client is enabled for this host"
        }
        51 => {
            "the hub finds our signature wrong: `hsm-mtls token check` tells whether the token signs rightly"
        }
        40 if phase == HandshakePhase::AfterClientHello => {
            "no suite, group or signature in common: the hub speaks TLS 1.2 with ECDHE and AEAD, or TLS 1.3; see `groups` of [tls] and, for what the token can sign, `hsm-mtls token check`"
        }
        40 => {
            "servers that refuse a certificate without a reason say so: check with `hsm-mtls cert show` that it is the C3 of this environment, then ask the hub's operator"
        }
        47 => {
            "the hub finds the handshake malformed: a middlebox may have changed it; ask the hub's operator"
        }
        70 => {
            "no TLS version in common: the hub speaks TLS 1.2 and 1.3, so look for what is in between"
        }
        71 => "the hub finds what was offered too weak: a larger key, or another group in [tls]",
        112 => "the hub does not know this host name: check [hub] and `lfi_code`",
        120 => "the server does not speak the HTTP versions that were offered",
        _ => "ask the hub's operator with the output of `hsm-mtls verify`",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::{AlertDescription, OtherError};

    use super::*;

    #[test]
    fn an_alert_is_found_behind_io_errors() {
        let inner = io::Error::new(
            io::ErrorKind::InvalidData,
            Error::AlertReceived(AlertDescription::UnknownCA),
        );
        let outer = io::Error::other(inner);
        let found = diagnose(&outer);
        assert!(
            matches!(&found, Some(TlsError::Alert { name, code: 48, .. }) if name == "unknown_ca"),
            "{found:?}"
        );
    }

    #[test]
    fn an_error_of_this_crate_is_found_within_rustls() {
        let error = io::Error::new(
            io::ErrorKind::InvalidData,
            Error::Other(OtherError(Arc::new(TlsError::NotAsked))),
        );
        assert!(matches!(from_handshake(&error), TlsError::NotAsked));
    }

    #[test]
    fn a_truncated_handshake_is_distinguished_from_a_network_error() {
        let end = io::Error::from(io::ErrorKind::UnexpectedEof);
        assert!(matches!(
            from_handshake(&end),
            TlsError::Closed {
                ending: Ending::Abrupt,
                ..
            }
        ));
        let other = io::Error::from(io::ErrorKind::HostUnreachable);
        assert!(matches!(from_handshake(&other), TlsError::Network(_)));
    }
}
