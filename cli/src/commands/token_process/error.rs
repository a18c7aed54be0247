//! Why the process that loads the PKCS#11 module did not end by itself.

use std::io;
use std::time::Duration;

use hsm_mtls::internal::diagnostic::Diagnostic;
use hsm_mtls::internal::exit_code::ExitCode;
use hsm_mtls::internal::token::TokenOperation;
use thiserror::Error;

/// The step that a process was in, or had been in last.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LastOperation {
    pub(super) operation: Option<TokenOperation>,
    pub(super) has_ended: bool,
    /// C_GenerateKeyPair may have made a key.
    pub(super) generated: bool,
}

impl LastOperation {
    pub(super) fn is_pin_at_stake(self) -> bool {
        !self.has_ended && self.operation.is_some_and(TokenOperation::is_pin_at_stake)
    }

    /// ` during the login (C_Login)`
    fn when(self) -> String {
        match (self.operation, self.has_ended) {
            // The child does not say when a signature has ended.
            (Some(operation @ TokenOperation::Signature), _) => {
                format!("; its last step was {operation}")
            }
            (Some(operation), false) => format!(" during {operation}"),
            (Some(operation), true) => format!(" after {operation}"),
            (None, _) => " before the module was loaded".to_owned(),
        }
    }
}

/// Why the process that loads the module did not end by itself.
#[derive(Debug, Error)]
pub(crate) enum TokenProcessError {
    #[error("the process that loads the PKCS#11 module cannot be started: {0}")]
    Start(io::Error),
    /// A signal that nobody sent: a crash.
    #[error("the process that loads the PKCS#11 module crashed ({signal}){}", last.when())]
    Crashed {
        /// `SIGSEGV`
        signal: String,
        last: LastOperation,
    },
    /// SIGKILL, SIGTERM or SIGHUP, which are never a crash.
    #[error("the process that loads the PKCS#11 module was killed ({signal}){}", last.when())]
    Killed {
        /// `SIGKILL`
        signal: String,
        last: LastOperation,
    },
    /// The module called exit, or the like.
    #[error("the PKCS#11 module ended its process with exit code {code}{}", last.when())]
    Exited { code: i32, last: LastOperation },
    #[error(
        "{} did not come to an end within {} s; the process that it hung in was ended",
        operation,
        after.as_secs_f64()
    )]
    Hung {
        operation: TokenOperation,
        after: Duration,
        last: LastOperation,
    },
    /// By the user, a second time, while C_Login was in progress.
    #[error("interrupted{}", last.when())]
    Interrupted { last: LastOperation },
}

impl TokenProcessError {
    fn last(&self) -> LastOperation {
        match self {
            Self::Start(_) => LastOperation::default(),
            Self::Crashed { last, .. }
            | Self::Killed { last, .. }
            | Self::Exited { last, .. }
            | Self::Hung { last, .. }
            | Self::Interrupted { last } => *last,
        }
    }
}

impl Diagnostic for TokenProcessError {
    fn hint(&self) -> String {
        let next = match self {
            Self::Start(_) => {
                "check that this user may start another process, and that /proc is mounted"
            }
            Self::Crashed { .. } | Self::Exited { .. } => {
                "that is most likely a fault of the vendor's library: look at its own log, and at its version; \
                 `hsm-mtls token check` shows how far it gets"
            }
            Self::Killed { .. } => {
                "a person or the kernel did that: look for `oom-kill` in the kernel's log"
            }
            Self::Hung { .. } => "look at the way to the HSM and at its client's own log",
            Self::Interrupted { .. } => "run the command again",
        };
        let last = self.last();
        if last.is_pin_at_stake() {
            return format!(
                "whether the token counted it as a wrong PIN is not known, so the same PIN is not sent again unasked; {next}"
            );
        }
        match last.generated {
            true => format!(
                "a key may have been made all the same: `hsm-mtls key list` shows it; {next}"
            ),
            false => next.to_owned(),
        }
    }

    fn exit_code(&self) -> ExitCode {
        match self {
            _ if self.last().is_pin_at_stake() => ExitCode::Pin,
            Self::Start(_) => ExitCode::Configuration,
            Self::Interrupted { .. } => ExitCode::Interrupted,
            _ => ExitCode::Token,
        }
    }
}
