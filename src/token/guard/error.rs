//! Why there is no login, and what the person who reads that may do.

use std::path::PathBuf;

use thiserror::Error as ThisError;

use crate::config::pin::PinSource;
use crate::diagnostic::Diagnostic;
use crate::exit_code::ExitCode;
use crate::ledger::LedgerError;
use crate::token::fault::Fault;
use crate::token::pin::{Oddity, SourceFault};

/// Why there is no login.
#[derive(Debug, ThisError)]
pub enum PinError {
    /// The source gave no PIN.
    #[error("no PIN from {pin_source}: {why}")]
    Source {
        /// Where it should have come from.
        pin_source: PinSource,
        /// What is wrong there.
        why: SourceFault,
    },
    /// The source is a person, and none is there.
    #[error("the PIN comes from {0}, and nobody is at a terminal")]
    NobodyThere(PinSource),
    /// The token's flags forbid a try. Nothing was sent.
    #[error("no PIN was sent: the token says {flag} ({meaning}){}", unfit(.acceptance.as_deref()))]
    Guarded {
        /// The CKF_ flag.
        flag: &'static str,
        /// What it means.
        meaning: &'static str,
        /// Why the operator's acceptance that is there does not hold.
        acceptance: Option<String>,
        /// Where an acceptance is looked for.
        state_folder: Option<PathBuf>,
    },
    /// The token refused the PIN.
    #[error("the token refused the PIN: {0}")]
    Refused(Fault),
    /// The token refused the PIN, and something about it was odd.
    #[error("the token refused the PIN: {fault}; the PIN from {pin_source} {}", .oddity.said())]
    RefusedOdd {
        /// The token's answer.
        fault: Fault,
        /// Where it came from.
        pin_source: PinSource,
        /// What was said before it was sent.
        oddity: Oddity,
    },
    /// This process sent this PIN before, and it was refused. It is not sent a second time.
    #[error("no PIN was sent: the token refused this PIN before ({0})")]
    RefusedBefore(Fault),
    /// An earlier process sent what this source gave, and it was refused. Nothing was sent.
    #[error("no PIN was sent: the token refused the PIN from {} at {} ({}), and the source has not changed since", .0.pin_source, .0.at, .0.answer)]
    RefusedEarlier(Box<EarlierTry>),
    /// One PIN after the other was refused, though the source changed in between. Nothing was sent.
    #[error("no PIN was sent: the token refused {} PINs in a row from {}, the last at {} ({})", .0.failures, .0.pin_source, .0.at, .0.answer)]
    RefusedInARow(Box<EarlierTry>),
    /// Earlier logins with what this source gives had no answer that says whether the PIN is good:
    /// each may have cost a try. Nothing was sent.
    #[error("no PIN was sent: {} at {} had no answer about the PIN ({}), and {}may have cost a try", logins(.0.failures), .0.at, .0.answer, if .0.failures > 1 { "each " } else { "" })]
    Unanswered(Box<EarlierTry>),
    /// The same, with a PIN that was good before: it is tried again, with growing pauses.
    #[error("no PIN was sent: the last {} logins had no answer about the PIN ({}), and the next is tried in {seconds} s", earlier.failures, earlier.answer)]
    TooSoon {
        /// The last of them.
        earlier: Box<EarlierTry>,
        /// Until then.
        seconds: u64,
    },
    /// Somebody else is logging in, and does not come to an end.
    #[error("no PIN was sent: another login has not ended within {seconds} s")]
    Busy {
        /// The file that it has locked; `None`: it is of this process.
        lock: Option<PathBuf>,
        /// How long it was waited for.
        seconds: u64,
    },
    /// What is remembered of earlier tries cannot be read.
    #[error("no PIN was sent: the record of earlier tries {} cannot be read: {why}", record.display())]
    Damaged {
        /// The file.
        record: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// It could not be written down that a PIN is about to be sent, so none was.
    #[error("no PIN was sent: that it was tried cannot be recorded in {}: {why}", place.display())]
    Unrecorded {
        /// The folder or file.
        place: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The ledger does not take the login's record, so there is no login.
    #[error("no login without its record: {0}")]
    Ledger(#[from] LedgerError),
    /// C_Login failed for a reason that is not the PIN.
    #[error("the login failed: {0}")]
    Call(Fault),
}

/// What is on record of an earlier try.
#[derive(Clone, Debug)]
pub struct EarlierTry {
    /// Where the PIN comes from.
    pub pin_source: PinSource,
    /// When it began, RFC 3339.
    pub at: String,
    /// What came back.
    pub answer: String,
    /// How many in a row had no answer about the PIN.
    pub failures: u32,
    /// Where all that is recorded.
    pub record: PathBuf,
}

fn unfit(acceptance: Option<&str>) -> String {
    acceptance.map_or_else(String::new, |why| {
        format!("; the operator's acceptance does not hold: {why}")
    })
}

fn logins(count: u32) -> String {
    match count {
        1 => "the login".to_owned(),
        more => format!("{more} logins in a row, the last"),
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
            Self::RefusedOdd { pin_source, oddity, .. } => format!(
                "look at {pin_source}: it {}. Do not try again before it is corrected: a few wrong tries lock the token for everyone",
                oddity.said()
            ),
            Self::Refused(_) | Self::RefusedBefore(_) => {
                "do not try again before the PIN source is corrected: a few wrong tries lock the token for everyone".to_owned()
            }
            Self::RefusedEarlier(earlier) => match &earlier.pin_source {
                PinSource::File(path) => format!(
                    "write the right PIN to {}: when that file has changed it is tried, once. If the PIN is right, and the token was reset: {}",
                    path.display(),
                    release(&earlier.record)
                ),
                source => format!("correct what {source} gives, then {}", release(&earlier.record)),
            },
            Self::RefusedInARow(earlier) => format!(
                "a third wrong PIN may lock the token: make sure of the PIN, then {}",
                release(&earlier.record)
            ),
            Self::Unanswered(earlier) => format!(
                "see that the HSM is well and that the PIN is the right one, then {}",
                release(&earlier.record)
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
                format!("make sure of the PIN, then {}", release(record))
            }
            Self::Unrecorded { place, why } if is_full(why) => format!(
                "its disk is full: make room there (`df {}` shows it); no PIN is sent without a record of it",
                place.display()
            ),
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
            // These heal by themselves: a restart later is right.
            Self::Ledger(_) => ExitCode::Configuration,
            Self::Call(_) | Self::TooSoon { .. } | Self::Busy { .. } => ExitCode::Token,
            _ => ExitCode::Pin,
        }
    }

    fn is_transient(&self) -> bool {
        match self {
            Self::Ledger(error) => error.is_transient(),
            // What was not given was not sent.
            Self::Source { pin_source, .. } => match pin_source {
                // It asks others, who may not be up yet.
                PinSource::Command(_) => true,
                // Whoever puts it there may do so later than we start.
                PinSource::File(path) => !path.exists(),
                _ => false,
            },
            _ => self.exit_code() == ExitCode::Token,
        }
    }
}

/// ENOSPC or EDQUOT of Linux, as the system's word on it ends.
fn is_full(why: &str) -> bool {
    ["(os error 28)", "(os error 122)"]
        .iter()
        .any(|full| why.contains(full))
}

/// How a person takes responsibility for one more try, from wherever and as whoever that may be.
fn release(record: &std::path::Path) -> String {
    format!("remove {}: that allows one more try", record.display())
}
