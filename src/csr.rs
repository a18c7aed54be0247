//! The certificate signing request (PKCS#10, RFC 2986) for the C3 (transport) certificate, signed by the key in the token.
//!
//! The Open Finance scheme requires a subject of exactly C, O, OU, CN in this order, and no subject alternative name.

use der::asn1::{Any, BitString, Null, SetOfVec};
use der::pem::LineEnding;
use der::{Decode, Encode, EncodePem};
use spki::AlgorithmIdentifier;
use thiserror::Error;
use x509_cert::request::{CertReq, CertReqInfo, Version};

use crate::certificate::name::{
    COMMON_NAME, COUNTRY, DistinguishedName, ORGANIZATION, ORGANIZATIONAL_UNIT,
};
use crate::config::SubjectConfig;
use crate::diagnostic::Diagnostic;
use crate::engine::{EngineError, Peer, Purpose, Sign, SignRequest};
use crate::exit_code::ExitCode;
use crate::key::scheme::{KeyAlgorithm, Scheme};
use crate::uuid_format::is_uuid;

/// Why a certificate request cannot be made.
#[derive(Debug, Error)]
pub enum CsrError {
    /// Neither the configuration nor the command line has a subject. The text is the missing part.
    #[error("the subject of the request is not known: {0} is missing")]
    SubjectMissing(&'static str),
    /// A part of the subject does not have the form that the scheme requires.
    #[error("the subject's {field} {value:?} is not {expected}")]
    Subject {
        /// The attribute: C, O, OU or CN.
        field: &'static str,
        /// Its value.
        value: String,
        /// The expected form.
        expected: &'static str,
    },
    /// The request cannot be encoded as DER.
    #[error("the request cannot be encoded: {0}")]
    Encoding(#[from] der::Error),
    /// X.509 has no signature algorithm for the key.
    #[error("certificate requests have no signature algorithm for a {0} key")]
    NoAlgorithm(KeyAlgorithm),
    /// The key could not sign.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl Diagnostic for CsrError {
    fn hint(&self) -> String {
        match self {
            Self::SubjectMissing(_) => {
                "write [c3.subject] into the configuration, or pass --organization, --organizational-unit and --common-name"
                    .to_owned()
            }
            Self::Subject { .. } => {
                "copy it exactly as the Trust Framework's directory shows it: the legal name, the organisation id, the client id"
                    .to_owned()
            }
            Self::Encoding(_) | Self::NoAlgorithm(_) => "this is a fault of ours: please report it with the subject that you used".to_owned(),
            Self::Engine(error) => error.hint(),
        }
    }

    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Engine(error) => error.exit_code(),
            Self::Encoding(_) | Self::NoAlgorithm(_) => ExitCode::Bug,
            Self::Subject { .. } | Self::SubjectMissing(_) => ExitCode::Configuration,
        }
    }
}

/// Checks the subject and converts it into a distinguished name: C, O, OU, CN.
///
/// # Errors
/// A value does not have the form that the scheme requires.
pub fn subject(config: &SubjectConfig) -> Result<DistinguishedName, CsrError> {
    let invalid = |field, value: &str, expected| CsrError::Subject {
        field,
        value: value.to_owned(),
        expected,
    };
    let country = &config.country;
    if country.len() != 2 || !country.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return Err(invalid(
            "C",
            country,
            "a country code of two capital letters",
        ));
    }
    let organization = &config.organization;
    if organization.trim().is_empty() || organization.chars().any(char::is_control) {
        return Err(invalid("O", organization, "a legal name"));
    }
    for (field, value) in [
        ("OU", &config.organizational_unit),
        ("CN", &config.common_name),
    ] {
        if !is_uuid(value.as_bytes()) {
            return Err(invalid(field, value, "a UUID"));
        }
    }
    DistinguishedName::build(&[
        (COUNTRY, country),
        (ORGANIZATION, organization),
        (ORGANIZATIONAL_UNIT, &config.organizational_unit),
        (COMMON_NAME, &config.common_name),
    ])
    .ok_or_else(|| invalid("O", organization, "text that DER can carry"))
}

/// Makes and signs the request; returns it in PEM.
///
/// # Errors
/// The key did not sign it, or it cannot be encoded.
pub fn request(signer: &dyn Sign, subject: &DistinguishedName) -> Result<String, CsrError> {
    let info = CertReqInfo {
        version: Version::V1,
        subject: subject.as_x509().clone(),
        public_key: Decode::from_der(signer.public_key().spki())?,
        attributes: SetOfVec::new(),
    };
    let key = signer.public_key().algorithm();
    let (scheme, algorithm) = signature_algorithm(key).ok_or(CsrError::NoAlgorithm(key))?;
    let message = info.to_der()?;
    let signature = signer.sign(&SignRequest {
        message: &message,
        scheme,
        purpose: Purpose::Csr,
        deadline: signer.deadline(),
        peer: Peer::default(),
    })?;
    let request = CertReq {
        info,
        algorithm,
        signature: BitString::from_bytes(&signature.bytes)?,
    };
    Ok(request.to_pem(LineEnding::LF)?)
}

/// The signature scheme of a request for this type of key, and its AlgorithmIdentifier. For RSA it is PKCS#1 v1.5 with
/// SHA-256, as the Trust Framework documents.
fn signature_algorithm(key: KeyAlgorithm) -> Option<(Scheme, AlgorithmIdentifier<Any>)> {
    let scheme = match key {
        KeyAlgorithm::Rsa { .. } => Scheme::RsaPkcs1Sha256,
        KeyAlgorithm::EcP256 => Scheme::EcdsaP256Sha256,
        KeyAlgorithm::EcP384 => Scheme::EcdsaP384Sha384,
        KeyAlgorithm::EcP521 => Scheme::EcdsaP521Sha512,
        KeyAlgorithm::Ed25519 => Scheme::Ed25519,
    };
    // The parameters are NULL with RSA and absent otherwise (RFC 8017 A.2.4, RFC 5758, RFC 8410).
    let parameters = matches!(key, KeyAlgorithm::Rsa { .. }).then(|| Any::from(Null));
    let oid = scheme.x509_oid()?;
    Some((scheme, AlgorithmIdentifier { oid, parameters }))
}
