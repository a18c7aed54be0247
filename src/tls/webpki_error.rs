//! Errors of webpki as rustls's errors, as rustls words them for its own verifier: the diagnosis of a failed handshake knows those.

use std::sync::Arc;

use rustls::{CertRevocationListError, CertificateError, Error, OtherError};
use webpki::Error as Webpki;

/// The error of a chain whose status was checked. It is valid otherwise, so that no other errors are to be expected.
pub(super) fn of_status(error: Webpki) -> Error {
    match error {
        Webpki::CertRevoked => CertificateError::Revoked.into(),
        Webpki::UnknownRevocationStatus => CertificateError::UnknownRevocationStatus.into(),
        Webpki::CrlExpired { time, next_update } => {
            CertificateError::ExpiredRevocationListContext { time, next_update }.into()
        }
        Webpki::UnknownIssuer => CertificateError::UnknownIssuer.into(),
        Webpki::IssuerNotCrlSigner
        | Webpki::InvalidCrlSignatureForPublicKey
        | Webpki::UnsupportedCrlSignatureAlgorithmContext(_)
        | Webpki::UnsupportedCrlSignatureAlgorithmForPublicKeyContext(_) => {
            Error::InvalidCertRevocationList(of_list(error))
        }
        other => CertificateError::Other(OtherError(Arc::new(other))).into(),
    }
}

/// The error of a list.
pub(super) fn of_list(error: Webpki) -> CertRevocationListError {
    match error {
        Webpki::InvalidCrlSignatureForPublicKey => CertRevocationListError::BadSignature,
        Webpki::UnsupportedCrlSignatureAlgorithmContext(context) => {
            CertRevocationListError::UnsupportedSignatureAlgorithmContext {
                signature_algorithm_id: context.signature_algorithm_id,
                supported_algorithms: context.supported_algorithms,
            }
        }
        Webpki::UnsupportedCrlSignatureAlgorithmForPublicKeyContext(context) => {
            CertRevocationListError::UnsupportedSignatureAlgorithmForPublicKeyContext {
                signature_algorithm_id: context.signature_algorithm_id,
                public_key_algorithm_id: context.public_key_algorithm_id,
            }
        }
        Webpki::InvalidCrlNumber => CertRevocationListError::InvalidCrlNumber,
        Webpki::InvalidSerialNumber => CertRevocationListError::InvalidRevokedCertSerialNumber,
        Webpki::IssuerNotCrlSigner => CertRevocationListError::IssuerInvalidForCrl,
        Webpki::MalformedExtensions | Webpki::BadDer | Webpki::BadDerTime => {
            CertRevocationListError::ParseError
        }
        Webpki::UnsupportedCriticalExtension => {
            CertRevocationListError::UnsupportedCriticalExtension
        }
        Webpki::UnsupportedCrlVersion => CertRevocationListError::UnsupportedCrlVersion,
        Webpki::UnsupportedDeltaCrl => CertRevocationListError::UnsupportedDeltaCrl,
        Webpki::UnsupportedIndirectCrl => CertRevocationListError::UnsupportedIndirectCrl,
        Webpki::UnsupportedRevocationReason => CertRevocationListError::UnsupportedRevocationReason,
        other => CertRevocationListError::Other(OtherError(Arc::new(other))),
    }
}
