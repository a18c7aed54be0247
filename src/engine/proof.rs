//! Proof of possession: a random challenge that the key signs.

use std::time::Duration;

use aws_lc_rs::rand;

use super::{EngineError, Peer, Purpose, Sign, SignRequest};
use crate::key::scheme::Scheme;

/// The first bytes of a challenge. They distinguish it from the messages of all other protocols.
const PROOF_CONTEXT: &[u8] = b"hsm-mtls proof of possession\0";
/// The number of random bytes in a challenge.
const NONCE_LEN: usize = 32;

/// Whether a message is a challenge of [`challenge`].
pub(crate) fn is_challenge(message: &[u8]) -> bool {
    let nonce = message.strip_prefix(PROOF_CONTEXT);
    nonce.is_some_and(|nonce| nonce.len() == NONCE_LEN)
}

/// Proof of possession: a random challenge, signed by the key and verified with its public key.
///
/// # Errors
/// There is no signature, or it is another key's ([`EngineError::NotThePair`]).
pub fn prove(signer: &dyn Sign) -> Result<Duration, EngineError> {
    challenge(signer, Purpose::Proof).map_err(|error| match error.class() {
        // By its class, because an error of the signer process is reported as text.
        "wrong-signature" => EngineError::NotThePair {
            uri: signer.key_uri(),
        },
        _ => error,
    })
}

/// Signs one random challenge with the preferred scheme; returns how long that took.
///
/// # Errors
/// There is no verified signature.
pub fn challenge(signer: &dyn Sign, purpose: Purpose) -> Result<Duration, EngineError> {
    let scheme = *signer.schemes().first().ok_or(EngineError::Stopped)?;
    challenge_by(signer, scheme, purpose)
}

/// Signs one random challenge by this scheme; returns how long that took.
///
/// # Errors
/// There is no verified signature.
pub fn challenge_by(
    signer: &dyn Sign,
    scheme: Scheme,
    purpose: Purpose,
) -> Result<Duration, EngineError> {
    let message = random_challenge()?;
    let request = request(signer, &message, scheme, purpose);
    signer.sign(&request).map(|signature| signature.elapsed)
}

/// [`challenge`], awaited.
///
/// # Errors
/// As [`challenge`].
#[cfg(feature = "front-end")]
pub(crate) async fn challenge_async(
    signer: &dyn Sign,
    purpose: Purpose,
) -> Result<Duration, EngineError> {
    let scheme = *signer.schemes().first().ok_or(EngineError::Stopped)?;
    let message = random_challenge()?;
    let request = request(signer, &message, scheme, purpose);
    let signature = signer.sign_async(&request).await;
    signature.map(|signature| signature.elapsed)
}

fn random_challenge() -> Result<Vec<u8>, EngineError> {
    let mut message = PROOF_CONTEXT.to_vec();
    let mut nonce = [0; NONCE_LEN];
    rand::fill(&mut nonce).map_err(|_| EngineError::NoRandom)?;
    message.extend_from_slice(&nonce);
    Ok(message)
}

fn request<'a>(
    signer: &dyn Sign,
    message: &'a [u8],
    scheme: Scheme,
    purpose: Purpose,
) -> SignRequest<'a> {
    SignRequest {
        message,
        scheme,
        purpose,
        deadline: signer.deadline(),
        peer: Peer::default(),
    }
}
