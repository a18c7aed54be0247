//! A timeout for PKCS#11 calls, which have none of their own: C_Initialize and C_Login may wait for an HSM without an end.
//! Signatures have the engine's deadline instead.

use std::fmt::{self, Display};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use tracing::Span;

use super::TokenError;
use super::fault::Fault;

/// A step before the first signature, or of an audit. The error of its timeout names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenOperation {
    /// dlopen and C_Initialize
    Module,
    /// C_GetSlotList, C_GetTokenInfo, C_GetMechanismList
    Token,
    /// C_OpenSession and C_Login
    Login,
    /// C_FindObjects and C_GetAttributeValue
    Key,
    /// C_GenerateKeyPair, all tries of it.
    KeyGeneration,
    /// The audit's calls.
    Audit,
}

impl Display for TokenOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Module => "loading the module",
            Self::Token => "the search for the token",
            Self::Login => "the login",
            Self::Key => "the search for the key",
            Self::KeyGeneration => "the generation of the key pair",
            Self::Audit => "what the audit asks of the token",
        })
    }
}

/// Runs `work` on a thread of its own and waits for it, at most for `timeout`. A call that hangs keeps its thread until the
/// process ends.
pub fn with_timeout<T, E>(
    operation: TokenOperation,
    timeout: Duration,
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, E>
where
    T: Send + 'static,
    E: From<TokenError> + Send + 'static,
{
    let (sender, receiver) = sync_channel(1);
    let span = Span::current();
    let spawned = thread::Builder::new()
        .name("hsm-start".to_owned())
        .spawn(move || {
            // It fails after the timeout: the receiver was dropped.
            let _ = sender.send(span.in_scope(work));
        });
    let thread = spawned.map_err(|error| {
        TokenError::Call(Fault::answer(format!("no thread for {operation}: {error}")))
    })?;
    match receiver.recv_timeout(timeout) {
        Ok(result) => {
            // No thread may be inside the module if the process ends next.
            drop(thread.join());
            result
        }
        Err(RecvTimeoutError::Timeout) => Err(TokenError::NoAnswer {
            during: operation,
            after: timeout,
        }
        .into()),
        Err(RecvTimeoutError::Disconnected) => match thread.join() {
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(()) => {
                Err(TokenError::Call(Fault::answer(format!("{operation} gave no answer"))).into())
            }
        },
    }
}
