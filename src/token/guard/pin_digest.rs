//! The PINs that a token refused to this process, in memory as salted digests.
//!
//! A program that opens its client in a loop until it works would lock the HSM within seconds. The digests recognise
//! a refused PIN whichever source it comes from, and are never written to a file.

use std::sync::{Mutex, MutexGuard, OnceLock};

use aws_lc_rs::{digest, rand};
use cryptoki::session::UserType;
use secrecy::{ExposeSecret, SecretString};

use crate::poison::IgnorePoison as _;
use crate::token::description::TokenId;
use crate::token::fault::Fault;

/// A salted digest of a PIN, for one token and role.
#[derive(PartialEq, Eq)]
pub(super) struct PinDigest {
    token: TokenId,
    so: bool,
    pin: [u8; 32],
}

static REFUSED: Mutex<Vec<(PinDigest, Fault)>> = Mutex::new(Vec::new());

fn refused() -> MutexGuard<'static, Vec<(PinDigest, Fault)>> {
    REFUSED.lock().ignore_poison()
}

impl PinDigest {
    pub(super) fn new(pin: &SecretString, user: UserType, token: &TokenId) -> Self {
        // The salt is this process's: nobody can guess a PIN from a digest that is found in memory later.
        static SALT: OnceLock<[u8; 32]> = OnceLock::new();
        let salt = SALT.get_or_init(|| {
            let mut salt = [0; 32];
            // Without randomness the digests still tell PINs apart.
            let _ = rand::fill(&mut salt);
            salt
        });
        let mut hash = digest::Context::new(&digest::SHA256);
        hash.update(salt);
        hash.update(pin.expose_secret().as_bytes());
        let mut digest = [0; 32];
        digest.copy_from_slice(hash.finish().as_ref());
        Self {
            token: token.clone(),
            so: matches!(user, UserType::So),
            pin: digest,
        }
    }

    /// The token's refusal of this PIN, if it refused it to this process before.
    pub(super) fn earlier_refusal(&self) -> Option<Fault> {
        let refused = refused();
        let found = refused.iter().find(|(known, _)| known == self);
        found.map(|(_, fault)| fault.clone())
    }

    /// Remembers that the token refused this PIN.
    pub(super) fn add_refusal(self, fault: Fault) {
        refused().push((self, fault));
    }
}
