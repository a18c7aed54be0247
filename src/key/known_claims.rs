//! What the modules of some families say of every key, whether it is true or not. The operator accepts that before a key is
//! made: afterwards nobody could tell a key that only says so from one that does so.

use super::KeyError;
use super::scheme::KeyAlgorithm;
use crate::config::profile::Profile;

/// A claim that is the same for every key of a family.
#[derive(Debug)]
struct KnownClaim {
    profile: Profile,
    of_rsa_only: bool,
    claim: &'static str,
}

static CLAIMS: [KnownClaim; 2] = [
    // Nitrokey/nethsm-pkcs11, pkcs11/src/backend/db/object.rs
    KnownClaim {
        profile: Profile::Nethsm,
        of_rsa_only: true,
        claim: "the module of a NetHSM says CKA_DECRYPT true of each RSA key, and CKA_LOCAL false of each key that was made in it",
    },
    // Microsoft's documents: attributes that the library supports, with their defaults; an inference from these.
    KnownClaim {
        profile: Profile::AzureCloudHsm,
        of_rsa_only: false,
        claim: "the module of Azure Cloud HSM says CKA_NEVER_EXTRACTABLE true also of keys that are extractable: it proves nothing of a key",
    },
];

/// Refuses a key whose claims are known to be wrong, unless that was accepted. Nothing is asked of the token.
pub(super) fn refuse_unless_accepted(
    profile: Profile,
    algorithm: KeyAlgorithm,
    is_accepted: bool,
) -> Result<(), KeyError> {
    let of_this_key = |known: &&KnownClaim| {
        known.profile == profile
            && (!known.of_rsa_only || matches!(algorithm, KeyAlgorithm::Rsa { .. }))
    };
    match CLAIMS.iter().find(of_this_key) {
        Some(known) if !is_accepted => Err(KeyError::KnownClaims { claim: known.claim }),
        _ => Ok(()),
    }
}
