//! What every error of this crate says beside its message: the next step, how a command ends that fails with it, and
//! whether time alone may cure it. Each stage implements it for its own error; nothing here knows a stage.

use std::error::Error;

use crate::exit_code::ExitCode;

/// An error that carries its next step.
pub trait Diagnostic: Error {
    /// What to do next: one line for a person, without a full stop at its end.
    fn hint(&self) -> String;

    /// How a command ends that fails with this.
    fn exit_code(&self) -> ExitCode;

    /// Whether it may pass with time alone, also where its exit code says that somebody made a mistake: a
    /// clock that is not set yet, a disk that is full, a program that does not give the PIN yet. Nothing
    /// of it has cost a try of the PIN. Trying again later is right, and a service that gave up would be
    /// down for good.
    fn is_transient(&self) -> bool {
        // Token and network come back.
        matches!(self.exit_code(), ExitCode::Token | ExitCode::Network)
    }
}
