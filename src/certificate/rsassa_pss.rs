//! The parameters of RSASSA-PSS in X.509 (RFC 4055, section 3.1), of signatures and of keys. Any length of the
//! salt is taken; a hash of MGF1's own is not.

use aws_lc_rs::signature::{self as verification, RsaParameters, RsaPssSaltLength};
use der::Sequence;
use der::asn1::{Any, Null, ObjectIdentifier};
use spki::AlgorithmIdentifier;

use super::SignatureFault;
use super::signature::unsupported;
use crate::key::scheme::Hash;

/// id-RSASSA-PSS, of keys and of signatures.
pub(crate) const RSASSA_PSS: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");
const MGF1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.8");

/// The parameters of RSASSA-PSS, with MGF1 by the same hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pss {
    pub(crate) hash: Hash,
    pub(crate) salt: u16,
}

/// RSASSA-PSS-params (RFC 4055, section 3.1). What is left out has SHA-1 for its default.
#[derive(Sequence)]
struct PssParameters {
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    hash: Option<AlgorithmIdentifier<Any>>,
    #[asn1(context_specific = "1", tag_mode = "EXPLICIT", optional = "true")]
    mask_generation: Option<AlgorithmIdentifier<Any>>,
    #[asn1(context_specific = "2", tag_mode = "EXPLICIT", optional = "true")]
    salt_length: Option<u16>,
    #[asn1(context_specific = "3", tag_mode = "EXPLICIT", optional = "true")]
    trailer: Option<u8>,
}

/// Of SHA-1, as all defaults of these parameters.
const DEFAULT_SALT: u16 = 20;

const HASHES: [(ObjectIdentifier, Hash); 3] = [
    (
        ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1"),
        Hash::Sha256,
    ),
    (
        ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.2"),
        Hash::Sha384,
    ),
    (
        ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.3"),
        Hash::Sha512,
    ),
];

/// Reads them.
///
/// # Errors
/// They cannot be read, or are not supported.
pub(super) fn pss_parameters(parameters: Option<&Any>) -> Result<Pss, SignatureFault> {
    let parameters = parameters.and_then(|any| any.decode_as::<PssParameters>().ok());
    let parameters =
        parameters.ok_or_else(|| unsupported("RSASSA-PSS with parameters that cannot be read"))?;
    const SHA1: SignatureFault = SignatureFault::Weak("RSASSA-PSS with SHA-1");
    let hash = hash_of(parameters.hash.as_ref().ok_or(SHA1)?)?;
    let mask = parameters.mask_generation;
    // The hash of MGF1 is no promise of anything: SHA-1 there is not weak, but the library has it not.
    let mask_hash = match &mask {
        None => None,
        Some(mask) if mask.oid == MGF1 => mask
            .parameters
            .as_ref()
            .and_then(|inner| inner.decode_as::<AlgorithmIdentifier<Any>>().ok())
            .and_then(|inner| hash_of(&inner).ok()),
        Some(other) => {
            return Err(unsupported(format!(
                "RSASSA-PSS with the mask generation function {}",
                other.oid
            )));
        }
    };
    if mask_hash != Some(hash) {
        return Err(unsupported(
            "RSASSA-PSS with another hash for MGF1 than for the message",
        ));
    }
    if !matches!(parameters.trailer, None | Some(1)) {
        return Err(unsupported("RSASSA-PSS with another trailer than 0xbc"));
    }
    Ok(Pss {
        hash,
        salt: parameters.salt_length.unwrap_or(DEFAULT_SALT),
    })
}

fn hash_of(algorithm: &AlgorithmIdentifier<Any>) -> Result<Hash, SignatureFault> {
    const SHA1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.14.3.2.26");
    let known = HASHES.iter().find(|(oid, _)| *oid == algorithm.oid);
    match known {
        Some((_, hash)) => Ok(*hash),
        None if algorithm.oid == SHA1 => Err(SignatureFault::Weak("RSASSA-PSS with SHA-1")),
        None => Err(unsupported(format!(
            "RSASSA-PSS with the hash {}",
            algorithm.oid
        ))),
    }
}

/// How the library checks RSASSA-PSS of these parameters.
pub(crate) fn pss(parameters: Pss) -> RsaParameters {
    let by_hash = match parameters.hash {
        Hash::Sha256 => verification::RSA_PSS_2048_8192_SHA256,
        Hash::Sha384 => verification::RSA_PSS_2048_8192_SHA384,
        Hash::Sha512 => verification::RSA_PSS_2048_8192_SHA512,
    };
    by_hash.with_pss_salt_length(RsaPssSaltLength::Custom(parameters.salt))
}

/// The AlgorithmIdentifier of RSASSA-PSS with these parameters, as RFC 4055 has it encoded.
pub(crate) fn pss_identifier(parameters: Pss) -> Option<AlgorithmIdentifier<Any>> {
    let (hash, _) = HASHES.iter().find(|(_, hash)| *hash == parameters.hash)?;
    let hash = AlgorithmIdentifier {
        oid: *hash,
        parameters: Some(Any::from(Null)),
    };
    let mask_generation = AlgorithmIdentifier {
        oid: MGF1,
        parameters: Some(Any::encode_from(&hash).ok()?),
    };
    let parameters = PssParameters {
        hash: Some(hash),
        mask_generation: Some(mask_generation),
        // DER leaves out what is the default.
        salt_length: Some(parameters.salt).filter(|salt| *salt != DEFAULT_SALT),
        trailer: None,
    };
    Some(AlgorithmIdentifier {
        oid: RSASSA_PSS,
        parameters: Some(Any::encode_from(&parameters).ok()?),
    })
}
