//! How a scheme is made with PKCS#11: which mechanism, with which parameters, over which bytes.
//!
//! The hash is made in this process and the raw mechanism used where the token has it: tokens with
//! hashing mechanisms limit the size of what they hash, TLS 1.2 signs a whole transcript, and
//! p11-kit's remoting does not pass the hashing PSS mechanisms at all.

use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsPssParams};
use cryptoki::mechanism::{Mechanism, MechanismType};

use super::scheme::{Hash, Scheme};

/// One way to make a scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Recipe {
    scheme: Scheme,
    /// Whether the token does the hashing.
    hashed_by_token: bool,
}

impl Recipe {
    /// The ways to make `scheme`, preferred first.
    pub(crate) fn of(scheme: Scheme) -> Vec<Self> {
        let by_token = |hashed_by_token| Self {
            scheme,
            hashed_by_token,
        };
        match scheme.hash() {
            Some(_) => vec![by_token(false), by_token(true)],
            None => vec![by_token(false)],
        }
    }

    /// The mechanism that the token must have.
    pub(crate) fn mechanism_type(self) -> MechanismType {
        self.mechanism().mechanism_type()
    }

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

    /// What C_Sign is given for `message`.
    pub(crate) fn input(self, message: &[u8]) -> Vec<u8> {
        use Scheme as S;
        match self.scheme.hash() {
            Some(hash) if !self.hashed_by_token => {
                let digest = hash.of(message);
                match self.scheme {
                    // CKM_RSA_PKCS pads what it is given; the DigestInfo is ours to make.
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

/// hashAlg names the hash itself (CKM_SHA256), not a signing mechanism, and the salt is as long as
/// the hash: what TLS requires (RFC 8446, section 4.2.3).
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
    fn the_hash_is_made_here_first_and_by_the_token_second() {
        let recipes = Recipe::of(Scheme::RsaPssSha256);
        let kinds: Vec<_> = recipes.iter().map(|r| r.mechanism_type()).collect();
        assert_eq!(
            kinds,
            [
                MechanismType::RSA_PKCS_PSS,
                MechanismType::SHA256_RSA_PKCS_PSS
            ]
        );
        assert_eq!(recipes[0].input(b"message"), Hash::Sha256.of(b"message"));
        assert_eq!(recipes[1].input(b"message"), b"message");
    }

    #[test]
    fn pss_names_the_hash_and_salts_with_its_length() {
        for (hash, kind) in [
            (Hash::Sha256, MechanismType::SHA256),
            (Hash::Sha384, MechanismType::SHA384),
            (Hash::Sha512, MechanismType::SHA512),
        ] {
            let params = pss(hash);
            assert_eq!(params.hash_alg, kind);
            assert_eq!(u64::from(params.s_len), u64::from(hash.output_len()));
        }
    }
}
