//! Replaces a file of certificates or CRLs atomically, by rename. The replaced file stays beside it as a backup.

use std::fs::{self, File, Metadata, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use der::DateTime;
use hsm_mtls::internal::certificate::{Certificate, CertificateError, read_file};
use hsm_mtls::internal::config::paths::{PathRole, REPLACED_SUFFIX};
use hsm_mtls::internal::config::{Config, KeyRole};

use super::super::CommandError;
use super::super::output_file::{DEFAULT_MODE, second_role, temp_file_beside};

/// How many backups one second may have.
const MAX_BACKUPS: u32 = 1000;

/// The configured certificate file, which was checked and can be replaced.
pub(in crate::commands) struct CertificateFile<'a> {
    path: &'a Path,
    existing: Option<Metadata>,
    /// The leaf of the existing file, where it can be read.
    pub(super) leaf: Option<Certificate>,
}

impl<'a> CertificateFile<'a> {
    /// Checks that the file of the role's certificate can be written. Nothing is changed.
    ///
    /// # Errors
    /// It cannot; or the configuration names the same file for something else.
    pub(in crate::commands) fn check(
        config: &Config,
        role: KeyRole,
        path: &'a Path,
    ) -> Result<Self, CommandError> {
        let unwritable = |source| {
            let path = path.to_owned();
            CommandError::stage(CertificateError::Unwritable { path, source })
        };
        let of_certificate = match role {
            KeyRole::C3 => PathRole::Certificate,
            KeyRole::Sig4 => PathRole::Sig4Certificate,
        };
        if let Some(second) = second_role(config, path, &of_certificate) {
            return Err(CommandError::usage(
                format!(
                    "`certificate` of [{}] names {}, which is also {second}",
                    role.section(),
                    path.display()
                ),
                "give the certificate a file of its own: it would take the place of the other",
            ));
        }
        let existing = match fs::metadata(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            other => Some(other.map_err(unwritable)?),
        };
        if existing
            .as_ref()
            .is_some_and(|existing| !existing.is_file())
        {
            return Err(unwritable(io::Error::other("it is not a file")));
        }
        // A temporary file shows whether the folder can be written to, before the token is used.
        temp_file_beside(path, DEFAULT_MODE).map_err(unwritable)?;
        let leaf = read_file(path).ok();
        Ok(Self {
            path,
            existing,
            leaf: leaf.and_then(|certificates| certificates.into_iter().next()),
        })
    }

    /// The new file gets owner, group and mode of this one, where it takes the place of none.
    pub(in crate::commands) fn like(mut self, other: &Path) -> Self {
        self.existing = self.existing.or_else(|| fs::metadata(other).ok());
        self
    }

    /// Replaces the file: a reader sees the old or the new content, and never a part. Returns the path of the backup, where
    /// there was another file.
    ///
    /// # Errors
    /// It could not be written; the old file is unchanged.
    pub(in crate::commands) fn replace(self, pem: &str) -> Result<Option<PathBuf>, CommandError> {
        let path = self.path;
        replace(path, self.existing.as_ref(), pem.as_bytes(), Replaced::Kept).map_err(|source| {
            let path = path.to_owned();
            CommandError::stage(CertificateError::Unwritable { path, source })
        })
    }
}

/// What becomes of the file of before.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::commands) enum Replaced {
    /// It stays beside the new one, by a name with the time.
    Kept,
    /// It is removed.
    Removed,
}

/// Replaces or makes a file that the configuration names in this role: a reader sees the old or the new content, and never a
/// part. Returns the path of the backup, where there was another file that is kept.
///
/// # Errors
/// It could not be written, or the configuration names the same file for something else; the old file is unchanged.
pub(in crate::commands) fn replace_file(
    config: &Config,
    path: &Path,
    role: &PathRole,
    content: &[u8],
    replaced: Replaced,
) -> Result<Option<PathBuf>, CertificateError> {
    let written = || {
        if let Some(second) = second_role(config, path, role) {
            let why = format!("the configuration names it as {second} too");
            return Err(io::Error::other(why));
        }
        let existing = match fs::metadata(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            other => Some(other?),
        };
        if existing
            .as_ref()
            .is_some_and(|existing| !existing.is_file())
        {
            return Err(io::Error::other("it is not a file"));
        }
        replace(path, existing.as_ref(), content, replaced)
    };
    written().map_err(|source| CertificateError::Unwritable {
        path: path.to_owned(),
        source,
    })
}

fn replace(
    path: &Path,
    existing: Option<&Metadata>,
    content: &[u8],
    replaced: Replaced,
) -> io::Result<Option<PathBuf>> {
    let mut file = temp_file_beside(path, DEFAULT_MODE)?;
    if let Some(existing) = existing {
        copy_owner_and_mode(file.as_file(), existing)?;
    }
    file.write_all(content)?;
    file.as_file().sync_all()?;
    let differs = replaced == Replaced::Kept
        && fs::symlink_metadata(path).is_ok()
        && fs::read(path).map_or(true, |found| found != content);
    let backup = differs.then(|| back_up(path)).transpose()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(backup)
}

/// Makes a hard link to the file, by a name with the time that is not in use. For a symbolic link, to the link itself.
fn back_up(path: &Path) -> io::Result<PathBuf> {
    let since_epoch = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let seconds = Duration::from_secs(since_epoch.as_secs());
    let time = DateTime::from_unix_duration(seconds).map_err(io::Error::other)?;
    let time = time.to_string().replace(':', "");
    for number in 1..MAX_BACKUPS {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(REPLACED_SUFFIX);
        name.push(&time);
        if number > 1 {
            name.push(format!("-{number}"));
        }
        let backup = path.with_file_name(name);
        match fs::hard_link(path, &backup) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Ok(()) => return Ok(backup),
            // The file is another user's (fs.protected_hardlinks), or the file system has no hard links.
            Err(_) => {
                let mut copy = File::create_new(&backup)?;
                copy.write_all(&fs::read(path)?)?;
                copy.sync_all()?;
                return Ok(backup);
            }
        }
    }
    Err(io::Error::other(
        "too many that were replaced lie beside it",
    ))
}

/// Gives the new file the owner, the group and the mode of the replaced one: the same processes can read it.
pub(in crate::commands) fn copy_owner_and_mode(file: &File, replaced: &Metadata) -> io::Result<()> {
    let new = file.metadata()?;
    if (new.uid(), new.gid()) != (replaced.uid(), replaced.gid()) {
        // Only root can change the owner; a user can set a group that it is in, which may be enough.
        let _ = fchown(file, Some(replaced.uid()), Some(replaced.gid()))
            .or_else(|_| fchown(file, None, Some(replaced.gid())));
    }
    file.set_permissions(Permissions::from_mode(replaced.mode() & 0o777))
}
