//! The errors of a login: why it failed or was not attempted, with hint and exit code of each.

use std::io;
use std::path::PathBuf;

use thiserror::Error as ThisError;

use crate::config::pin::PinSource;
use crate::diagnostic::Diagnostic;
use crate::exit_code::ExitCode;
use crate::ledger::LedgerError;
use crate::token::fault::Fault;
use crate::token::pin::{PinAnomaly, PinSourceError};

/// Why a login failed or was not attempted.
#[derive(Debug, ThisError)]
pub enum PinError {
    /// The source gave no PIN.
    #[error("no PIN from {pin_source}: {why}")]
    Source {
        /// The PIN source.
        pin_source: PinSource,
        /// What is wrong with it.
        why: PinSourceError,
    },
    /// The PIN comes from an operator, and none is at a terminal.
    #[error("the PIN comes from {0}, and nobody is at a terminal")]
    NobodyThere(PinSource),
    /// The token or the key requires a login, and the configuration says that no PIN is sent.
    #[error("a login is required, and `pin = \"none\"` says that no PIN is sent")]
    NoPin,
    /// `user_name` takes C_LoginUser, which the module does not have. No PIN was sent.
    #[error(
        "not logged in, and no PIN was sent: the module has no C_LoginUser (PKCS#11 3.0), which `user_name` takes"
    )]
    NoLoginUser,
    /// The module has C_LoginUser, and no users with names.
    #[error("the token does not log in a user by name: {0}")]
    NoUserNames(Fault),
    /// A PIN flag of CK_TOKEN_INFO is set. No PIN was sent.
    #[error("no PIN was sent: the token says {flag} ({meaning}){}", invalid_acceptance(.acceptance.as_deref()))]
    Guarded {
        /// The CKF_ flag.
        flag: &'static str,
        /// What it means.
        meaning: &'static str,
        /// Why the operator's acceptance is not valid; `None` where there is none.
        acceptance: Option<String>,
        /// The folder of attempt files and acceptances.
        state_folder: Option<PathBuf>,
    },
    /// The token refused the PIN.
    #[error("the token refused the PIN: {0}")]
    Refused(Fault),
    /// The token refused a PIN that probably holds a mistake.
    #[error("the token refused the PIN: {fault}; the PIN from {pin_source} {}", .anomaly.predicate())]
    RefusedOdd {
        /// The token's error.
        fault: Fault,
        /// The PIN source.
        pin_source: PinSource,
        /// The probable mistake.
        anomaly: PinAnomaly,
    },
    /// The token refused this PIN to this process before. No PIN was sent.
    #[error("no PIN was sent: the token refused this PIN before ({0})")]
    RefusedBefore(Fault),
    /// The token refused this version of the source to an earlier process. No PIN was sent.
    #[error("no PIN was sent: the token refused the PIN from {} at {} ({}), and the source has not changed since", .0.pin_source, .0.at, .0.answer)]
    RefusedEarlier(Box<EarlierAttempt>),
    /// The token refused several PINs of this role in a row, of one source or of several. No PIN was sent.
    #[error("no PIN was sent: the token refused {} PINs of this role in a row, the last at {} ({})", .0.failures, .0.at, .0.answer)]
    RefusedInARow(Box<EarlierAttempt>),
    /// Earlier attempts with this source had no answer about the PIN, and each may count as a wrong PIN. No PIN was
    /// sent.
    #[error("no PIN was sent: {} at {} had no answer about the PIN ({}), and {}may have cost a try", describe_logins(.0.failures), .0.at, .0.answer, if .0.failures > 1 { "each " } else { "" })]
    Unanswered(Box<EarlierAttempt>),
    /// The same with a PIN that the token accepted before: the next attempt is allowed after the backoff.
    #[error("no PIN was sent: the last {} logins had no answer about the PIN ({}), and the next is tried in {seconds} s", earlier.failures, earlier.answer)]
    TooSoon {
        /// The last of them.
        earlier: Box<EarlierAttempt>,
        /// The rest of the backoff.
        seconds: u64,
    },
    /// Waiting for another login timed out.
    #[error("no PIN was sent: another login has not ended within {seconds} s")]
    Busy {
        /// The file that another process has locked; `None`: the login is this process's.
        lock: Option<PathBuf>,
        /// The timeout.
        seconds: u64,
    },
    /// The attempt file cannot be read.
    #[error("no PIN was sent: the record of earlier tries {} cannot be read: {why}", record.display())]
    Damaged {
        /// The file.
        record: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The attempt could not be recorded. No PIN was sent.
    #[error("no PIN was sent: that it was tried cannot be recorded in {}: {why}", place.display())]
    Unrecorded {
        /// The folder or file.
        place: PathBuf,
        /// What is wrong with it.
        why: RecordError,
    },
    /// The ledger could not record the login, so it was not attempted.
    #[error("no login without its record: {0}")]
    Ledger(#[from] LedgerError),
    /// C_Login failed for a reason that is not the PIN.
    #[error("the login failed: {0}")]
    Call(Fault),
}

/// Why a login attempt could not be recorded.
#[derive(Debug, ThisError)]
pub enum RecordError {
    /// No state folder is configured, and there is no default without HOME.
    #[error("HOME is not set")]
    NoHome,
    /// Another user could change or remove the record.
    #[error("others could change it: {why}")]
    Unsafe {
        /// The folder, and who could change it.
        why: String,
        /// What to do about it.
        advice: String,
    },
    /// The file or folder cannot be written.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The operator's acceptance of the attempt cannot be removed.
    #[error("the operator's acceptance cannot be used up: {0}")]
    Acceptance(io::Error),
}

impl RecordError {
    /// ENOSPC or EDQUOT.
    fn is_disk_full(&self) -> bool {
        match self {
            Self::Io(error) | Self::Acceptance(error) => matches!(
                error.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
            ),
            Self::NoHome | Self::Unsafe { .. } => false,
        }
    }
}

/// An earlier attempt in the attempt file.
#[derive(Clone, Debug)]
pub struct EarlierAttempt {
    /// The PIN source.
    pub pin_source: PinSource,
    /// When it began, RFC 3339.
    pub at: String,
    /// The token's error.
    pub answer: String,
    /// The number of consecutive attempts that were refused or had no answer about the PIN.
    pub failures: u32,
    /// The attempt file.
    pub record: PathBuf,
}

fn invalid_acceptance(acceptance: Option<&str>) -> String {
    acceptance.map_or_else(String::new, |why| {
        format!("; the operator's acceptance does not hold: {why}")
    })
}

fn describe_logins(count: u32) -> String {
    match count {
        1 => "the login".to_owned(),
        more => format!("{more} logins in a row, the last"),
    }
}

impl PinError {
    /// The C_Login that failed, if this attempt made it.
    pub(crate) fn fault(&self) -> Option<&Fault> {
        match self {
            Self::Call(fault) | Self::Refused(fault) | Self::RefusedOdd { fault, .. } => {
                Some(fault)
            }
            _ => None,
        }
    }
}

impl Diagnostic for PinError {
    fn hint(&self) -> String {
        match self {
            Self::Source { pin_source, why } => why.advice(pin_source),
            Self::NobodyThere(_) => {
                "run this at a terminal, or give [[token]] a `pin` that needs no person: file, credential or command"
                    .to_owned()
            }
            Self::NoPin => {
                "name the source of the PIN in `pin` of [[token]], or write \"empty\" if the token takes an empty one; if it signs \
                 without a login although it has CKF_LOGIN_REQUIRED: `login = \"never\"`"
                    .to_owned()
            }
            Self::NoLoginUser | Self::NoUserNames(_) => {
                "install a version of the vendor's client that has PKCS#11 3.0, or remove `user_name` of [[token]]: where a PIN names its \
                 user (AWS CloudHSM's `user:password`, YubiHSM's `0001password`), and where the role says it (`user`), none is needed"
                    .to_owned()
            }
            Self::Guarded { flag, state_folder, .. } => match *flag {
                "CKF_USER_PIN_COUNT_LOW" | "CKF_SO_PIN_COUNT_LOW" => {
                    let folder = state_folder.as_ref().map_or_else(String::new, |folder| {
                        format!(" (the guard's folder is {})", folder.display())
                    });
                    format!(
                        "check the PIN source, then run `hsm-mtls token check` at a terminal and answer yes: a right PIN \
                         resets the counter. Where there is no terminal, `hsm-mtls pin accept-count-low --once` by the \
                         same user allows one try within the hour{folder}"
                    )
                }
                _ => "the token's administrator (SO) has to reset or change the PIN with the vendor's tool".to_owned(),
            },
            Self::RefusedOdd { pin_source, anomaly, .. } => format!(
                "look at {pin_source}: it {}. Do not try again before it is corrected: a few wrong tries lock the token for everyone",
                anomaly.predicate()
            ),
            Self::Refused(_) | Self::RefusedBefore(_) => {
                "do not try again before the PIN source is corrected: a few wrong tries lock the token for everyone".to_owned()
            }
            Self::RefusedEarlier(earlier) => match &earlier.pin_source {
                PinSource::File(path) => format!(
                    "write the right PIN to {}: when that file has changed it is tried, once. If the PIN is right, and the token was reset: {}",
                    path.display(),
                    removal_advice(&earlier.record)
                ),
                source => format!("correct what {source} gives, then {}", removal_advice(&earlier.record)),
            },
            Self::RefusedInARow(earlier) => format!(
                "a third wrong PIN may lock the token: make sure of the PIN, then {}",
                removal_advice(&earlier.record)
            ),
            Self::Unanswered(earlier) => format!(
                "see that the HSM is well and that the PIN is the right one, then {}",
                removal_advice(&earlier.record)
            ),
            Self::TooSoon { .. } => {
                "see that the HSM is well; it is tried again by itself, without a restart".to_owned()
            }
            Self::Busy { lock: Some(lock), .. } => format!(
                "`fuser {}` names the process: see what it waits for, and end it if its HSM does not answer",
                lock.display()
            ),
            Self::Busy { lock: None, .. } => {
                "a login of this same process hangs in the module: look at the way to the HSM; if it never comes back, only a restart helps".to_owned()
            }
            Self::Damaged { record, .. } => {
                format!("make sure of the PIN, then {}", removal_advice(record))
            }
            Self::Unrecorded { place, why } if why.is_disk_full() => format!(
                "its disk is full: make room there (`df {}` shows it); no PIN is sent without a record of it",
                // `df` needs an existing path: the folder of a file that could not be written.
                match place.extension() {
                    Some(_) => place.parent().unwrap_or(place),
                    None => place.as_path(),
                }
                .display()
            ),
            Self::Unrecorded { why: RecordError::Unsafe { advice, .. }, .. } => {
                format!("{advice}; or let `state_dir` of [[token]] name another folder")
            }
            Self::Unrecorded { .. } => {
                "let `state_dir` of [[token]] name a folder that survives restarts and that only this user can write to; \
                 what is there of another user's is used by running this as that user"
                    .to_owned()
            }
            Self::Ledger(error) => error.hint(),
            Self::Call(fault) => fault.advice().to_owned(),
        }
    }

    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Ledger(_) => ExitCode::Configuration,
            // These may pass without a correction, so a service manager may restart the program.
            Self::Call(_) | Self::TooSoon { .. } | Self::Busy { .. } => ExitCode::Token,
            _ => ExitCode::Pin,
        }
    }

    fn is_transient(&self) -> bool {
        match self {
            Self::Ledger(error) => error.is_transient(),
            // No PIN was sent.
            Self::Source { pin_source, .. } => match pin_source {
                // The services that the program needs may not be started yet.
                PinSource::Command(_) => true,
                // The file may be created after the start of this program.
                PinSource::File(path) => !path.exists(),
                _ => false,
            },
            _ => self.exit_code() == ExitCode::Token,
        }
    }
}

/// How an operator allows one more attempt.
fn removal_advice(record: &std::path::Path) -> String {
    format!("remove {}: that allows one more try", record.display())
}
