//! Verifies the signature of a certificate or CRL by its AlgorithmIdentifier (RFC 4055, RFC 5758, RFC 8410). Other than
//! TLS, X.509 allows any hash with any curve and any parameters of RSASSA-PSS, so the algorithms differ from those of
//! handshakes.
//!
//! An algorithm that is not supported is a different error from a signature that does not match.

use aws_lc_rs::signature::{self as verification, RsaParameters, VerificationAlgorithm};
use der::asn1::{Any, Null, ObjectIdentifier};
use der::{Decode, Encode, Reader, SliceReader};
use spki::AlgorithmIdentifier;
use thiserror::Error;

use super::rsassa_pss::{PssParams, RSASSA_PSS, parse_parameters, pss_verifier};
use crate::key::public::{PublicKey, Spki};
use crate::key::scheme::{Hash, KeyAlgorithm};
use crate::key::unsupported::UnsupportedKey;

const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// Why a signature is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SignatureError {
    /// The algorithm or the issuer's key is not supported, so the signature was not checked. The text names it.
    #[error("{0} is not supported here")]
    Unsupported(String),
    /// The algorithm is too weak: its signatures prove nothing. The text names it.
    #[error("{0} is too weak to prove anything, and is not supported here")]
    Weak(&'static str),
    /// The issuer's key did not make this signature.
    #[error("it is not of the issuer's key")]
    Mismatch,
}

/// A supported signature algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Algorithm {
    RsaPkcs1(Hash),
    RsaPss(PssParams),
    Ecdsa(Hash),
    Ed25519,
}

const ALGORITHMS: [(&str, Algorithm); 7] = [
    ("1.2.840.113549.1.1.11", Algorithm::RsaPkcs1(Hash::Sha256)),
    ("1.2.840.113549.1.1.12", Algorithm::RsaPkcs1(Hash::Sha384)),
    ("1.2.840.113549.1.1.13", Algorithm::RsaPkcs1(Hash::Sha512)),
    ("1.2.840.10045.4.3.2", Algorithm::Ecdsa(Hash::Sha256)),
    ("1.2.840.10045.4.3.3", Algorithm::Ecdsa(Hash::Sha384)),
    ("1.2.840.10045.4.3.4", Algorithm::Ecdsa(Hash::Sha512)),
    ("1.3.101.112", Algorithm::Ed25519),
];

const WEAK: [(&str, &str); 6] = [
    ("1.2.840.113549.1.1.2", "RSA with MD2"),
    ("1.2.840.113549.1.1.4", "RSA with MD5"),
    ("1.2.840.113549.1.1.5", "RSA with SHA-1"),
    ("1.3.14.3.2.29", "RSA with SHA-1"),
    ("1.2.840.10045.4.1", "ECDSA with SHA-1"),
    ("1.2.840.10040.4.3", "DSA with SHA-1"),
];

const UNSUPPORTED: [(&str, &str); 20] = [
    ("1.2.840.113549.1.1.14", "RSA with SHA-224"),
    ("1.2.840.113549.1.1.15", "RSA with SHA-512/224"),
    ("1.2.840.113549.1.1.16", "RSA with SHA-512/256"),
    ("2.16.840.1.101.3.4.3.13", "RSA with SHA3-224"),
    ("2.16.840.1.101.3.4.3.14", "RSA with SHA3-256"),
    ("2.16.840.1.101.3.4.3.15", "RSA with SHA3-384"),
    ("2.16.840.1.101.3.4.3.16", "RSA with SHA3-512"),
    ("1.2.840.10045.4.3.1", "ECDSA with SHA-224"),
    ("2.16.840.1.101.3.4.3.9", "ECDSA with SHA3-224"),
    ("2.16.840.1.101.3.4.3.10", "ECDSA with SHA3-256"),
    ("2.16.840.1.101.3.4.3.11", "ECDSA with SHA3-384"),
    ("2.16.840.1.101.3.4.3.12", "ECDSA with SHA3-512"),
    ("2.16.840.1.101.3.4.3.1", "DSA with SHA-224"),
    ("2.16.840.1.101.3.4.3.2", "DSA with SHA-256"),
    ("1.3.101.113", "Ed448"),
    ("1.2.156.10197.1.501", "SM2 with SM3"),
    ("2.16.840.1.101.3.4.3.17", "ML-DSA-44"),
    ("2.16.840.1.101.3.4.3.18", "ML-DSA-65"),
    ("2.16.840.1.101.3.4.3.19", "ML-DSA-87"),
    ("1.2.643.7.1.1.3.2", "GOST R 34.10-2012"),
];

pub(super) fn unsupported(name: impl Into<String>) -> SignatureError {
    SignatureError::Unsupported(name.into())
}

/// Verifies the signature of a `SEQUENCE { toBeSigned, signatureAlgorithm, signature }`, as certificates and CRLs are,
/// with the issuer's SubjectPublicKeyInfo.
///
/// # Errors
/// The algorithm or the key is not supported, or the signature does not match.
pub(crate) fn verify(
    signed_object: &[u8],
    algorithm: &AlgorithmIdentifier<Any>,
    signature: &[u8],
    issuer: &Spki,
) -> Result<(), SignatureError> {
    let message = to_be_signed(signed_object).map_err(|_| SignatureError::Mismatch)?;
    let algorithm = parse_algorithm(algorithm)?;
    let (key, restriction) = issuer_key(issuer)
        .map_err(|kind| unsupported(format!("the issuer's kind of key ({kind})")))?;
    let bits = key.bits();
    let verified = match (algorithm, key.algorithm()) {
        // A key of the type id-RSASSA-PSS signs with RSASSA-PSS only.
        (Algorithm::RsaPkcs1(_), KeyAlgorithm::Rsa { .. }) if restriction.is_some() => None,
        (Algorithm::RsaPkcs1(hash), KeyAlgorithm::Rsa { .. }) => {
            Some(pkcs1(hash).verify_sig(bits, message, signature))
        }
        (Algorithm::RsaPss(used), KeyAlgorithm::Rsa { .. }) => match restriction {
            Some(Some(required)) if required.hash != used.hash || used.salt < required.salt => None,
            _ => Some(pss_verifier(used).verify_sig(bits, message, signature)),
        },
        (Algorithm::Ed25519, KeyAlgorithm::Ed25519) => {
            Some(verification::ED25519.verify_sig(bits, message, signature))
        }
        (Algorithm::Ecdsa(hash), curve) => {
            ecdsa(curve, hash).map(|algorithm| algorithm.verify_sig(bits, message, signature))
        }
        // The algorithm is for another type of key.
        _ => None,
    };
    match verified {
        Some(Ok(())) => Ok(()),
        _ => Err(SignatureError::Mismatch),
    }
}

/// The first element of the SEQUENCE in its original bytes, which an encoder might not reproduce.
pub(super) fn to_be_signed(signed_object: &[u8]) -> der::Result<&[u8]> {
    SliceReader::new(signed_object)?.sequence(|object| {
        let to_be_signed = object.tlv_bytes()?;
        let _algorithm = object.tlv_bytes()?;
        let _signature = object.tlv_bytes()?;
        Ok(to_be_signed)
    })
}

/// The name of a signature algorithm for messages, or its OID.
pub(crate) fn algorithm_name(algorithm: &AlgorithmIdentifier<Any>) -> String {
    match parse_algorithm(algorithm) {
        Err(SignatureError::Unsupported(name)) => name,
        Err(SignatureError::Weak(name)) => name.to_owned(),
        Ok(Algorithm::RsaPss(pss)) => format!(
            "RSASSA-PSS with {} and a salt of {} bytes",
            match pss.hash {
                Hash::Sha256 => "SHA-256",
                Hash::Sha384 => "SHA-384",
                Hash::Sha512 => "SHA-512",
            },
            pss.salt
        ),
        _ => format!("the signature algorithm {}", algorithm.oid),
    }
}

fn parse_algorithm(algorithm: &AlgorithmIdentifier<Any>) -> Result<Algorithm, SignatureError> {
    if algorithm.oid == RSASSA_PSS {
        return Ok(Algorithm::RsaPss(parse_parameters(
            algorithm.parameters.as_ref(),
        )?));
    }
    let oid = algorithm.oid.to_string();
    if let Some((_, known)) = ALGORITHMS.iter().find(|(known, _)| *known == oid) {
        return Ok(*known);
    }
    if let Some((_, name)) = WEAK.iter().find(|(known, _)| *known == oid) {
        return Err(SignatureError::Weak(name));
    }
    let known = UNSUPPORTED.iter().find(|(known, _)| *known == oid);
    Err(unsupported(known.map_or_else(
        || format!("the signature algorithm {oid}"),
        |(_, name)| format!("{name} ({oid})"),
    )))
}

/// The issuer's key and, for the key type id-RSASSA-PSS, its restriction: such an RSA key signs with RSASSA-PSS only, and
/// with the parameters of the key if it has any (RFC 4055, section 3.3).
fn issuer_key(issuer: &Spki) -> Result<(PublicKey, Option<Option<PssParams>>), UnsupportedKey> {
    let unreadable = || UnsupportedKey::named("a public key that cannot be read");
    if issuer.algorithm.oid != RSASSA_PSS {
        let der = issuer.to_der().map_err(|_| unreadable())?;
        return Ok((PublicKey::from_spki(&der)?, None));
    }
    let restriction = match &issuer.algorithm.parameters {
        None => None,
        some => Some(parse_parameters(some.as_ref()).map_err(|_| {
            UnsupportedKey::named("RSA of the type id-RSASSA-PSS with such parameters")
        })?),
    };
    let as_rsa = Spki {
        algorithm: AlgorithmIdentifier {
            oid: RSA_ENCRYPTION,
            parameters: Some(Any::from(Null)),
        },
        subject_public_key: issuer.subject_public_key.clone(),
    };
    let der = as_rsa.to_der().map_err(|_| unreadable())?;
    Ok((PublicKey::from_spki(&der)?, Some(restriction)))
}

fn pkcs1(hash: Hash) -> RsaParameters {
    match hash {
        Hash::Sha256 => verification::RSA_PKCS1_2048_8192_SHA256,
        Hash::Sha384 => verification::RSA_PKCS1_2048_8192_SHA384,
        Hash::Sha512 => verification::RSA_PKCS1_2048_8192_SHA512,
    }
}

fn ecdsa(curve: KeyAlgorithm, hash: Hash) -> Option<&'static dyn VerificationAlgorithm> {
    Some(match (curve, hash) {
        (KeyAlgorithm::EcP256, Hash::Sha256) => &verification::ECDSA_P256_SHA256_ASN1,
        (KeyAlgorithm::EcP256, Hash::Sha384) => &verification::ECDSA_P256_SHA384_ASN1,
        (KeyAlgorithm::EcP256, Hash::Sha512) => &verification::ECDSA_P256_SHA512_ASN1,
        (KeyAlgorithm::EcP384, Hash::Sha256) => &verification::ECDSA_P384_SHA256_ASN1,
        (KeyAlgorithm::EcP384, Hash::Sha384) => &verification::ECDSA_P384_SHA384_ASN1,
        (KeyAlgorithm::EcP384, Hash::Sha512) => &verification::ECDSA_P384_SHA512_ASN1,
        (KeyAlgorithm::EcP521, Hash::Sha256) => &verification::ECDSA_P521_SHA256_ASN1,
        (KeyAlgorithm::EcP521, Hash::Sha384) => &verification::ECDSA_P521_SHA384_ASN1,
        (KeyAlgorithm::EcP521, Hash::Sha512) => &verification::ECDSA_P521_SHA512_ASN1,
        (KeyAlgorithm::Rsa { .. } | KeyAlgorithm::Ed25519, _) => return None,
    })
}

/// Parses an AlgorithmIdentifier in DER, with or without tag and length of its SEQUENCE: webpki omits them.
pub(crate) fn parse_identifier(der: &[u8]) -> Option<AlgorithmIdentifier<Any>> {
    AlgorithmIdentifier::from_der(der).ok().or_else(|| {
        let whole = Any::new(der::Tag::Sequence, der).ok()?;
        whole.decode_as().ok()
    })
}
