//! Reads a PIN from its source: a file, an environment variable, a systemd credential, a program or an operator.

mod command;
mod source_error;
mod validation;

use std::env;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};

use crate::access_diagnosis::{self, AccessMode, Obstacle};
use crate::config::pin::PinSource;
use crate::owner_and_mode::{Protection, fault_of_file, faults};
pub use source_error::PinSourceError;
use validation::MAX_READ;
pub use validation::PinAnomaly;

/// A PIN, as it was read from its source.
#[derive(Clone)]
pub(super) struct Pin {
    pub(super) text: SecretString,
    /// Changes when the source is written: inode and time of the last write of a PIN file, however its path is spelled. Of
    /// the other sources it is the name: systemd writes a credential anew at each start, and a variable has no date.
    pub(super) version: String,
    /// A probable mistake in the PIN. It is logged as a warning before the PIN is sent.
    pub(super) anomaly: Option<PinAnomaly>,
}

/// Asks the operator at the terminal; the argument is the question.
pub type OperatorPrompt = dyn Fn(&str) -> io::Result<SecretString> + Send + Sync;

/// Reads the PIN and validates it in the same way for every source. `prompt` is `None` if there is no operator.
pub(super) fn read(
    source: &PinSource,
    prompt: Option<&OperatorPrompt>,
) -> Result<Pin, PinSourceError> {
    let mut version = source.to_string();
    let bytes = match source {
        PinSource::File(path) => {
            let (bytes, meta) = read_file(path, Protection::Secret)?;
            version = version_of(&meta);
            bytes
        }
        PinSource::Env(name) => {
            let value = env::var_os(name).ok_or(PinSourceError::NotSet)?;
            Zeroizing::new(value.into_vec())
        }
        PinSource::Credential(name) => {
            let folder =
                env::var_os("CREDENTIALS_DIRECTORY").ok_or(PinSourceError::NoCredentials)?;
            let path = PathBuf::from(folder).join(name);
            read_file(&path, Protection::Credential)?.0
        }
        PinSource::Command(words) => command::read_output(words)?,
        // Said explicitly, so it is not the mistake that an empty file is.
        PinSource::Empty => {
            return Ok(Pin {
                text: SecretString::from(""),
                version,
                anomaly: None,
            });
        }
        PinSource::None => return Err(PinSourceError::Empty),
        PinSource::Prompt | PinSource::ProtectedPath => {
            let prompt = prompt.ok_or_else(|| io::Error::other("no operator to ask"));
            let typed = prompt.and_then(|prompt| prompt("PIN of the token"));
            let typed = typed.map_err(PinSourceError::Asking)?;
            Zeroizing::new(typed.expose_secret().as_bytes().to_vec())
        }
    };
    let (text, anomaly) = validation::parse_pin(&bytes)?;
    Ok(Pin {
        text,
        version,
        anomaly,
    })
}

/// The version of a PIN file, without reading it; `None` where it cannot be looked at.
pub(super) fn version_of_file(path: &Path) -> Option<String> {
    fs::metadata(path).ok().as_ref().map(version_of)
}

fn version_of(meta: &Metadata) -> String {
    format!("{}:{}.{:09}", meta.ino(), meta.mtime(), meta.mtime_nsec())
}

/// Reads a PIN from a file that is safe from other users.
fn read_file(
    path: &Path,
    protection: Protection,
) -> Result<(Zeroizing<Vec<u8>>, Metadata), PinSourceError> {
    let unreadable = |error| match access_diagnosis::obstacle(path, &[AccessMode::Read]) {
        // The message has the source's path already, so the system's error is enough.
        None | Some(Obstacle::Missing { is_last: true, .. }) => PinSourceError::Io(error),
        Some(obstacle) => obstacle.into(),
    };
    // NONBLOCK: opening a pipe that has no writer would block.
    let mut file = OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(path)
        .map_err(|error| {
            match fs::metadata(path)
                .as_ref()
                .map(access_diagnosis::other_than_file)
            {
                Ok(Some(file_type)) => PinSourceError::NotAFile(file_type),
                _ => unreadable(error),
            }
        })?;
    // fstat of the open file, not stat of the path, because the file could be replaced in between.
    let meta = file.metadata().map_err(PinSourceError::Io)?;
    if let Some(file_type) = access_diagnosis::other_than_file(&meta) {
        return Err(PinSourceError::NotAFile(file_type));
    }
    // The way to it too: whoever can put another file there chooses the PIN, and may have it tried until the token is locked.
    let of_file = fault_of_file(path, &meta, protection);
    if let Some(fault) = of_file.or_else(|| faults(path, protection).into_iter().next()) {
        return Err((&fault).into());
    }
    let bytes = read_bytes(&mut file).map_err(PinSourceError::Io)?;
    // If the file was written meanwhile, the bytes may be of two PINs.
    let after = file.metadata().map_err(PinSourceError::Io)?;
    let version = |meta: &Metadata| (meta.size(), meta.mtime(), meta.mtime_nsec());
    if version(&meta) != version(&after) {
        return Err(PinSourceError::WrittenMeanwhile);
    }
    Ok((bytes, meta))
}

fn read_bytes(file: &mut File) -> io::Result<Zeroizing<Vec<u8>>> {
    // Allocated at its full size: a growing buffer would leave copies of the PIN behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_READ + 1));
    file.take(MAX_READ as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}
