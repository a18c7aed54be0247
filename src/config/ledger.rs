//! `[ledger]`: the ledger's file, when it is synced to the disk and rotated, and where its head is exported to.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::field;

/// `[ledger]`: the ledger's file, fsync, rotation and head export.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LedgerConfig {
    /// The file, on a disk of this machine.
    pub file: PathBuf,
    /// When records are synced to the disk.
    #[serde(default, deserialize_with = "fsync")]
    pub fsync: Fsync,
    /// With `fsync = "interval"`: how long a record may stay unsynced (default 1 s).
    #[serde(
        default = "field::default_fsync_interval",
        deserialize_with = "field::duration"
    )]
    pub fsync_interval: Duration,
    /// The size at which the file is rotated, in MiB (1 to 65536, default 64).
    #[serde(
        default = "field::default_rotate_at_mib",
        deserialize_with = "field::mebibytes"
    )]
    pub rotate_at_mib: u64,
    /// Where the head of the hash chain is exported to. `None`: it is not exported, and a truncation of the chain cannot be
    /// detected.
    #[serde(default)]
    pub head: Option<HeadExport>,
    /// How often the head is exported while records are added (default 300 s).
    #[serde(
        default = "field::default_head_interval",
        deserialize_with = "field::duration"
    )]
    pub head_interval: Duration,
}

/// When records are synced to the disk, so that they survive a power cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fsync {
    /// Each record, before its operation continues.
    Each,
    /// All records since the last sync together, after `fsync_interval`.
    #[default]
    Interval,
}

fn fsync<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Fsync, D::Error> {
    match WordOrTable::deserialize(deserializer)? {
        WordOrTable::Word(word) if word == "each" => Ok(Fsync::Each),
        WordOrTable::Word(word) if word == "interval" => Ok(Fsync::Interval),
        _ => Err(serde::de::Error::custom(
            "`fsync` is \"interval\" (within `fsync_interval`; so it is where nothing is written) or \"each\" (before \
             the token is asked, and before a signature is released)",
        )),
    }
}

/// Where the chain's head is exported to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeadExport {
    /// A syslog socket; journald listens on the usual one too.
    Syslog(PathBuf),
    /// A program, called with `SEQ:HASH` as its last argument.
    Command(Vec<String>),
}

/// The socket of syslog and journald.
const SYSLOG_SOCKET: &str = "/dev/log";

impl LedgerConfig {
    pub(super) fn relative_to(mut self, folder: &Path) -> Self {
        self.file = folder.join(&self.file);
        self
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum WordOrTable {
    Word(String),
    Table(Table),
    Other(serde::de::IgnoredAny),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    syslog: Option<PathBuf>,
    command: Option<Vec<String>>,
}

impl<'de> Deserialize<'de> for HeadExport {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let absolute = |program: &String| Path::new(program).is_absolute();
        match WordOrTable::deserialize(deserializer)? {
            WordOrTable::Word(word) if word == "syslog" => {
                return Ok(Self::Syslog(SYSLOG_SOCKET.into()));
            }
            WordOrTable::Table(Table {
                syslog: Some(socket),
                command: None,
            }) if socket.is_absolute() => return Ok(Self::Syslog(socket)),
            WordOrTable::Table(Table {
                syslog: None,
                command: Some(command),
            }) if command.first().is_some_and(absolute) => return Ok(Self::Command(command)),
            _ => {}
        }
        Err(serde::de::Error::custom(
            "`head` is \"syslog\", { syslog = \"/a/socket\" } or { command = [\"/a/program\", \"argument\"] }",
        ))
    }
}
