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
use rustix::process::geteuid;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};

use super::guard::{Attendance, PinError};
use crate::access_diagnosis::{self, Obstacle, Owned, Use};
use crate::config::pin::PinSource;
use crate::owner_and_mode::{Exposure, check_owner_and_mode};
pub use source_error::PinSourceError;
use validation::MAX_READ;
pub use validation::PinAnomaly;

/// A PIN, as it was read from its source.
#[derive(Clone)]
pub(super) struct Pin {
    pub(super) text: SecretString,
    /// Changes when the source was written to. `None` where only the PIN itself could tell: systemd writes a
    /// credential at each start, a variable has no date.
    pub(super) version: Option<String>,
    /// Logged as a warning before the PIN is sent.
    pub(super) anomaly: Option<PinAnomaly>,
}

/// Reads the PIN and validates it in the same way for every source.
pub(super) fn read(source: &PinSource, attendance: &Attendance) -> Result<Pin, PinError> {
    let error = |why: PinSourceError| PinError::Source {
        pin_source: source.clone(),
        why,
    };
    let mut version = None;
    let bytes = match source {
        PinSource::File(path) => {
            let (bytes, meta) = read_file(path, 0o077).map_err(error)?;
            version = Some(format!(
                "{}:{}.{:09}",
                meta.ino(),
                meta.mtime(),
                meta.mtime_nsec()
            ));
            bytes
        }
        PinSource::Env(name) => match env::var_os(name) {
            Some(value) => Zeroizing::new(value.into_vec()),
            None => return Err(error(PinSourceError::NotSet)),
        },
        PinSource::Credential(name) => {
            let folder = env::var_os("CREDENTIALS_DIRECTORY")
                .ok_or_else(|| error(PinSourceError::NoCredentials))?;
            // systemd gives the service's user access by an ACL, which is shown in the mode as the group's r.
            let path = PathBuf::from(folder).join(name);
            read_file(&path, 0o037).map_err(error)?.0
        }
        PinSource::Command(words) => command::read_output(words).map_err(error)?,
        PinSource::Prompt | PinSource::ProtectedPath => match attendance {
            Attendance::Attended(ask) => {
                let typed = ask("PIN of the token").map_err(PinSourceError::Asking);
                let typed = typed.map_err(error)?;
                Zeroizing::new(typed.expose_secret().as_bytes().to_vec())
            }
            Attendance::Unattended => return Err(PinError::NobodyThere(source.clone())),
        },
    };
    let (text, anomaly) = validation::parse_pin(&bytes).map_err(error)?;
    Ok(Pin {
        text,
        version,
        anomaly,
    })
}

/// Reads a PIN from a file of root or of this user whose mode has none of the `forbidden` bits.
fn read_file(
    path: &Path,
    forbidden: u32,
) -> Result<(Zeroizing<Vec<u8>>, Metadata), PinSourceError> {
    let unreadable = |error| match access_diagnosis::obstacle(path, &[Use::Read]) {
        // The message names the source's path already: the system's error is enough.
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
                Ok(Some(kind)) => PinSourceError::NotAFile(kind),
                _ => unreadable(error),
            }
        })?;
    // fstat of the open file, not stat of the path: the file cannot be replaced in between.
    let meta = file.metadata().map_err(PinSourceError::Io)?;
    if let Some(kind) = access_diagnosis::other_than_file(&meta) {
        return Err(PinSourceError::NotAFile(kind));
    }
    check_owner_and_mode(&meta, forbidden).map_err(|exposure| match exposure {
        Exposure::ForeignOwner => PinSourceError::of_another_user(&Owned::new(path, &meta)),
        Exposure::Mode(mode) => PinSourceError::Open {
            mode,
            of_root: meta.uid() != geteuid().as_raw(),
        },
    })?;
    let bytes = read_bytes(&mut file).map_err(PinSourceError::Io)?;
    // A mixture of an old PIN and a new one would be a wrong PIN.
    let after = file.metadata().map_err(PinSourceError::Io)?;
    let state = |meta: &Metadata| (meta.size(), meta.mtime(), meta.mtime_nsec());
    if state(&meta) != state(&after) {
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
