//! The trait of all errors of this crate: advice, exit code, and whether the cause is transient. Each module implements it
//! for its own error; the trait depends on none of them.

use std::error::Error;

use crate::exit_code::ExitCode;

/// An error with advice for the operator.
///
/// Its message (`Display`) says what is wrong, and [`Diagnostic::hint`] what to do about it.
pub trait Diagnostic: Error {
    /// What to do next: one line of English text, without a full stop at its end.
    fn hint(&self) -> String;

    /// The exit code of a command that fails with this error.
    fn exit_code(&self) -> ExitCode;

    /// Whether the cause may pass without a change of the configuration, so that a service should retry later instead
    /// of giving up: a token or network that is not available, a clock that is not set yet, a full disk, a program that
    /// does not return the PIN yet. As far as is known, a transient error has used up none of the token's login attempts.
    fn is_transient(&self) -> bool {
        matches!(self.exit_code(), ExitCode::Token | ExitCode::Network)
    }
}
