//! Lets a handshake wait for its signature without a thread that waits.
//!
//! rustls asks for the signature within a call, which has to return it; a token takes milliseconds, and hangs at times. So a
//! handshake has two runs. The first ends where rustls asks for the signature: the message to sign is kept, and the run fails.
//! Then the signature is awaited as an event. The second run gets the inputs of the first one again (random numbers, ephemeral
//! keys, the time, what the server sent) and so comes to the same message, for which the signature is ready.
//!
//! Only one of the two goes on. Until it asks, the first has sent nothing that is protected by keys: its ClientHello, and a second one
//! and a ChangeCipherSpec where the server's part comes in pieces. What the second run sends begins with the same bytes, which are
//! compared and not sent again. A second run that differs in any input or in the message
//! fails the handshake.

mod crypto_provider;
mod key_exchange;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use rustls::{Error, SignatureScheme};

use super::TlsError;
use super::signing_key::rustls_error;
use crate::key::scheme::Scheme;
use crate::poison::IgnorePoison as _;
use key_exchange::RecordedExchange;

pub(super) use crypto_provider::recorded as recorded_provider;

tokio::task_local! {
    static CURRENT: Arc<Replay>;
}

/// The inputs of one handshake.
#[derive(Debug, Default)]
pub(crate) struct Replay(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    run: Run,
    random: VecDeque<Vec<u8>>,
    times: VecDeque<UnixTime>,
    exchanges: VecDeque<Arc<RecordedExchange>>,
    server_proof: Option<ServerProof>,
    /// The second run has differed from the first.
    differs: bool,
}

#[derive(Debug, Default)]
enum Run {
    /// The first, until it asks for the signature.
    #[default]
    Recording,
    /// The first has ended with this message.
    AskedFor(WantedSignature),
    Second {
        asked_for: WantedSignature,
        signature: Vec<u8>,
    },
}

/// The signature that the first run asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WantedSignature {
    pub(crate) scheme: Scheme,
    pub(crate) message: Vec<u8>,
}

/// A signature by which the server has proved that it has the certificate's key.
#[derive(Debug, PartialEq, Eq)]
struct ServerProof {
    message: Vec<u8>,
    certificate: Vec<u8>,
    scheme: SignatureScheme,
    signature: Vec<u8>,
}

/// What a signer is to return.
pub(super) enum Answer {
    /// This handshake is not replayed: the signer signs.
    Sign,
    /// The first run ends here.
    EndRun,
    Signature(Vec<u8>),
}

impl Replay {
    /// Polls a run of the handshake, and makes it: a connection draws random numbers when it is made.
    pub(crate) async fn run<F: Future>(self: &Arc<Self>, handshake: F) -> F::Output {
        CURRENT.scope(Arc::clone(self), handshake).await
    }

    /// The signature with which the first run has ended.
    pub(crate) fn wanted(&self) -> Option<WantedSignature> {
        match &self.lock().run {
            Run::AskedFor(wanted) => Some(wanted.clone()),
            Run::Recording | Run::Second { .. } => None,
        }
    }

    /// Whether the first run has ended: nothing that it sends counts any more.
    pub(crate) fn has_asked(&self) -> bool {
        matches!(self.lock().run, Run::AskedFor(_))
    }

    /// The next run is the second.
    pub(crate) fn signed(&self, signature: Vec<u8>) {
        let mut state = self.lock();
        if let Run::AskedFor(asked_for) = std::mem::take(&mut state.run) {
            state.run = Run::Second {
                asked_for,
                signature,
            };
        }
    }

    /// Notes that the second run differs from the first.
    pub(crate) fn differs(&self) {
        self.lock().differs = true;
    }

    /// Why the second run failed, if it differed from the first.
    pub(crate) fn second_run_error(&self) -> Option<TlsError> {
        self.lock().differs.then(runs_differ)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().ignore_poison()
    }
}

impl State {
    fn is_second(&self) -> bool {
        matches!(self.run, Run::Second { .. })
    }
}

fn runs_differ() -> TlsError {
    TlsError::Setup("the second run of a handshake differs from the first".to_owned())
}

fn current() -> Option<Arc<Replay>> {
    CURRENT.try_with(Arc::clone).ok()
}

/// The signature of a message, which the second run has.
///
/// # Errors
/// The message is not that of the first run.
pub(super) fn signature(scheme: Scheme, message: &[u8]) -> Result<Answer, Error> {
    let Some(replay) = current() else {
        return Ok(Answer::Sign);
    };
    let mut state = replay.lock();
    let now = WantedSignature {
        scheme,
        message: message.to_vec(),
    };
    match &state.run {
        Run::Recording => {
            state.run = Run::AskedFor(now);
            Ok(Answer::EndRun)
        }
        Run::Second {
            asked_for,
            signature,
        } if *asked_for == now => Ok(Answer::Signature(signature.clone())),
        Run::AskedFor(_) | Run::Second { .. } => {
            state.differs = true;
            Err(rustls_error(runs_differ()))
        }
    }
}

/// Verifies the server's signature; in the second run, only that it is the one which was verified in the first.
///
/// # Errors
/// Those of `verify`.
pub(super) fn server_proof(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    scheme: SignatureScheme,
    signature: &[u8],
    verify: impl FnOnce() -> Result<HandshakeSignatureValid, Error>,
) -> Result<HandshakeSignatureValid, Error> {
    let Some(replay) = current() else {
        return verify();
    };
    let proof = ServerProof {
        message: message.to_vec(),
        certificate: certificate.to_vec(),
        scheme,
        signature: signature.to_vec(),
    };
    {
        let state = replay.lock();
        if state.is_second() && state.server_proof.as_ref() == Some(&proof) {
            return Ok(HandshakeSignatureValid::assertion());
        }
    }
    let valid = verify()?;
    replay.lock().server_proof = Some(proof);
    Ok(valid)
}

/// The time, which both runs have in common: a ticket's age depends on it.
#[derive(Debug)]
pub(super) struct RecordedTime;

impl TimeProvider for RecordedTime {
    fn current_time(&self) -> Option<UnixTime> {
        let Some(replay) = current() else {
            return DefaultTimeProvider.current_time();
        };
        let mut state = replay.lock();
        // After what the first run has seen, the time goes on.
        if state.is_second()
            && let Some(time) = state.times.pop_front()
        {
            return Some(time);
        }
        let now = DefaultTimeProvider.current_time()?;
        if !state.is_second() {
            state.times.push_back(now);
        }
        Some(now)
    }
}

#[cfg(test)]
#[path = "replay/tests.rs"]
mod tests;
