//! A timeout for PKCS#11 calls, which have none of their own: C_Initialize and C_Login may wait for an HSM without an end.
//! Signatures have the engine's deadline instead.

use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use tracing::Span;

use super::TokenError;
use super::fault::Fault;
use super::operation::{AwaitedSteps, TokenOperation};

/// Runs `work` on a thread of its own and waits for it, at most for `timeout`. A call that hangs keeps its thread until the
/// process ends. The error names the step in which it hangs, which `work` may have begun after `operation`.
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
    let steps = AwaitedSteps::new(operation);
    let of_thread = steps.clone();
    let spawned = thread::Builder::new()
        .name("hsm-start".to_owned())
        .spawn(move || {
            let _in_progress = of_thread.begin();
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
            during: steps.give_up(),
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
