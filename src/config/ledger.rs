//! Where each use of the key is recorded, how soon that is safe from a power cut, and who else is
//! told where the record ends.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::field;

/// `[ledger]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LedgerConfig {
    /// The file, on a disk of this machine.
    pub file: PathBuf,
    /// When records are put where a power cut cannot take them.
    #[serde(default, deserialize_with = "fsync")]
    pub fsync: Fsync,
    /// With `fsync = "interval"`: how long a record may be without.
    #[serde(
        default = "field::default_fsync_interval",
        deserialize_with = "field::duration"
    )]
    pub fsync_interval: Duration,
    /// From this size on the file is closed and another begun, in MiB (1 to 65536).
    #[serde(
        default = "field::default_rotate_at_mib",
        deserialize_with = "field::mebibytes"
    )]
    pub rotate_at_mib: u64,
    /// Who is told where the chain ends. None: nobody, and then nothing shows that its end was cut
    /// off.
    #[serde(default)]
    pub head: Option<HeadExport>,
    /// How often, while there are new records.
    #[serde(
        default = "field::default_head_interval",
        deserialize_with = "field::duration"
    )]
    pub head_interval: Duration,
}

/// When records are put where a power cut cannot take them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fsync {
    /// Each before what it tells of goes on.
    Each,
    /// After a while, for all that came in between.
    #[default]
    Interval,
}

fn fsync<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Fsync, D::Error> {
    match Written::deserialize(deserializer)? {
        Written::Word(word) if word == "each" => Ok(Fsync::Each),
        Written::Word(word) if word == "interval" => Ok(Fsync::Interval),
        _ => Err(serde::de::Error::custom(
            "`fsync` is \"interval\" (within `fsync_interval`; so it is where nothing is written) or \"each\" (before \
             the token is asked, and before a signature is released)",
        )),
    }
}

/// Who is told where the chain ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeadExport {
    /// A syslog socket; journald listens on the usual one too.
    Syslog(PathBuf),
    /// A program, called with `SEQ:HASH` behind its arguments.
    Command(Vec<String>),
}

/// Where syslog and journald listen.
const SYSLOG: &str = "/dev/log";

impl LedgerConfig {
    pub(super) fn relative_to(mut self, folder: &Path) -> Self {
        self.file = folder.join(&self.file);
        self
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
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
        match Written::deserialize(deserializer)? {
            Written::Word(word) if word == "syslog" => return Ok(Self::Syslog(SYSLOG.into())),
            Written::Table(Table {
                syslog: Some(socket),
                command: None,
            }) if socket.is_absolute() => return Ok(Self::Syslog(socket)),
            Written::Table(Table {
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
