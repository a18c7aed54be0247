//! The public half of a key: one SubjectPublicKeyInfo, compared byte for byte and used to verify.

use std::fmt;

use aws_lc_rs::signature::UnparsedPublicKey;
use der::asn1::{Any, BitString, Null, ObjectIdentifier, OctetString, UintRef};
use der::{Decode, Encode, Sequence};
use spki::{AlgorithmIdentifier, SubjectPublicKeyInfo};

use super::scheme::{KeyAlgorithm, Scheme};
use crate::config::trust::Fingerprint;

const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

const CURVES: [(ObjectIdentifier, KeyAlgorithm); 3] = [
    (
        ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7"),
        KeyAlgorithm::EcP256,
    ),
    (
        ObjectIdentifier::new_unwrap("1.3.132.0.34"),
        KeyAlgorithm::EcP384,
    ),
    (
        ObjectIdentifier::new_unwrap("1.3.132.0.35"),
        KeyAlgorithm::EcP521,
    ),
];

/// A public key as SubjectPublicKeyInfo (RFC 5280, section 4.1.2.7).
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    spki: Vec<u8>,
    // subjectPublicKey without its wrapping: what verification takes.
    bits: Vec<u8>,
    algorithm: KeyAlgorithm,
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({} {})", self.algorithm, self.fingerprint())
    }
}

type Spki = SubjectPublicKeyInfo<Any, BitString>;

#[derive(Sequence)]
struct RsaPublicKey<'a> {
    modulus: UintRef<'a>,
    exponent: UintRef<'a>,
}

impl PublicKey {
    /// Reads a DER SubjectPublicKeyInfo. `None` where it is none, or of a kind that is not
    /// supported.
    pub fn from_spki(der: &[u8]) -> Option<Self> {
        let spki = Spki::from_der(der).ok()?;
        let bits = spki.subject_public_key.as_bytes()?.to_vec();
        let parameters = || spki.algorithm.parameters.as_ref();
        let algorithm = match spki.algorithm.oid {
            RSA_ENCRYPTION => {
                let key = RsaPublicKey::from_der(&bits).ok()?;
                KeyAlgorithm::Rsa {
                    bits: modulus_bits(key.modulus.as_bytes()),
                }
            }
            EC_PUBLIC_KEY => curve(parameters()?.decode_as::<ObjectIdentifier>().ok()?)?,
            ED25519 => KeyAlgorithm::Ed25519,
            _ => return None,
        };
        Some(Self {
            spki: der.to_vec(),
            bits,
            algorithm,
        })
    }

    /// From CKA_MODULUS and CKA_PUBLIC_EXPONENT, big-endian; leading zeros do not matter.
    pub(crate) fn from_rsa(modulus: &[u8], exponent: &[u8]) -> Option<Self> {
        let key = RsaPublicKey {
            modulus: UintRef::new(modulus).ok()?,
            exponent: UintRef::new(exponent).ok()?,
        };
        Self::assemble(RSA_ENCRYPTION, Some(Any::from(Null)), &key.to_der().ok()?)
    }

    /// From CKA_EC_PARAMS and CKA_EC_POINT. The point is an OCTET STRING by the standard, and bare
    /// in some modules; the curve of an Edwards key is an OID or, before version 3, a name.
    pub(crate) fn from_ec(params: &[u8], point: &[u8]) -> Option<Self> {
        let curve_oid: Result<ObjectIdentifier, _> = ObjectIdentifier::from_der(params);
        let algorithm = match curve_oid {
            Ok(ED25519) => KeyAlgorithm::Ed25519,
            Ok(oid) => curve(oid)?,
            // PrintableString "edwards25519" (PKCS#11 3.0, section 2.3.10)
            Err(_) if params.get(2..) == Some(b"edwards25519") => KeyAlgorithm::Ed25519,
            Err(_) => return None,
        };
        let length = algorithm.field_len().map_or(32, |field| 2 * field + 1);
        // A bare uncompressed point begins with 04, which is an OCTET STRING's tag too, and one in
        // 256 then reads as one: so the length decides.
        let inner = OctetString::from_der(point).ok();
        let inner = inner.as_ref().map(OctetString::as_bytes);
        let bits = [inner, Some(point)]
            .into_iter()
            .flatten()
            .find(|bits| bits.len() == length)?;
        match algorithm {
            KeyAlgorithm::Ed25519 => Self::assemble(ED25519, None, bits),
            _ => Self::assemble(EC_PUBLIC_KEY, Some(Any::from(curve_oid.ok()?)), bits),
        }
    }

    fn assemble(oid: ObjectIdentifier, parameters: Option<Any>, bits: &[u8]) -> Option<Self> {
        let spki = Spki {
            algorithm: AlgorithmIdentifier { oid, parameters },
            subject_public_key: BitString::from_bytes(bits).ok()?,
        };
        Self::from_spki(&spki.to_der().ok()?)
    }

    /// What kind of key it is.
    pub fn algorithm(&self) -> KeyAlgorithm {
        self.algorithm
    }

    /// The DER SubjectPublicKeyInfo.
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// SHA-256 of the SubjectPublicKeyInfo: how two keys are told apart in logs and reports.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.spki)
    }

    /// Whether `signature`, in the form that TLS sends, is of this key over `message`.
    pub fn verifies(&self, scheme: Scheme, message: &[u8], signature: &[u8]) -> bool {
        self.algorithm.schemes().contains(&scheme)
            && UnparsedPublicKey::new(scheme.verification(), &self.bits)
                .verify(message, signature)
                .is_ok()
    }
}

fn curve(oid: ObjectIdentifier) -> Option<KeyAlgorithm> {
    // A curve that is not known is refused, never guessed.
    CURVES
        .iter()
        .find_map(|(known, algorithm)| (*known == oid).then_some(*algorithm))
}

fn modulus_bits(modulus: &[u8]) -> usize {
    modulus
        .first()
        .map_or(0, |top| modulus.len() * 8 - top.leading_zeros() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// secp256r1 as CKA_EC_PARAMS has it.
    const P256: &[u8] = b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";

    #[test]
    fn a_bare_point_that_looks_like_an_octet_string_is_taken_whole() {
        let mut bare = vec![0x04, 0x3f];
        bare.resize(65, 0x11);
        assert!(OctetString::from_der(&bare).is_ok(), "the trap");
        let wrapped = [&[0x04, 65], &bare[..]].concat();
        let key = PublicKey::from_ec(P256, &bare).unwrap();
        assert_eq!(key.bits, bare);
        assert_eq!(PublicKey::from_ec(P256, &wrapped), Some(key));
        assert_eq!(PublicKey::from_ec(P256, &bare[..64]), None);
    }

    #[test]
    fn an_edwards_curve_is_named_by_oid_or_by_word() {
        let point = [&[0x04, 32], &[7; 32][..]].concat();
        let by_oid = PublicKey::from_ec(b"\x06\x03\x2b\x65\x70", &point).unwrap();
        let by_name = PublicKey::from_ec(b"\x13\x0cedwards25519", &point).unwrap();
        assert_eq!(by_oid, by_name);
        assert_eq!(by_oid.algorithm(), KeyAlgorithm::Ed25519);
        assert_eq!(
            PublicKey::from_ec(b"\x06\x03\x2b\x65\x71", &point),
            None,
            "Ed448"
        );
    }
}
