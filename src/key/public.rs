//! A public key as SubjectPublicKeyInfo: read from DER or from CKA_ attributes, compared byte for byte, and used to
//! verify signatures.

use std::fmt;

use aws_lc_rs::signature::UnparsedPublicKey;
use der::asn1::{Any, BitString, Null, ObjectIdentifier, OctetString, UintRef};
use der::{Decode, Encode, Sequence};
use spki::{AlgorithmIdentifier, SubjectPublicKeyInfo};

use super::scheme::{KeyAlgorithm, Scheme};
use super::unsupported::{RSA_BITS, UnsupportedKey};
use crate::config::trust::Fingerprint;

const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// GnuPG's OID of Ed25519, which some tokens report.
const ED25519_OF_GNUPG: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.11591.15.1");

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
    // The contents of the BIT STRING subjectPublicKey, which verification needs.
    bits: Vec<u8>,
    algorithm: KeyAlgorithm,
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({} {})", self.algorithm, self.fingerprint())
    }
}

pub(crate) type Spki = SubjectPublicKeyInfo<Any, BitString>;

#[derive(Sequence)]
struct RsaPublicKey<'a> {
    modulus: UintRef<'a>,
    exponent: UintRef<'a>,
}

impl PublicKey {
    /// Reads a DER SubjectPublicKeyInfo.
    ///
    /// # Errors
    /// The bytes are no SubjectPublicKeyInfo, or the key is of a kind or size that is not supported.
    pub fn from_spki(der: &[u8]) -> Result<Self, UnsupportedKey> {
        let unreadable = || UnsupportedKey::named("a public key that cannot be read");
        let spki = Spki::from_der(der).map_err(|_| unreadable())?;
        let bits = spki.subject_public_key.as_bytes().ok_or_else(unreadable)?;
        let algorithm = match spki.algorithm.oid {
            RSA_ENCRYPTION => {
                let key = RsaPublicKey::from_der(bits).map_err(|_| unreadable())?;
                rsa(&key)?
            }
            EC_PUBLIC_KEY => {
                let parameters = spki.algorithm.parameters.as_ref();
                let named = parameters.and_then(|curve| curve.decode_as().ok());
                curve(named.ok_or_else(unnamed_curve)?)?
            }
            ED25519 => KeyAlgorithm::Ed25519,
            other => return Err(UnsupportedKey::of_oid(other)),
        };
        Ok(Self {
            spki: der.to_vec(),
            bits: bits.to_vec(),
            algorithm,
        })
    }

    /// From CKA_MODULUS and CKA_PUBLIC_EXPONENT, big-endian; leading zeros are ignored.
    pub fn from_rsa(modulus: &[u8], exponent: &[u8]) -> Result<Self, UnsupportedKey> {
        let unreadable = || UnsupportedKey::named("RSA with a modulus or exponent of no bytes");
        let key = RsaPublicKey {
            modulus: UintRef::new(modulus).map_err(|_| unreadable())?,
            exponent: UintRef::new(exponent).map_err(|_| unreadable())?,
        };
        let bits = key.to_der().map_err(|_| unreadable())?;
        Self::assemble(RSA_ENCRYPTION, Some(Any::from(Null)), &bits)
    }

    /// From CKA_EC_PARAMS and CKA_EC_POINT. The point is an OCTET STRING by the standard, and some modules return its
    /// contents without the tag. The curve of an Edwards key is an OID or, before PKCS#11 3.0, a name.
    pub fn from_ec(params: &[u8], point: &[u8]) -> Result<Self, UnsupportedKey> {
        let algorithm = ec_algorithm(params)?;
        let length = algorithm.field_len().map_or(32, |field| 2 * field + 1);
        // An uncompressed point without a tag begins with 04, which is also the tag of an OCTET STRING, and one point in 256
        // can be parsed as one: so the length decides.
        let unwrapped = OctetString::from_der(point).ok();
        let unwrapped = unwrapped.as_ref().map(OctetString::as_bytes);
        let bits = [unwrapped, Some(point)]
            .into_iter()
            .flatten()
            .find(|bits| bits.len() == length)
            .ok_or_else(|| {
                UnsupportedKey::named(format!(
                    "{algorithm} with a CKA_EC_POINT that is no uncompressed point of the curve"
                ))
            })?;
        let curve: Result<ObjectIdentifier, _> = ObjectIdentifier::from_der(params);
        match (algorithm, curve) {
            (KeyAlgorithm::Ed25519, _) => Self::assemble(ED25519, None, bits),
            (_, Ok(curve)) => Self::assemble(EC_PUBLIC_KEY, Some(Any::from(curve)), bits),
            (_, Err(_)) => Err(unnamed_curve()),
        }
    }

    fn assemble(
        oid: ObjectIdentifier,
        parameters: Option<Any>,
        bits: &[u8],
    ) -> Result<Self, UnsupportedKey> {
        let der = BitString::from_bytes(bits).and_then(|subject_public_key| {
            let algorithm = AlgorithmIdentifier { oid, parameters };
            Spki {
                algorithm,
                subject_public_key,
            }
            .to_der()
        });
        let der = der.map_err(|_| UnsupportedKey::named("a public key that cannot be encoded"))?;
        Self::from_spki(&der)
    }

    /// The key's algorithm.
    pub fn algorithm(&self) -> KeyAlgorithm {
        self.algorithm
    }

    /// The DER SubjectPublicKeyInfo.
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// SHA-256 of the SubjectPublicKeyInfo, which identifies the key in logs and reports.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.spki)
    }

    /// The contents of the BIT STRING subjectPublicKey.
    pub(crate) fn bits(&self) -> &[u8] {
        &self.bits
    }

    /// Whether `signature`, in the form of TLS, is this key's signature of `message`.
    pub fn verifies(&self, scheme: Scheme, message: &[u8], signature: &[u8]) -> bool {
        self.algorithm.schemes().contains(&scheme)
            && UnparsedPublicKey::new(scheme.verification(), &self.bits)
                .verify(message, signature)
                .is_ok()
    }
}

/// The algorithm in CKA_EC_PARAMS: an OID or, for Edwards curves before PKCS#11 3.0, a PrintableString (section 2.3.10).
pub(crate) fn ec_algorithm(params: &[u8]) -> Result<KeyAlgorithm, UnsupportedKey> {
    match ObjectIdentifier::from_der(params) {
        Ok(ED25519 | ED25519_OF_GNUPG) => Ok(KeyAlgorithm::Ed25519),
        Ok(oid) => curve(oid),
        Err(_) => match params.get(2..).map(str::from_utf8) {
            Some(Ok("edwards25519")) => Ok(KeyAlgorithm::Ed25519),
            Some(Ok("edwards448")) => Err(UnsupportedKey::named("Ed448")),
            _ => Err(unnamed_curve()),
        },
    }
}

fn unnamed_curve() -> UnsupportedKey {
    UnsupportedKey::named("EC with a curve that is given by its parameters")
}

fn curve(oid: ObjectIdentifier) -> Result<KeyAlgorithm, UnsupportedKey> {
    CURVES
        .iter()
        .find_map(|(known, algorithm)| (*known == oid).then_some(*algorithm))
        .ok_or_else(|| UnsupportedKey::of_oid(oid))
}

fn rsa(key: &RsaPublicKey<'_>) -> Result<KeyAlgorithm, UnsupportedKey> {
    /// The limit of the library that verifies signatures. FIPS 186-5 allows up to 256 bits; 65537 is the usual exponent.
    const MAX_EXPONENT_BITS: usize = 33;
    let bits = modulus_bits(key.modulus.as_bytes());
    let exponent = modulus_bits(key.exponent.as_bytes());
    if !RSA_BITS.contains(&bits) {
        return Err(UnsupportedKey::rsa(bits));
    }
    if exponent > MAX_EXPONENT_BITS {
        return Err(UnsupportedKey::named(format!(
            "RSA-{bits} with a public exponent of {exponent} bits"
        )));
    }
    Ok(KeyAlgorithm::Rsa { bits })
}

fn modulus_bits(modulus: &[u8]) -> usize {
    modulus
        .first()
        .map_or(0, |top| modulus.len() * 8 - top.leading_zeros() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// secp256r1 in CKA_EC_PARAMS.
    const P256: &[u8] = b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";

    #[test]
    fn a_bare_point_that_parses_as_an_octet_string_is_not_unwrapped() {
        let mut bare = vec![0x04, 0x3f];
        bare.resize(65, 0x11);
        assert!(OctetString::from_der(&bare).is_ok(), "it parses");
        let wrapped = [&[0x04, 65], &bare[..]].concat();
        let key = PublicKey::from_ec(P256, &bare).unwrap();
        assert_eq!(key.bits, bare);
        assert_eq!(PublicKey::from_ec(P256, &wrapped), Ok(key));
        assert!(PublicKey::from_ec(P256, &bare[..64]).is_err());
    }

    #[test]
    fn an_edwards_curve_is_named_by_oid_or_by_string() {
        let point = [&[0x04, 32], &[7; 32][..]].concat();
        let by_oid = PublicKey::from_ec(b"\x06\x03\x2b\x65\x70", &point).unwrap();
        let by_name = PublicKey::from_ec(b"\x13\x0cedwards25519", &point).unwrap();
        assert_eq!(by_oid, by_name);
        let of_gnupg = b"\x06\x09\x2b\x06\x01\x04\x01\xda\x47\x0f\x01";
        assert_eq!(PublicKey::from_ec(of_gnupg, &point), Ok(by_name));
        assert_eq!(by_oid.algorithm(), KeyAlgorithm::Ed25519);
        assert_eq!(
            PublicKey::from_ec(b"\x06\x03\x2b\x65\x71", &point),
            Err(UnsupportedKey::named("Ed448"))
        );
    }
}
