//! The mechanisms that make a key pair of an algorithm (CKM_*_KEY_PAIR_GEN), preferred first, and the public template's
//! attributes for it.
//!
//! An HSM in a FIPS mode may not list CKM_RSA_PKCS_KEY_PAIR_GEN, or list it and refuse it: a Luna HSM makes RSA keys by FIPS
//! 186-3 there, other tokens by ANSI X9.31. The key is of the same kind whichever way its primes were found.

use cryptoki::object::Attribute;
use der::Encode;
use der::asn1::ObjectIdentifier;

use super::KeyError;
use super::scheme::KeyAlgorithm;
use crate::config::profile::Profile;
use crate::token::Token;

/// A mechanism of C_GenerateKeyPair, which takes no parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GenerationMechanism {
    /// Its CKM_ name.
    pub(super) name: &'static str,
    /// Its CK_MECHANISM_TYPE.
    pub(super) kind: u64,
}

const fn mechanism(name: &'static str, kind: u64) -> GenerationMechanism {
    GenerationMechanism { name, kind }
}

/// PKCS#11 3.1, sections 6.1.5 and 6.1.17
const RSA: [GenerationMechanism; 2] = [
    mechanism("CKM_RSA_PKCS_KEY_PAIR_GEN", 0x0000_0000),
    mechanism("CKM_RSA_X9_31_KEY_PAIR_GEN", 0x0000_000a),
];

/// Of Luna HSMs and Luna Cloud HSM, for which the values are CKM_VENDOR_DEFINED + 0x142 and + 0x143: Thales' `cryptoki_v2.h`, as published
/// with several of its clients; "RSA Mechanism Remap for FIPS Compliance" in Thales' documents has their use. Another
/// vendor's mechanisms may have the same values.
const LUNA: [GenerationMechanism; 2] = [
    mechanism("CKM_RSA_FIPS_186_3_PRIME_KEY_PAIR_GEN", 0x8000_0143),
    mechanism("CKM_RSA_FIPS_186_3_AUX_PRIME_KEY_PAIR_GEN", 0x8000_0142),
];

/// PKCS#11 3.1, section 6.3.5
const EC: GenerationMechanism = mechanism("CKM_EC_KEY_PAIR_GEN", 0x0000_1040);
/// PKCS#11 3.1, section 6.3.9
const EC_EDWARDS: GenerationMechanism = mechanism("CKM_EC_EDWARDS_KEY_PAIR_GEN", 0x0000_1055);

/// All mechanisms for an algorithm that tokens of this family have, preferred first.
fn candidates(algorithm: KeyAlgorithm, profile: Profile) -> Vec<GenerationMechanism> {
    match algorithm {
        KeyAlgorithm::Rsa { .. } if matches!(profile, Profile::Luna | Profile::Dpod) => {
            vec![RSA[0], LUNA[0], LUNA[1], RSA[1]]
        }
        KeyAlgorithm::Rsa { .. } => RSA.to_vec(),
        KeyAlgorithm::EcP256 | KeyAlgorithm::EcP384 | KeyAlgorithm::EcP521 => vec![EC],
        KeyAlgorithm::Ed25519 => vec![EC_EDWARDS],
    }
}

/// The mechanisms that the token says it makes such a key pair with, preferred first.
pub(super) fn listed(token: &Token, algorithm: KeyAlgorithm) -> Vec<GenerationMechanism> {
    let mut all = candidates(algorithm, token.profile());
    all.retain(|mechanism| token.mechanisms().can_generate(mechanism.kind));
    all
}

/// Size and exponent, or the curve: the public template's attributes for an algorithm.
pub(super) fn parameters(algorithm: KeyAlgorithm) -> Result<Vec<Attribute>, KeyError> {
    let oid = match algorithm {
        KeyAlgorithm::Rsa { bits } => {
            return Ok(vec![
                Attribute::ModulusBits((bits as u64).into()),
                Attribute::PublicExponent(vec![0x01, 0x00, 0x01]),
            ]);
        }
        KeyAlgorithm::EcP256 => "1.2.840.10045.3.1.7",
        KeyAlgorithm::EcP384 => "1.3.132.0.34",
        KeyAlgorithm::EcP521 => "1.3.132.0.35",
        KeyAlgorithm::Ed25519 => "1.3.101.112",
    };
    let params = ObjectIdentifier::new(oid)
        .ok()
        .and_then(|oid| oid.to_der().ok())
        .ok_or_else(|| KeyError::CannotGenerate(algorithm.to_string()))?;
    Ok(vec![Attribute::EcParams(params)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vendors_mechanisms_are_for_its_family_only() {
        let rsa = KeyAlgorithm::Rsa { bits: 2048 };
        let vendors = |profile| {
            candidates(rsa, profile)
                .iter()
                .any(|mechanism| mechanism.kind >= 0x8000_0000)
        };
        // Luna Cloud HSM has the Luna client's module.
        assert!(vendors(Profile::Luna) && vendors(Profile::Dpod));
        assert!(!vendors(Profile::Standard) && !vendors(Profile::Utimaco));
        for profile in [Profile::Luna, Profile::Standard] {
            let first = candidates(rsa, profile)[0];
            assert_eq!(first.name, "CKM_RSA_PKCS_KEY_PAIR_GEN");
        }
    }
}
