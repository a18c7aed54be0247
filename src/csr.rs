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

/// A signed request.
#[derive(Debug)]
pub struct CertificateRequest {
    /// In PEM.
    pub pem: String,
    /// What it is signed with.
    pub scheme: Scheme,
}

/// Makes and signs the request.
///
/// # Errors
/// The key did not sign it, or it cannot be encoded.
pub fn request(
    signer: &dyn Sign,
    subject: &DistinguishedName,
) -> Result<CertificateRequest, CsrError> {
    let info = CertReqInfo {
        version: Version::V1,
        subject: subject.as_x509().clone(),
        public_key: Decode::from_der(signer.public_key().spki())?,
        attributes: SetOfVec::new(),
    };
    let message = info.to_der()?;
    let key = signer.public_key().algorithm();
    let [first, others @ ..] = schemes(key);
    let mut signed = sign(signer, first, &message);
    for scheme in others.iter().copied() {
        if !signed.as_ref().is_err_and(is_about_the_scheme) || !signer.schemes().contains(&scheme) {
            continue;
        }
        if let Ok(signature) = sign(signer, scheme, &message) {
            signed = Ok(signature);
        }
    }
    let (scheme, signature) = signed?;
    let algorithm = signature_algorithm(scheme).ok_or(CsrError::NoAlgorithm(key))?;
    let request = CertReq {
        info,
        algorithm,
        signature: BitString::from_bytes(&signature)?,
    };
    Ok(CertificateRequest {
        pem: request.to_pem(LineEnding::LF)?,
        scheme,
    })
}

fn sign(
    signer: &dyn Sign,
    scheme: Scheme,
    message: &[u8],
) -> Result<(Scheme, Vec<u8>), EngineError> {
    let signature = signer.sign(&SignRequest {
        message,
        scheme,
        purpose: Purpose::Csr,
        deadline: signer.deadline(),
        peer: Peer::default(),
    })?;
    Ok((scheme, signature.bytes))
}

/// Whether the key may sign by another scheme.
fn is_about_the_scheme(error: &EngineError) -> bool {
    matches!(error.class(), "mechanism" | "refused")
}

/// The signature schemes of a request for this type of key, preferred first. For RSA it is PKCS#1 v1.5 with SHA-256, as the
/// Trust Framework documents; a key that is for RSA-PSS only (Google Cloud KMS) signs by that.
fn schemes(key: KeyAlgorithm) -> [Scheme; 4] {
    let only = |scheme| [scheme; 4];
    match key {
        KeyAlgorithm::Rsa { .. } => [
            Scheme::RsaPkcs1Sha256,
            Scheme::RsaPssSha256,
            Scheme::RsaPssSha384,
            Scheme::RsaPssSha512,
        ],
        KeyAlgorithm::EcP256 => only(Scheme::EcdsaP256Sha256),
        KeyAlgorithm::EcP384 => only(Scheme::EcdsaP384Sha384),
        KeyAlgorithm::EcP521 => only(Scheme::EcdsaP521Sha512),
        KeyAlgorithm::Ed25519 => only(Scheme::Ed25519),
    }
}

/// The AlgorithmIdentifier of a scheme.
fn signature_algorithm(scheme: Scheme) -> Option<AlgorithmIdentifier<Any>> {
    use Scheme as S;
    let oid = scheme.x509_oid()?;
    // NULL with PKCS#1 v1.5, absent with ECDSA and EdDSA (RFC 8017 A.2.4, RFC 5758, RFC 8410).
    let parameters = match scheme {
        S::RsaPkcs1Sha256 | S::RsaPkcs1Sha384 | S::RsaPkcs1Sha512 => Some(Any::from(Null)),
        S::RsaPssSha256 => Some(pss_parameters(1, 32)?),
        S::RsaPssSha384 => Some(pss_parameters(2, 48)?),
        S::RsaPssSha512 => Some(pss_parameters(3, 64)?),
        _ => None,
    };
    Some(AlgorithmIdentifier { oid, parameters })
}

/// RSASSA-PSS-params (RFC 8017, appendix A.2.3): the hash is the last arc of its object identifier (2.16.840.1.101.3.4.2.X),
/// and the salt is as long as the hash.
fn pss_parameters(hash: u8, salt_len: u8) -> Option<Any> {
    let hash: Vec<u8> = [
        &[
            0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02,
        ][..],
        &[hash, 0x05, 0x00],
    ]
    .concat();
    // id-mgf1, 1.2.840.113549.1.1.8
    let mgf1 = [
        0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08,
    ];
    let parameters = [
        &[0x30, 0x34, 0xa0, 0x0f][..],
        &hash,
        &[0xa1, 0x1c, 0x30, 0x1a],
        &mgf1,
        &hash,
        &[0xa2, 0x03, 0x02, 0x01, salt_len],
    ]
    .concat();
    Any::from_der(&parameters).ok()
}
