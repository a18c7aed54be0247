//! PINs that were refused to this process, and one login at a time.
//!
//! A program that opens its client in a loop until it works would lock the HSM within seconds. What
//! is kept here tells a PIN from others whatever source it comes from; it never leaves the memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use aws_lc_rs::{digest, rand};
use cryptoki::session::UserType;
use secrecy::{ExposeSecret, SecretString};

use super::Identity;
use super::error::PinError;
use crate::poison::IgnorePoison as _;
use crate::token::fault::Fault;

/// One login at a time per token, whoever asks.
pub(super) fn flight(token: &Identity) -> Arc<Mutex<()>> {
    static FLIGHTS: Mutex<BTreeMap<Identity, Arc<Mutex<()>>>> = Mutex::new(BTreeMap::new());
    let mut flights = FLIGHTS.lock().ignore_poison();
    Arc::clone(flights.entry(token.clone()).or_default())
}

/// How long another login of this process is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// Takes the flight, or gives up: a login that hangs in the module must not hang all others.
pub(super) fn in_time(flight: &Mutex<()>) -> Result<MutexGuard<'_, ()>, PinError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match flight.try_lock() {
            Ok(guard) => return Ok(guard),
            Err(TryLockError::Poisoned(poisoned)) => return Ok(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) if Instant::now() >= deadline => {
                return Err(PinError::Busy {
                    lock: None,
                    seconds: PATIENCE.as_secs(),
                });
            }
            // There is no wait for a lock with a time limit.
            Err(TryLockError::WouldBlock) => thread::park_timeout(Duration::from_micros(200)),
        }
    }
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
    REFUSED.lock().ignore_poison()
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
