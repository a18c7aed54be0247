//! Reading a PIN from its source: a file, a variable, a credential, a program or a person.

mod command;
mod fault;
mod filter;

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
use crate::config::pin::PinSource;
use crate::path_access::{self, Obstacle, Owned, Use};
pub use fault::SourceFault;
pub use filter::Oddity;
use filter::READ_AT_MOST;

/// A PIN as it was read.
#[derive(Clone)]
pub(super) struct Pin {
    pub(super) text: SecretString,
    /// Differs when the source has changed. None where that cannot be seen without a look at the
    /// PIN itself: systemd writes a credential anew at each start, a variable has no date.
    pub(super) version: Option<String>,
    /// What is said before it is sent.
    pub(super) oddity: Option<Oddity>,
}

/// Reads the PIN. Its form is the vendor's business; only what no keyboard gives is refused, from
/// each source alike.
pub(super) fn read(source: &PinSource, attendance: &Attendance) -> Result<Pin, PinError> {
    let wrong = |why: SourceFault| PinError::Source {
        pin_source: source.clone(),
        why,
    };
    let mut version = None;
    let bytes = match source {
        PinSource::File(path) => {
            let (bytes, meta) = read_file(path, 0o077).map_err(wrong)?;
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
            None => return Err(wrong(SourceFault::NotSet)),
        },
        PinSource::Credential(name) => {
            let folder = env::var_os("CREDENTIALS_DIRECTORY")
                .ok_or_else(|| wrong(SourceFault::NoCredentials))?;
            // systemd gives the service's user access by an ACL, which shows as the group's r.
            let path = PathBuf::from(folder).join(name);
            read_file(&path, 0o037).map_err(wrong)?.0
        }
        PinSource::Command(words) => command::output_of(words).map_err(wrong)?,
        PinSource::Prompt | PinSource::ProtectedPath => match attendance {
            Attendance::Attended(ask) => {
                let typed = ask("PIN of the token").map_err(SourceFault::Asking);
                let typed = typed.map_err(wrong)?;
                Zeroizing::new(typed.expose_secret().as_bytes().to_vec())
            }
            Attendance::Unattended => return Err(PinError::NobodyThere(source.clone())),
        },
    };
    let (text, oddity) = filter::pin_of(&bytes).map_err(wrong)?;
    Ok(Pin {
        text,
        version,
        oddity,
    })
}

/// Reads a PIN from a file whose mode has none of the `forbidden` bits.
fn read_file(path: &Path, forbidden: u32) -> Result<(Zeroizing<Vec<u8>>, Metadata), SourceFault> {
    let out_of_reach = |error| match path_access::obstacle(path, &[Use::Read]) {
        // The source names the path, so the system's word is enough.
        None | Some(Obstacle::Missing { is_last: true, .. }) => SourceFault::Io(error),
        Some(obstacle) => obstacle.into(),
    };
    // A pipe that nobody writes to would be waited for.
    let mut file = OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(path)
        .map_err(
            |error| match fs::metadata(path).as_ref().map(path_access::no_file) {
                Ok(Some(kind)) => SourceFault::NotAFile(kind),
                _ => out_of_reach(error),
            },
        )?;
    // The open file is asked, not the path: nobody can swap one for the other in between.
    let meta = file.metadata().map_err(SourceFault::Io)?;
    if let Some(kind) = path_access::no_file(&meta) {
        return Err(SourceFault::NotAFile(kind));
    }
    if meta.uid() != 0 && meta.uid() != geteuid().as_raw() {
        return Err(SourceFault::of_another_user(&Owned::new(path, &meta)));
    }
    if meta.mode() & forbidden != 0 {
        return Err(SourceFault::Open {
            mode: meta.mode() & 0o777,
            of_root: meta.uid() != geteuid().as_raw(),
        });
    }
    let bytes = bytes_of(&mut file).map_err(SourceFault::Io)?;
    // Half of an old PIN and half of a new one would cost a try.
    let after = file.metadata().map_err(SourceFault::Io)?;
    let of = |meta: &Metadata| (meta.size(), meta.mtime(), meta.mtime_nsec());
    if of(&meta) != of(&after) {
        return Err(SourceFault::WrittenMeanwhile);
    }
    Ok((bytes, meta))
}

fn bytes_of(file: &mut File) -> io::Result<Zeroizing<Vec<u8>>> {
    // Room for all of it at once: a growing buffer would leave copies of the PIN behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(READ_AT_MOST + 1));
    file.take(READ_AT_MOST as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}
