//! PINs that were refused to this process, and one login at a time.
//!
//! A program that opens its client in a loop until it works would lock the HSM within seconds. What
//! is kept here tells a PIN from others whatever source it comes from; it never leaves the memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use aws_lc_rs::{digest, rand};
use cryptoki::session::UserType;
use secrecy::{ExposeSecret, SecretString};

use super::Identity;
use crate::token::fault::Fault;

/// One login at a time per token, whoever asks.
pub(super) fn flight(token: &Identity) -> Arc<Mutex<()>> {
    static FLIGHTS: Mutex<BTreeMap<Identity, Arc<Mutex<()>>>> = Mutex::new(BTreeMap::new());
    let mut flights = FLIGHTS.lock().unwrap_or_else(PoisonError::into_inner);
    Arc::clone(flights.entry(token.clone()).or_default())
}

/// Which PIN was refused by which token: enough to know it again, useless to anybody else.
#[derive(PartialEq, Eq)]
pub(super) struct Mark {
    token: Identity,
    so: bool,
    pin: [u8; 32],
}

static REFUSED: Mutex<Vec<(Mark, Fault)>> = Mutex::new(Vec::new());

fn refused() -> MutexGuard<'static, Vec<(Mark, Fault)>> {
    REFUSED.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Mark {
    pub(super) fn of(pin: &SecretString, user: UserType, token: &Identity) -> Self {
        // Hashed with a salt of this process: the memory holds nothing to guess a PIN from later.
        static SALT: OnceLock<[u8; 32]> = OnceLock::new();
        let salt = SALT.get_or_init(|| {
            let mut salt = [0; 32];
            // Without randomness the marks still tell PINs apart.
            let _ = rand::fill(&mut salt);
            salt
        });
        let mut hash = digest::Context::new(&digest::SHA256);
        hash.update(salt);
        hash.update(pin.expose_secret().as_bytes());
        let mut marked = [0; 32];
        marked.copy_from_slice(hash.finish().as_ref());
        Self {
            token: token.clone(),
            so: matches!(user, UserType::So),
            pin: marked,
        }
    }

    /// The token's refusal, if it refused this PIN to this process.
    pub(super) fn refused_before(&self) -> Option<Fault> {
        let refused = refused();
        let found = refused.iter().find(|(known, _)| known == self);
        found.map(|(_, fault)| fault.clone())
    }

    pub(super) fn remember(self, fault: Fault) {
        refused().push((self, fault));
    }
}
