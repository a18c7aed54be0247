//! Salted digests of the PINs that a token refused to this process, in memory only.
//!
//! A program that opens its client in a loop until it works would lock the HSM within seconds. The digests recognise a
//! refused PIN from any source. They are never written to a file: what is kept on disk is in `refused_pin_versions`.

use std::sync::{Mutex, MutexGuard, OnceLock};

use aws_lc_rs::{digest, rand};
use cryptoki::session::UserType;
use secrecy::{ExposeSecret, SecretString};

use crate::poison::IgnorePoison as _;
use crate::token::description::TokenId;
use crate::token::fault::Fault;

/// A salted digest of a PIN, for one token, role and user name.
#[derive(PartialEq, Eq)]
pub(super) struct PinDigest {
    token: TokenId,
    so: bool,
    user_name: Option<String>,
    pin: [u8; 32],
}

static REFUSED: Mutex<Vec<(PinDigest, Fault)>> = Mutex::new(Vec::new());

fn refused() -> MutexGuard<'static, Vec<(PinDigest, Fault)>> {
    REFUSED.lock().ignore_poison()
}

impl PinDigest {
    pub(super) fn new(
        pin: &SecretString,
        user: UserType,
        user_name: Option<&str>,
        token: &TokenId,
    ) -> Self {
        // Each process has another salt, so that no table of digests reveals a PIN.
        static SALT: OnceLock<[u8; 32]> = OnceLock::new();
        let salt = SALT.get_or_init(|| {
            let mut salt = [0; 32];
            // If there is no randomness, the digests still distinguish PINs.
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
            user_name: user_name.map(str::to_owned),
            pin: digest,
        }
    }

    /// The token's earlier refusal of this PIN to this process.
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
