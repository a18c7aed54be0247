//! The random numbers of a handshake: new ones in its first run, the same again in its second.

use std::sync::LazyLock;

use rustls::crypto::{CryptoProvider, GetRandomFailed, SecureRandom, aws_lc_rs};

use super::current;
use super::key_exchange::recorded_group;

static RANDOM: LazyLock<RecordedRandom> =
    LazyLock::new(|| RecordedRandom(aws_lc_rs::default_provider().secure_random));

/// The same provider, whose handshakes can have a second run.
pub(in super::super) fn recorded(mut provider: CryptoProvider) -> CryptoProvider {
    for group in &mut provider.kx_groups {
        *group = recorded_group(*group);
    }
    provider.secure_random = &*RANDOM;
    provider
}

#[derive(Debug)]
struct RecordedRandom(&'static dyn SecureRandom);

impl SecureRandom for RecordedRandom {
    fn fill(&self, into: &mut [u8]) -> Result<(), GetRandomFailed> {
        let Some(replay) = current() else {
            return self.0.fill(into);
        };
        let mut state = replay.lock();
        if !state.is_second() {
            self.0.fill(into)?;
            state.random.push_back(into.to_vec());
            return Ok(());
        }
        match state.random.pop_front() {
            Some(recorded) if recorded.len() == into.len() => {
                into.copy_from_slice(&recorded);
                Ok(())
            }
            Some(_) => {
                state.differs = true;
                Err(GetRandomFailed)
            }
            // It goes on where the first has ended.
            None => self.0.fill(into),
        }
    }

    fn fips(&self) -> bool {
        self.0.fips()
    }
}
