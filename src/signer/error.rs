//! The errors of the signer process, its supervision and its reload: message, hint and exit code of each.

use std::fmt::Display;
use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::hardening::SYSTEM_CALL_FILTER;
use crate::certificate::CertificateError;
use crate::config::ConfigError;
use crate::config::pin::PinSource;
use crate::diagnostic::Diagnostic;
use crate::engine::EngineError;
use crate::exit_code::ExitCode;
use crate::identity::IdentityError;
use crate::ledger::LedgerError;
use crate::token::TokenError;

/// An error of the signer process, of its supervision or of a reload.
#[derive(Debug, Error)]
pub enum SignerError {
    /// The program could not be started.
    #[error("{} cannot be started: {why}", program.display())]
    Spawn {
        /// The program.
        program: PathBuf,
        /// Why.
        why: String,
    },
    /// The process that starts the others has ended.
    #[error("the process launcher has ended: it starts signer and front end")]
    LauncherEnded,
    /// A listening socket was closed by a process that had it.
    #[error("a listening socket was closed by the front end")]
    NotListening,
    /// The reader of the configuration ended without an answer.
    #[error("the process that reads the configuration ended: {status}")]
    ReaderEnded {
        /// How.
        status: String,
    },
    /// The configuration file was not read in time.
    #[error("the configuration was not read within {seconds} s")]
    ConfigurationUnread {
        /// The time that it may take.
        seconds: u64,
    },
    /// Descriptors or configuration could not be passed to a process.
    #[error("the signer process did not get what it works with: {why}")]
    Handover {
        /// Why.
        why: String,
    },
    /// The process was not started by a supervisor.
    #[error("the signer process is started by hsm-mtls itself, and by nobody else")]
    NotStartedByUs,
    /// A signer's description of its key cannot be decoded.
    #[error("what the signer process says of its key is not understood: {why}")]
    Description {
        /// Why.
        why: String,
    },
    /// This source of the PIN does not suit three processes.
    #[error("{pin_source} is no source of the PIN here: {why}")]
    PinSource {
        /// The configured source.
        pin_source: PinSource,
        /// Why not.
        why: &'static str,
    },
    /// A hardening measure is not available on this system.
    #[error("{part} cannot be had here: {why}")]
    Hardening {
        /// The measure.
        part: &'static str,
        /// Why.
        why: String,
    },
    /// PIN or ledger would be within the front end's sandbox.
    #[error(
        "the front end must be able to {}, and {what} ({}) lies in it",
        match access_log {
            true => format!("write to {}, because `access_log` is there", folder.display()),
            false => format!("read {}", folder.display()),
        },
        secret.display()
    )]
    InReach {
        /// PIN or ledger.
        what: &'static str,
        /// Its path.
        secret: PathBuf,
        /// The folder in the sandbox that it lies in.
        folder: PathBuf,
        /// The folder is in the sandbox because of the access log.
        access_log: bool,
    },
    /// A new configuration names a folder outside of the running front end's sandbox.
    #[error("the running front end may not open {}: what it may open was settled when it was started", folder.display())]
    OutOfReach {
        /// The folder.
        folder: PathBuf,
    },
    /// This part of a new configuration takes effect only after a restart of the proxy.
    #[error("{what} differs from what the running proxy was started with")]
    NeedsRestart {
        /// The part.
        what: &'static str,
    },
    /// The offer of a new signer could not be sent to the front end.
    #[error("the front end takes no offer of another signer: {why}")]
    NoOffer {
        /// Why.
        why: String,
    },
    /// The system does not tell of files that are replaced.
    #[error("files cannot be watched, which `reload = \"watch\"` of [proxy] asks for: {error}")]
    NotWatched {
        /// Why.
        error: io::Error,
    },
    /// The configuration of the processes.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Token, key or certificate, in this process.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

macro_rules! from_stage {
    ($($stage:ident),+) => {
        $(impl From<$stage> for SignerError {
            fn from(error: $stage) -> Self {
                Self::Identity(error.into())
            }
        })+
    };
}

from_stage!(EngineError, LedgerError, TokenError);

impl SignerError {
    pub(crate) fn handover(why: &dyn Display) -> Self {
        Self::Handover {
            why: why.to_string(),
        }
    }

    /// Whether another process may be without the cause: a module that shows its token no more, or fails. Not where a
    /// person has to act, and not where no PIN was sent.
    pub(super) fn may_need_new_process(&self) -> bool {
        let Self::Identity(error) = self else {
            return false;
        };
        error.may_need_new_process()
    }

    /// As [`EngineError::device_state`].
    pub(super) fn device_state(&self) -> Option<&'static str> {
        match self {
            Self::Identity(error) => error.device_state(),
            _ => None,
        }
    }

    /// Whether this token alone cannot be used, and another may: it or its PIN fails, or its certificate has expired or is not
    /// valid yet. All else is a mistake in the configuration, which is not worked round.
    pub fn is_of_one_token(&self) -> bool {
        let is_of_time = matches!(
            self,
            Self::Identity(IdentityError::Certificate(
                CertificateError::Expired { .. } | CertificateError::NotYetValid { .. }
            ))
        );
        is_of_time || matches!(self.exit_code(), ExitCode::Token | ExitCode::Pin)
    }

    /// As [`IdentityError::class`].
    pub(crate) fn class(self) -> &'static str {
        match self {
            Self::Identity(error) => error.class(),
            _ => "configuration",
        }
    }
}

impl Diagnostic for SignerError {
    fn hint(&self) -> String {
        match self {
            Self::Config(error) => return error.hint(),
            Self::Identity(error) => return error.hint(),
            Self::Spawn { .. } => {
                "check that this user may execute the program, and how many processes and open files it may have"
            }
            Self::Handover { .. } => "check how many open files this user may have (`ulimit -n`)",
            Self::LauncherEnded => {
                "start the proxy again; if nobody killed the process, the kernel may have, for want of memory: see `journalctl -k`"
            }
            Self::NotListening => {
                "keep the log: the front end does that only when somebody has taken it over. Start the proxy again; where systemd opens \
                 the sockets, restart the .socket unit too"
            }
            Self::ReaderEnded { .. } => {
                "see in the log what ended it; if it says nothing, the kernel may have, for want of memory: see `journalctl -k`"
            }
            Self::ConfigurationUnread { .. } => {
                "see whether the file system that the file and the paths in it are on hangs (`stat` each)"
            }
            Self::NotStartedByUs => "start `hsm-mtls proxy`, `verify` or `request`",
            Self::Description { .. } => {
                "this is a fault of ours, or two versions of the program: start it again, and report it"
            }
            Self::PinSource { .. } => {
                "name a file that only the signer's user can read, a systemd credential or a program as `pin` of [[token]]"
            }
            Self::Hardening { part: SYSTEM_CALL_FILTER, .. } => {
                "run on a kernel that is built with CONFIG_SECCOMP_FILTER, and under a service manager or in a container that lets \
                 processes restrict themselves further (seccomp(2))"
            }
            Self::Hardening { .. } => {
                "run on a kernel of 5.13 or later with Landlock switched on (`lsm=landlock,...`)"
            }
            Self::OutOfReach { .. } => {
                "restart the proxy, or put the files into the folders that they were in before"
            }
            Self::NeedsRestart { .. } => {
                "restart the proxy: nothing of the new configuration is in use before"
            }
            Self::NotWatched { .. } => {
                "see how many files other programs of this user watch (fs.inotify.max_user_instances, inotify(7)), or write reload = \"signal\""
            }
            Self::NoOffer { .. } => "restart the proxy, and report it if this comes again",
            Self::InReach { access_log: true, .. } => {
                "name a file in another folder in `access_log` of [proxy], or write access_log = \"stdout\"; \
                 \"off\" switches it off, and any other word is the name of a file"
            }
            Self::InReach { .. } => {
                "put it into another folder than certificate, trust anchors and CRLs"
            }
        }
        .to_owned()
    }

    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Spawn { .. }
            | Self::LauncherEnded
            | Self::NotListening
            | Self::ConfigurationUnread { .. }
            | Self::Handover { .. }
            | Self::NotWatched { .. }
            | Self::NoOffer { .. } => ExitCode::Token,
            Self::NotStartedByUs
            | Self::PinSource { .. }
            | Self::InReach { .. }
            | Self::OutOfReach { .. }
            | Self::NeedsRestart { .. }
            | Self::Hardening { .. } => ExitCode::Configuration,
            Self::Description { .. } | Self::ReaderEnded { .. } => ExitCode::Bug,
            Self::Config(error) => error.exit_code(),
            Self::Identity(error) => error.exit_code(),
        }
    }

    fn is_transient(&self) -> bool {
        match self {
            Self::Config(error) => error.is_transient(),
            Self::Identity(error) => error.is_transient(),
            _ => self.exit_code() == ExitCode::Token,
        }
    }
}
