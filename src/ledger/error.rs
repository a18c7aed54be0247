//! The errors of the ledger, and what to do about them.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error as ThisError;

use super::hash_chain::ChainBreak;
use super::location::parent_folder;
use super::lock::LOCK_TIMEOUT;
use crate::access_diagnosis::{AccessMode, Obstacle, obstacle};
use crate::accounts;
use crate::diagnostic::Diagnostic;
use crate::exit_code::ExitCode;

/// Why a record was not written or read. After a failed write the operation did not take place, or its result was not
/// released.
#[derive(Debug, ThisError)]
pub enum LedgerError {
    /// The file cannot be opened or written.
    #[error("the ledger {} cannot be written: {source}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// The file cannot be read.
    #[error("the ledger {} cannot be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// Another process or thread held the lock until the timeout.
    #[error("the ledger {} was locked for {} ms", path.display(), after.as_millis())]
    Locked {
        /// The file.
        path: PathBuf,
        /// The timeout.
        after: Duration,
    },
    /// The records of the file do not continue the chain that this process has verified.
    #[error("the ledger {} was changed: {why}", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// Where the chain is broken, and how.
        why: ChainBreak,
    },
    /// The file was removed, truncated or replaced by one that does not continue the chain.
    #[error("the ledger {} is not what it was: {why}", path.display())]
    Replaced {
        /// The file.
        path: PathBuf,
        /// How it was replaced.
        why: &'static str,
    },
    /// fsync failed. On Linux a later fsync may succeed although data was lost before it: so this error is final for the
    /// process.
    #[error("the ledger {} could not be synced to the disk: {source}", path.display())]
    Unsynced {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// The thread that calls fsync cannot be started.
    #[error("no thread can be started that syncs the ledger {}: {source}", path.display())]
    NoThread {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// A record is longer than the maximum length of a line.
    #[error("a record of {bytes} bytes does not go into the ledger {}: {max} are the most", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The length of the record, in bytes.
        bytes: usize,
        /// The maximum length, in bytes.
        max: usize,
    },
    /// Owner or mode of the file, or of a folder above it, would let other users replace or change the file.
    #[error("the ledger cannot be kept at {}, because others could replace it: {why}", path.display())]
    Unsafe {
        /// The file of the ledger.
        path: PathBuf,
        /// The file or the folder, and who could change it.
        why: String,
        /// What to do about it.
        advice: String,
    },
    /// The path is not that of a ledger or of a new file.
    #[error("{} cannot be the ledger: {why}", path.display())]
    Unfit {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// An application's own [`Ledger`](super::Ledger) did not store the record; the text is its error.
    #[error("the application's ledger did not keep the record: {0}")]
    Sink(String),
}

impl LedgerError {
    /// The lock was not acquired before the deadline.
    pub(super) fn lock_timeout(path: &Path) -> Self {
        Self::Locked {
            path: path.to_owned(),
            after: LOCK_TIMEOUT,
        }
    }

    pub(super) fn unwritable(path: &Path, source: io::Error) -> Self {
        Self::Unwritable {
            path: path.to_owned(),
            source,
        }
    }
}

impl Diagnostic for LedgerError {
    fn hint(&self) -> String {
        match self {
            Self::Unwritable { path, source } => {
                format!("nothing is signed without its record: {}", unwritable(path, source))
            }
            Self::Unreadable { path, source } => match source.kind() {
                io::ErrorKind::PermissionDenied => match obstacle(path, &[AccessMode::Read]) {
                    Some(obstacle) => format!("{obstacle}: {}", obstacle.advice()),
                    None => DENIED_OTHERWISE.to_owned(),
                },
                io::ErrorKind::IsADirectory => IS_A_FOLDER.to_owned(),
                _ => "check the path, and that this user may read it: its group may".to_owned(),
            },
            Self::Locked { path, .. } => format!(
                "see which process holds it (`fuser {}` names it): one that was stopped in the middle of a record keeps the lock; nothing is signed meanwhile",
                path.display()
            ),
            Self::Replaced { .. } => {
                "nothing is signed until a reload (SIGHUP) or a restart, which goes on with the file that is there, or begins another; \
                 a head that was exported shows what is missing (`hsm-mtls ledger verify --expect-head`)".to_owned()
            }
            Self::Broken { .. } => {
                "`hsm-mtls ledger verify` says where; keep the file as evidence, and begin another by naming a new one in `file` of [ledger]; nothing is signed meanwhile".to_owned()
            }
            Self::Unsynced { .. } => {
                "records may be lost: look after the disk (`dmesg` says what it met), check the chain with `hsm-mtls ledger verify`, then start this anew; nothing is signed meanwhile".to_owned()
            }
            Self::NoThread { .. } => {
                "allow this user, or this service, more threads (`ulimit -u`, TasksMax= of systemd)".to_owned()
            }
            Self::TooLong { .. } => {
                "shorten what goes into it: a key's label, a peer's name or the id of a request; nothing is signed without its record".to_owned()
            }
            Self::Unsafe { advice, .. } => {
                format!("{advice}; or name another place in `file` of [ledger]")
            }
            Self::Unfit { .. } => "name another file in `file` of [ledger]: one that is not there yet is begun".to_owned(),
            Self::Sink(_) => "ask whoever wrote the application; nothing is signed meanwhile".to_owned(),
        }
    }

    fn exit_code(&self) -> ExitCode {
        ExitCode::Configuration
    }

    /// Locks are released, disks get space: such errors may pass.
    fn is_transient(&self) -> bool {
        match self {
            Self::Locked { .. } | Self::NoThread { .. } | Self::Unsynced { .. } => true,
            Self::Unwritable { source, .. } | Self::Unreadable { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::StorageFull
                    | io::ErrorKind::QuotaExceeded
                    | io::ErrorKind::ReadOnlyFilesystem
                    | io::ErrorKind::StaleNetworkFileHandle
                    | io::ErrorKind::ResourceBusy
                    | io::ErrorKind::TimedOut
                    | io::ErrorKind::Interrupted
                    | io::ErrorKind::WouldBlock
                    | io::ErrorKind::OutOfMemory
            ),
            _ => false,
        }
    }
}

const IS_A_FOLDER: &str = "it is a folder: let `file` of [ledger] name a file in it, which is begun where it is not there";
const DENIED_OTHERWISE: &str =
    "its mode allows it: an ACL or a security module of the kernel denies it";

/// The advice for an error of the operating system.
fn unwritable(path: &Path, source: &io::Error) -> String {
    use io::ErrorKind::{
        IsADirectory, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull,
    };
    let folder = parent_folder(path).display();
    match source.kind() {
        StorageFull | QuotaExceeded => {
            format!("its disk is full: make room there (`df {folder}` shows it)")
        }
        ReadOnlyFilesystem => format!(
            "its disk cannot be written to: mount it for writing (`findmnt -T {folder}` names it)"
        ),
        IsADirectory => IS_A_FOLDER.to_owned(),
        PermissionDenied => {
            let closed = match obstacle(path, &[AccessMode::Read, AccessMode::Write]) {
                // A file that does not exist yet needs write access to its folder.
                Some(Obstacle::Missing { .. }) => obstacle(
                    parent_folder(path),
                    &[AccessMode::Search, AccessMode::Write],
                ),
                other => other,
            };
            match closed {
                Some(Obstacle::Denied { path, .. }) => format!(
                    "{path} is not for this user: `chown {} {}`, or run this as its owner",
                    accounts::effective_user(),
                    path.path.display()
                ),
                Some(obstacle) => format!("{obstacle}: {}", obstacle.advice()),
                None => DENIED_OTHERWISE.to_owned(),
            }
        }
        _ => "see what keeps its disk from taking it".to_owned(),
    }
}
