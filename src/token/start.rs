//! A deadline on what comes before the first signature. PKCS#11 has none: C_Initialize looks for an
//! HSM that does not answer for as long as the vendor's code likes, and so does C_Login.

use std::fmt::{self, Display};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use tracing::Span;

use super::TokenError;
use super::fault::Fault;

/// What is done before the first signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// dlopen and C_Initialize
    Module,
    /// C_GetSlotList, C_GetTokenInfo, C_GetMechanismList
    Token,
    /// C_OpenSession and C_Login
    Login,
    /// C_FindObjects and C_GetAttributeValue
    Key,
    /// What an audit asks and tries.
    Audit,
}

impl Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Module => "loading the module",
            Self::Token => "the search for the token",
            Self::Login => "the login",
            Self::Key => "the search for the key",
            Self::Audit => "what the audit asks of the token",
        })
    }
}

/// Does the work on a thread of its own, and waits so long for it. A call that hangs keeps its
/// thread: nothing can end it but the end of the process.
pub fn in_time<T, E>(
    during: Start,
    patience: Duration,
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, E>
where
    T: Send + 'static,
    E: From<TokenError> + Send + 'static,
{
    let (tell, told) = sync_channel(1);
    let span = Span::current();
    let spawned = thread::Builder::new()
        .name("hsm-start".to_owned())
        .spawn(move || {
            // Whoever waited may have gone.
            let _ = tell.send(span.in_scope(work));
        });
    let thread = spawned.map_err(|error| {
        TokenError::Call(Fault::answer(format!("no thread for {during}: {error}")))
    })?;
    match told.recv_timeout(patience) {
        Ok(result) => {
            // So that nobody is inside the module when the process ends next.
            drop(thread.join());
            result
        }
        Err(RecvTimeoutError::Timeout) => Err(TokenError::NoAnswer {
            during,
            after: patience,
        }
        .into()),
        Err(RecvTimeoutError::Disconnected) => match thread.join() {
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(()) => {
                Err(TokenError::Call(Fault::answer(format!("{during} gave no answer"))).into())
            }
        },
    }
}
