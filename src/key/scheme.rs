//! Key algorithms and signature schemes: their names in TLS and X.509, and the algorithm that verifies them.

use std::fmt::{self, Display};

use aws_lc_rs::digest;
use aws_lc_rs::signature::{self, VerificationAlgorithm};
use der::asn1::ObjectIdentifier;

/// The algorithm of a key pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyAlgorithm {
    /// RSA with a modulus of this length.
    Rsa {
        /// Length of the modulus in bits.
        bits: usize,
    },
    /// ECDSA on secp256r1.
    EcP256,
    /// ECDSA on secp384r1.
    EcP384,
    /// ECDSA on secp521r1.
    EcP521,
    /// EdDSA on edwards25519 (RFC 8032).
    Ed25519,
}

impl KeyAlgorithm {
    /// Every scheme that the key can sign with, preferred first. RSA-PSS precedes PKCS#1 v1.5: TLS 1.3 allows no other,
    /// and it is the better one in TLS 1.2.
    pub fn schemes(self) -> &'static [Scheme] {
        match self {
            Self::Rsa { .. } => &[
                Scheme::RsaPssSha256,
                Scheme::RsaPssSha384,
                Scheme::RsaPssSha512,
                Scheme::RsaPkcs1Sha256,
                Scheme::RsaPkcs1Sha384,
                Scheme::RsaPkcs1Sha512,
            ],
            Self::EcP256 => &[Scheme::EcdsaP256Sha256],
            Self::EcP384 => &[Scheme::EcdsaP384Sha384],
            Self::EcP521 => &[Scheme::EcdsaP521Sha512],
            Self::Ed25519 => &[Scheme::Ed25519],
        }
    }

    /// The key size, in the unit of a mechanism's ulMinKeySize and ulMaxKeySize.
    pub fn bits(self) -> usize {
        match self {
            Self::Rsa { bits } => bits,
            Self::EcP256 => 256,
            Self::EcP384 => 384,
            Self::EcP521 => 521,
            Self::Ed25519 => 255,
        }
    }

    /// The length of one coordinate in bytes, and of r and s in a signature; `None` if the algorithm is not ECDSA.
    pub fn field_len(self) -> Option<usize> {
        match self {
            Self::EcP256 => Some(32),
            Self::EcP384 => Some(48),
            Self::EcP521 => Some(66),
            Self::Rsa { .. } | Self::Ed25519 => None,
        }
    }

    /// The CKM_ name of the preferred signing mechanism.
    pub(crate) fn mechanism_name(self) -> &'static str {
        match self {
            Self::Rsa { .. } => "CKM_RSA_PKCS_PSS",
            Self::EcP256 | Self::EcP384 | Self::EcP521 => "CKM_ECDSA",
            Self::Ed25519 => "CKM_EDDSA",
        }
    }

    /// The size of C_Sign's output buffer, in bytes. For ECDSA it is large enough for DER, which some modules return.
    pub fn signature_capacity(self) -> usize {
        match self {
            Self::Rsa { bits } => bits.div_ceil(8),
            Self::EcP256 | Self::EcP384 | Self::EcP521 => 2 * self.bits().div_ceil(8) + 16,
            Self::Ed25519 => 64,
        }
    }
}

impl Display for KeyAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rsa { bits } => write!(f, "RSA-{bits}"),
            Self::EcP256 => f.write_str("P-256"),
            Self::EcP384 => f.write_str("P-384"),
            Self::EcP521 => f.write_str("P-521"),
            Self::Ed25519 => f.write_str("Ed25519"),
        }
    }
}

/// The hash of a scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hash {
    /// SHA-256
    Sha256,
    /// SHA-384
    Sha384,
    /// SHA-512
    Sha512,
}

impl Hash {
    /// Hashes a message.
    pub fn digest(self, message: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        };
        digest::digest(algorithm, message).as_ref().to_vec()
    }

    /// Length in bytes.
    pub fn output_len(self) -> u8 {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    /// The DER bytes before the hash in a DigestInfo (RFC 8017, section 9.2, note 1).
    pub fn digest_info_prefix(self) -> [u8; 19] {
        let (algorithm, len) = match self {
            Self::Sha256 => (1, 32),
            Self::Sha384 => (2, 48),
            Self::Sha512 => (3, 64),
        };
        [
            0x30,
            17 + len,
            0x30,
            0x0d,
            0x06,
            0x09,
            0x60,
            0x86,
            0x48,
            0x01,
            0x65,
            0x03,
            0x04,
            0x02,
            algorithm,
            0x05,
            0x00,
            0x04,
            len,
        ]
    }
}

/// A signature scheme of TLS (RFC 8446, section 4.2.3), used for certificate requests too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// rsa_pkcs1_sha256
    RsaPkcs1Sha256,
    /// rsa_pkcs1_sha384
    RsaPkcs1Sha384,
    /// rsa_pkcs1_sha512
    RsaPkcs1Sha512,
    /// rsa_pss_rsae_sha256
    RsaPssSha256,
    /// rsa_pss_rsae_sha384
    RsaPssSha384,
    /// rsa_pss_rsae_sha512
    RsaPssSha512,
    /// ecdsa_secp256r1_sha256
    EcdsaP256Sha256,
    /// ecdsa_secp384r1_sha384
    EcdsaP384Sha384,
    /// ecdsa_secp521r1_sha512
    EcdsaP521Sha512,
    /// ed25519
    Ed25519,
}

impl Scheme {
    /// The name in the IANA registry.
    pub fn name(self) -> &'static str {
        match self {
            Self::RsaPkcs1Sha256 => "rsa_pkcs1_sha256",
            Self::RsaPkcs1Sha384 => "rsa_pkcs1_sha384",
            Self::RsaPkcs1Sha512 => "rsa_pkcs1_sha512",
            Self::RsaPssSha256 => "rsa_pss_rsae_sha256",
            Self::RsaPssSha384 => "rsa_pss_rsae_sha384",
            Self::RsaPssSha512 => "rsa_pss_rsae_sha512",
            Self::EcdsaP256Sha256 => "ecdsa_secp256r1_sha256",
            Self::EcdsaP384Sha384 => "ecdsa_secp384r1_sha384",
            Self::EcdsaP521Sha512 => "ecdsa_secp521r1_sha512",
            Self::Ed25519 => "ed25519",
        }
    }

    /// The number in the IANA registry.
    pub(crate) fn number(self) -> u16 {
        match self {
            Self::RsaPkcs1Sha256 => 0x0401,
            Self::EcdsaP256Sha256 => 0x0403,
            Self::RsaPkcs1Sha384 => 0x0501,
            Self::EcdsaP384Sha384 => 0x0503,
            Self::RsaPkcs1Sha512 => 0x0601,
            Self::EcdsaP521Sha512 => 0x0603,
            Self::RsaPssSha256 => 0x0804,
            Self::RsaPssSha384 => 0x0805,
            Self::RsaPssSha512 => 0x0806,
            Self::Ed25519 => 0x0807,
        }
    }

    /// The OID of the signature algorithm in a certificate request (RFC 8017, RFC 5758, RFC 8410).
    pub(crate) fn x509_oid(self) -> Option<ObjectIdentifier> {
        let oid = match self {
            Self::RsaPkcs1Sha256 => "1.2.840.113549.1.1.11",
            Self::RsaPkcs1Sha384 => "1.2.840.113549.1.1.12",
            Self::RsaPkcs1Sha512 => "1.2.840.113549.1.1.13",
            Self::EcdsaP256Sha256 => "1.2.840.10045.4.3.2",
            Self::EcdsaP384Sha384 => "1.2.840.10045.4.3.3",
            Self::EcdsaP521Sha512 => "1.2.840.10045.4.3.4",
            Self::Ed25519 => "1.3.101.112",
            // id-RSASSA-PSS: hash and salt are in the parameters.
            Self::RsaPssSha256 | Self::RsaPssSha384 | Self::RsaPssSha512 => "1.2.840.113549.1.1.10",
        };
        ObjectIdentifier::new(oid).ok()
    }

    /// All schemes.
    pub const ALL: [Self; 10] = [
        Self::RsaPkcs1Sha256,
        Self::RsaPkcs1Sha384,
        Self::RsaPkcs1Sha512,
        Self::RsaPssSha256,
        Self::RsaPssSha384,
        Self::RsaPssSha512,
        Self::EcdsaP256Sha256,
        Self::EcdsaP384Sha384,
        Self::EcdsaP521Sha512,
        Self::Ed25519,
    ];

    /// Whether TLS 1.3 allows it in a CertificateVerify: all but RSA with PKCS#1 v1.5.
    pub fn in_tls13(self) -> bool {
        !matches!(
            self,
            Self::RsaPkcs1Sha256 | Self::RsaPkcs1Sha384 | Self::RsaPkcs1Sha512
        )
    }

    /// The hash; `None` for EdDSA, which signs the message itself.
    pub fn hash(self) -> Option<Hash> {
        match self {
            Self::RsaPkcs1Sha256 | Self::RsaPssSha256 | Self::EcdsaP256Sha256 => Some(Hash::Sha256),
            Self::RsaPkcs1Sha384 | Self::RsaPssSha384 | Self::EcdsaP384Sha384 => Some(Hash::Sha384),
            Self::RsaPkcs1Sha512 | Self::RsaPssSha512 | Self::EcdsaP521Sha512 => Some(Hash::Sha512),
            Self::Ed25519 => None,
        }
    }

    /// The algorithm that verifies its signatures.
    pub(crate) fn verification(self) -> &'static dyn VerificationAlgorithm {
        match self {
            Self::RsaPkcs1Sha256 => &signature::RSA_PKCS1_2048_8192_SHA256,
            Self::RsaPkcs1Sha384 => &signature::RSA_PKCS1_2048_8192_SHA384,
            Self::RsaPkcs1Sha512 => &signature::RSA_PKCS1_2048_8192_SHA512,
            Self::RsaPssSha256 => &signature::RSA_PSS_2048_8192_SHA256,
            Self::RsaPssSha384 => &signature::RSA_PSS_2048_8192_SHA384,
            Self::RsaPssSha512 => &signature::RSA_PSS_2048_8192_SHA512,
            Self::EcdsaP256Sha256 => &signature::ECDSA_P256_SHA256_ASN1,
            Self::EcdsaP384Sha384 => &signature::ECDSA_P384_SHA384_ASN1,
            Self::EcdsaP521Sha512 => &signature::ECDSA_P521_SHA512_ASN1,
            Self::Ed25519 => &signature::ED25519,
        }
    }
}

impl Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
