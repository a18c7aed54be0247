//! Names of keys whose kind or size is not supported, because signatures cannot be verified with them. So a key or
//! certificate that is only unsupported is not reported as damaged.

use std::fmt::{self, Display};

use der::asn1::ObjectIdentifier;

/// The keys that are supported, as text.
pub const SUPPORTED: &str = "RSA of 2048 to 8192 bits, P-256, P-384, P-521 and Ed25519";

/// The supported sizes of an RSA modulus, in bits.
pub(crate) const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// A kind or size of key that is not supported, by its name in its standard: `RSA-1024`, `secp256k1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsupportedKey(String);

impl Display for UnsupportedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl UnsupportedKey {
    /// A kind with this name.
    pub(crate) fn named(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// RSA with a modulus of an unsupported size.
    pub(crate) fn rsa(bits: usize) -> Self {
        Self(format!("RSA-{bits}"))
    }

    /// The OID of a curve, or of a SubjectPublicKeyInfo's algorithm.
    pub(crate) fn of_oid(oid: ObjectIdentifier) -> Self {
        let dotted = oid.to_string();
        let known = NAMES.iter().find(|(_, known)| *known == dotted);
        Self(known.map_or_else(
            || format!("the algorithm {dotted}"),
            |(name, _)| (*name).to_owned(),
        ))
    }
}

/// Curves (SEC 2, RFC 5639) and key algorithms, by the names that `openssl` and PKCS#11 tools show.
const NAMES: [(&str, &str); 30] = [
    ("P-192", "1.2.840.10045.3.1.1"),
    ("P-224", "1.3.132.0.33"),
    ("secp160r1", "1.3.132.0.8"),
    ("secp192k1", "1.3.132.0.31"),
    ("secp224k1", "1.3.132.0.32"),
    ("secp256k1", "1.3.132.0.10"),
    ("brainpoolP160r1", "1.3.36.3.3.2.8.1.1.1"),
    ("brainpoolP192r1", "1.3.36.3.3.2.8.1.1.3"),
    ("brainpoolP224r1", "1.3.36.3.3.2.8.1.1.5"),
    ("brainpoolP256r1", "1.3.36.3.3.2.8.1.1.7"),
    ("brainpoolP256t1", "1.3.36.3.3.2.8.1.1.8"),
    ("brainpoolP320r1", "1.3.36.3.3.2.8.1.1.9"),
    ("brainpoolP384r1", "1.3.36.3.3.2.8.1.1.11"),
    ("brainpoolP384t1", "1.3.36.3.3.2.8.1.1.12"),
    ("brainpoolP512r1", "1.3.36.3.3.2.8.1.1.13"),
    ("brainpoolP512t1", "1.3.36.3.3.2.8.1.1.14"),
    ("SM2", "1.2.156.10197.1.301"),
    ("DSA", "1.2.840.10040.4.1"),
    ("Diffie-Hellman", "1.2.840.113549.1.3.1"),
    ("X25519", "1.3.101.110"),
    ("X448", "1.3.101.111"),
    ("Ed448", "1.3.101.113"),
    ("RSA of the type id-RSASSA-PSS", "1.2.840.113549.1.1.10"),
    ("RSA of the type id-RSAES-OAEP", "1.2.840.113549.1.1.7"),
    ("GOST R 34.10-2001", "1.2.643.2.2.19"),
    ("GOST R 34.10-2012", "1.2.643.7.1.1.1.1"),
    ("ML-DSA-44", "2.16.840.1.101.3.4.3.17"),
    ("ML-DSA-65", "2.16.840.1.101.3.4.3.18"),
    ("ML-DSA-87", "2.16.840.1.101.3.4.3.19"),
    ("EC (id-ecDH)", "1.3.132.1.12"),
];
