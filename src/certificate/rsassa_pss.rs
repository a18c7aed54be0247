//! The parameters of RSASSA-PSS in X.509 (RFC 4055, section 3.1), of signatures and of keys. Any salt length is supported;
//! a different hash for MGF1 is not.

use aws_lc_rs::signature::{self as verification, RsaParameters, RsaPssSaltLength};
use der::Sequence;
use der::asn1::{Any, Null, ObjectIdentifier};
use spki::AlgorithmIdentifier;

use super::SignatureError;
use super::signature::unsupported;
use crate::key::scheme::Hash;

/// id-RSASSA-PSS, of keys and of signatures.
pub(crate) const RSASSA_PSS: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");
const MGF1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.8");

/// The parameters of RSASSA-PSS, with the same hash for MGF1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PssParams {
    pub(crate) hash: Hash,
    /// The salt length, in bytes.
    pub(crate) salt: u16,
}

/// The ASN.1 type RSASSA-PSS-params (RFC 4055, section 3.1). The defaults are for SHA-1.
#[derive(Sequence)]
struct RsassaPssParams {
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    hash: Option<AlgorithmIdentifier<Any>>,
    #[asn1(context_specific = "1", tag_mode = "EXPLICIT", optional = "true")]
    mask_generation: Option<AlgorithmIdentifier<Any>>,
    #[asn1(context_specific = "2", tag_mode = "EXPLICIT", optional = "true")]
    salt_length: Option<u16>,
    #[asn1(context_specific = "3", tag_mode = "EXPLICIT", optional = "true")]
    trailer: Option<u8>,
}

/// The default salt length: that of a SHA-1 hash, in bytes.
const DEFAULT_SALT_LENGTH: u16 = 20;

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

/// Parses the parameters.
///
/// # Errors
/// The parameters cannot be parsed, or are not supported.
pub(super) fn parse_parameters(parameters: Option<&Any>) -> Result<PssParams, SignatureError> {
    let parameters = parameters.and_then(|any| any.decode_as::<RsassaPssParams>().ok());
    let parameters =
        parameters.ok_or_else(|| unsupported("RSASSA-PSS with parameters that cannot be read"))?;
    const SHA1: SignatureError = SignatureError::Weak("RSASSA-PSS with SHA-1");
    let hash = parse_hash(parameters.hash.as_ref().ok_or(SHA1)?)?;
    let mask = parameters.mask_generation;
    // SHA-1 in MGF1 is not weak, but aws-lc-rs does not support a different hash there.
    let mask_hash = match &mask {
        None => None,
        Some(mask) if mask.oid == MGF1 => mask
            .parameters
            .as_ref()
            .and_then(|inner| inner.decode_as::<AlgorithmIdentifier<Any>>().ok())
            .and_then(|inner| parse_hash(&inner).ok()),
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
    Ok(PssParams {
        hash,
        salt: parameters.salt_length.unwrap_or(DEFAULT_SALT_LENGTH),
    })
}

fn parse_hash(algorithm: &AlgorithmIdentifier<Any>) -> Result<Hash, SignatureError> {
    const SHA1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.14.3.2.26");
    let known = HASHES.iter().find(|(oid, _)| *oid == algorithm.oid);
    match known {
        Some((_, hash)) => Ok(*hash),
        None if algorithm.oid == SHA1 => Err(SignatureError::Weak("RSASSA-PSS with SHA-1")),
        None => Err(unsupported(format!(
            "RSASSA-PSS with the hash {}",
            algorithm.oid
        ))),
    }
}

/// The verification algorithm of aws-lc-rs for these parameters.
pub(crate) fn pss_verifier(parameters: PssParams) -> RsaParameters {
    let by_hash = match parameters.hash {
        Hash::Sha256 => verification::RSA_PSS_2048_8192_SHA256,
        Hash::Sha384 => verification::RSA_PSS_2048_8192_SHA384,
        Hash::Sha512 => verification::RSA_PSS_2048_8192_SHA512,
    };
    by_hash.with_pss_salt_length(RsaPssSaltLength::Custom(parameters.salt))
}

/// The AlgorithmIdentifier of RSASSA-PSS with these parameters, encoded as in RFC 4055.
pub(crate) fn algorithm_identifier(parameters: PssParams) -> Option<AlgorithmIdentifier<Any>> {
    let (hash, _) = HASHES.iter().find(|(_, hash)| *hash == parameters.hash)?;
    let hash = AlgorithmIdentifier {
        oid: *hash,
        parameters: Some(Any::from(Null)),
    };
    let mask_generation = AlgorithmIdentifier {
        oid: MGF1,
        parameters: Some(Any::encode_from(&hash).ok()?),
    };
    let parameters = RsassaPssParams {
        hash: Some(hash),
        mask_generation: Some(mask_generation),
        // DER omits default values.
        salt_length: Some(parameters.salt).filter(|salt| *salt != DEFAULT_SALT_LENGTH),
        trailer: None,
    };
    Some(AlgorithmIdentifier {
        oid: RSASSA_PSS,
        parameters: Some(Any::encode_from(&parameters).ok()?),
    })
}
