//! The certificate signing request (PKCS#10, RFC 2986) for a certificate, signed by the key in the token.
//!
//! Its subject is what the regime prescribes, to the order of the attributes; it has no subject alternative name.

use der::asn1::{Any, BitString, Null, SetOfVec};
use der::pem::LineEnding;
use der::{Decode, Encode, EncodePem};
use spki::AlgorithmIdentifier;
use thiserror::Error;
use x509_cert::request::{CertReq, CertReqInfo, Version};

use crate::certificate::name::{DistinguishedName, attribute_type};
use crate::config::{SubjectConfig, SubjectError};
use crate::diagnostic::Diagnostic;
use crate::engine::{EngineError, Peer, Purpose, Sign, SignRequest};
use crate::exit_code::ExitCode;
use crate::key::scheme::{KeyAlgorithm, Scheme};
use crate::regime::Regime;

/// Why a certificate request cannot be made.
#[derive(Debug, Error)]
pub enum CsrError {
    /// Neither the configuration nor the command line has a whole subject, or a part of it does not have the form that the
    /// regime requires.
    #[error(transparent)]
    Subject(#[from] SubjectError),
    /// An attribute has a name that is not known.
    #[error("the subject's attribute {0:?} is not known")]
    Attribute(String),
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
            Self::Subject(SubjectError::Missing(_)) => {
                "write [c3.subject] into the configuration, or pass --organization, --organizational-unit and --common-name"
                    .to_owned()
            }
            Self::Attribute(_) => {
                "write its short name, such as C, O, OU, CN, ST, L or organizationIdentifier, or its object identifier, such as 2.5.4.97".to_owned()
            }
            Self::Subject(SubjectError::Form { .. }) => {
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
            Self::Subject(_) | Self::Attribute(_) => ExitCode::Configuration,
        }
    }
}

/// Checks the subject by the regime and converts it into a distinguished name.
///
/// # Errors
/// An attribute is missing, is not known, or has a value without the form that the regime requires.
pub fn subject(config: &SubjectConfig, regime: &Regime) -> Result<DistinguishedName, CsrError> {
    let rdns = config.checked(regime)?;
    let attributes = rdns.iter().map(|(attribute, value)| {
        let oid =
            attribute_type(attribute).ok_or_else(|| CsrError::Attribute(attribute.clone()))?;
        Ok((oid, value.as_str()))
    });
    let attributes = attributes.collect::<Result<Vec<_>, CsrError>>()?;
    let cannot_encode = || {
        let (attribute, value) = rdns.first().cloned().unwrap_or_default();
        SubjectError::Form {
            attribute,
            value,
            expected: "text that DER can carry".to_owned(),
        }
    };
    DistinguishedName::build(&attributes).ok_or_else(|| cannot_encode().into())
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
