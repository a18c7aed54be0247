//! The PKCS#11 mechanism for a signature scheme: its parameters, and the input of C_Sign.
//!
//! If the token has the raw mechanism, the message is hashed in this process: tokens limit the input of their hashing
//! mechanisms, TLS 1.2 signs a whole transcript, and p11-kit's remoting does not support the hashing PSS mechanisms.

use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsPssParams};
use cryptoki::mechanism::{Mechanism, MechanismType};

use super::scheme::{Hash, Scheme};

/// A mechanism that makes signatures of a scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SigningMechanism {
    scheme: Scheme,
    /// Whether C_Sign hashes the message (CKM_SHA256_RSA_PKCS) or takes its hash (CKM_RSA_PKCS).
    hashed_by_token: bool,
}

impl SigningMechanism {
    /// The mechanisms for a scheme, preferred first.
    pub(crate) fn candidates(scheme: Scheme) -> Vec<Self> {
        let candidate = |hashed_by_token| Self {
            scheme,
            hashed_by_token,
        };
        match scheme.hash() {
            Some(_) => vec![candidate(false), candidate(true)],
            None => vec![candidate(false)],
        }
    }

    /// Its CKM_ type.
    pub(crate) fn mechanism_type(self) -> MechanismType {
        self.mechanism().mechanism_type()
    }

    /// The mechanism with its parameters.
    pub(crate) fn mechanism(self) -> Mechanism<'static> {
        use Scheme as S;
        match (self.scheme, self.hashed_by_token) {
            (S::RsaPkcs1Sha256 | S::RsaPkcs1Sha384 | S::RsaPkcs1Sha512, false) => {
                Mechanism::RsaPkcs
            }
            (S::RsaPkcs1Sha256, true) => Mechanism::Sha256RsaPkcs,
            (S::RsaPkcs1Sha384, true) => Mechanism::Sha384RsaPkcs,
            (S::RsaPkcs1Sha512, true) => Mechanism::Sha512RsaPkcs,
            (S::RsaPssSha256, false) => Mechanism::RsaPkcsPss(pss(Hash::Sha256)),
            (S::RsaPssSha384, false) => Mechanism::RsaPkcsPss(pss(Hash::Sha384)),
            (S::RsaPssSha512, false) => Mechanism::RsaPkcsPss(pss(Hash::Sha512)),
            (S::RsaPssSha256, true) => Mechanism::Sha256RsaPkcsPss(pss(Hash::Sha256)),
            (S::RsaPssSha384, true) => Mechanism::Sha384RsaPkcsPss(pss(Hash::Sha384)),
            (S::RsaPssSha512, true) => Mechanism::Sha512RsaPkcsPss(pss(Hash::Sha512)),
            (S::EcdsaP256Sha256 | S::EcdsaP384Sha384 | S::EcdsaP521Sha512, false) => {
                Mechanism::Ecdsa
            }
            (S::EcdsaP256Sha256, true) => Mechanism::EcdsaSha256,
            (S::EcdsaP384Sha384, true) => Mechanism::EcdsaSha384,
            (S::EcdsaP521Sha512, true) => Mechanism::EcdsaSha512,
            (S::Ed25519, _) => Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Pure)),
        }
    }

    /// The input of C_Sign for a message.
    pub(crate) fn input(self, message: &[u8]) -> Vec<u8> {
        use Scheme as S;
        match self.scheme.hash() {
            Some(hash) if !self.hashed_by_token => {
                let digest = hash.digest(message);
                match self.scheme {
                    // CKM_RSA_PKCS only pads its input, which has to be a DigestInfo.
                    S::RsaPkcs1Sha256 | S::RsaPkcs1Sha384 | S::RsaPkcs1Sha512 => {
                        [&hash.digest_info_prefix()[..], &digest].concat()
                    }
                    _ => digest,
                }
            }
            _ => message.to_vec(),
        }
    }
}

/// CK_RSA_PKCS_PSS_PARAMS: hashAlg is the hash itself (CKM_SHA256), not a signing mechanism, and the salt is as long
/// as the hash, as TLS requires (RFC 8446, section 4.2.3).
fn pss(hash: Hash) -> PkcsPssParams {
    let (hash_alg, mgf) = match hash {
        Hash::Sha256 => (MechanismType::SHA256, PkcsMgfType::MGF1_SHA256),
        Hash::Sha384 => (MechanismType::SHA384, PkcsMgfType::MGF1_SHA384),
        Hash::Sha512 => (MechanismType::SHA512, PkcsMgfType::MGF1_SHA512),
    };
    PkcsPssParams {
        hash_alg,
        mgf,
        s_len: u64::from(hash.output_len()).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_raw_mechanism_is_preferred_to_the_hashing_one() {
        let candidates = SigningMechanism::candidates(Scheme::RsaPssSha256);
        let types: Vec<_> = candidates.iter().map(|r| r.mechanism_type()).collect();
        assert_eq!(
            types,
            [
                MechanismType::RSA_PKCS_PSS,
                MechanismType::SHA256_RSA_PKCS_PSS
            ]
        );
        assert_eq!(
            candidates[0].input(b"message"),
            Hash::Sha256.digest(b"message")
        );
        assert_eq!(candidates[1].input(b"message"), b"message");
    }

    #[test]
    fn pss_parameters_have_the_hash_and_a_salt_of_its_length() {
        for (hash, mechanism) in [
            (Hash::Sha256, MechanismType::SHA256),
            (Hash::Sha384, MechanismType::SHA384),
            (Hash::Sha512, MechanismType::SHA512),
        ] {
            let params = pss(hash);
            assert_eq!(params.hash_alg, mechanism);
            assert_eq!(u64::from(params.s_len), u64::from(hash.output_len()));
        }
    }
}
