//! From what rustls and the network report to what is wrong, in the operator's words.

use std::error::Error as StdError;
use std::io;

use rustls::{CertificateError, Error};

use super::TlsError;

/// Finds the TLS cause in a chain of errors, also one that came with the first read after the
/// handshake: in TLS 1.3 a server refuses a certificate only then.
pub fn diagnose(error: &(dyn StdError + 'static)) -> Option<TlsError> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(ours) = error.downcast_ref::<TlsError>() {
            return Some(ours.clone());
        }
        if let Some(tls) = error.downcast_ref::<Error>() {
            return Some(of_rustls(tls));
        }
        // An io::Error hands out its inner error's source, not the inner error itself.
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

/// An error of the handshake itself.
pub(crate) fn of_handshake(error: &io::Error) -> TlsError {
    diagnose(error).unwrap_or_else(|| match error.kind() {
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe => TlsError::Closed,
        _ => TlsError::Network(error.to_string()),
    })
}

pub(super) fn of_rustls(error: &Error) -> TlsError {
    match error {
        Error::Other(other) => match other.0.downcast_ref::<TlsError>() {
            Some(ours) => ours.clone(),
            None => TlsError::Protocol(other.to_string()),
        },
        Error::AlertReceived(alert) => TlsError::Alert {
            name: snake_case(&format!("{alert:?}")),
            code: u8::from(*alert),
        },
        Error::InvalidCertificate(error) => match error {
            CertificateError::UnknownIssuer => TlsError::ServerUntrusted,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                TlsError::ServerName(error.to_string())
            }
            CertificateError::Revoked => TlsError::Revocation("it is revoked".to_owned()),
            CertificateError::UnknownRevocationStatus => {
                TlsError::Revocation("no list speaks of its issuer".to_owned())
            }
            CertificateError::ExpiredRevocationList
            | CertificateError::ExpiredRevocationListContext { .. } => {
                TlsError::Revocation("the list is older than its nextUpdate".to_owned())
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                TlsError::ServerTime("it has expired")
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                TlsError::ServerTime("it is not valid yet")
            }
            // Otherwise the name of the inner error would come wrapped twice.
            CertificateError::Other(other) => TlsError::ServerCertificate(other.0.to_string()),
            other => TlsError::ServerCertificate(other.to_string()),
        },
        other => TlsError::Protocol(other.to_string()),
    }
}

/// `CertificateRequired` → `certificate_required`, as RFC 8446 spells it.
fn snake_case(name: &str) -> String {
    if name == "UnknownCA" {
        return "unknown_ca".to_owned();
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

/// What to do about a fatal alert of the hub, by its number.
pub(super) fn alert_hint(code: u8) -> &'static str {
    match code {
        116 => {
            "the hub wants a certificate and saw none: something in between ends TLS without passing ours on"
        }
        44 => "the certificate was revoked: request a new one (`hsm-mtls csr`)",
        45 => {
            "the hub holds our certificate for expired: `hsm-mtls cert show`, and compare the clocks"
        }
        48 => {
            "the hub does not know our issuer: is the C3 of this environment, and does the chain carry the Issuing CA? (`hsm-mtls cert show`)"
        }
        42 | 43 | 46 => {
            "the hub refuses our certificate: check with `hsm-mtls cert show` that it is the C3 of this environment"
        }
        49 => {
            "the hub knows the certificate and does not let it in: ask its operator whether this client is enabled"
        }
        40 | 47 | 70 | 71 => {
            "no agreement on version, suite, group or signature, or a refused certificate: `hsm-mtls verify` shows what was offered"
        }
        112 => "the hub does not know this host name: check [hub] and `lfi_code`",
        120 => "the server does not speak the HTTP versions that were offered",
        _ => {
            "`hsm-mtls verify` shows the handshake step by step; ask the hub's operator with its output"
        }
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
            matches!(&found, Some(TlsError::Alert { name, code: 48 }) if name == "unknown_ca"),
            "{found:?}"
        );
    }

    #[test]
    fn our_own_refusal_is_found_within_rustls() {
        let error = io::Error::new(
            io::ErrorKind::InvalidData,
            Error::Other(OtherError(Arc::new(TlsError::NotAsked))),
        );
        assert!(matches!(of_handshake(&error), TlsError::NotAsked));
    }

    #[test]
    fn an_end_in_the_middle_is_told_from_a_network_fault() {
        let end = io::Error::from(io::ErrorKind::UnexpectedEof);
        assert!(matches!(of_handshake(&end), TlsError::Closed));
        let other = io::Error::from(io::ErrorKind::HostUnreachable);
        assert!(matches!(of_handshake(&other), TlsError::Network(_)));
    }
}
