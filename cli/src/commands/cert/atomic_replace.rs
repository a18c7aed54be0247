//! A certificate file takes the place of the one before in one step, and the one before stays beside it: whoever
//! installed the wrong one has something to go back to.

use std::fs::{self, File, Metadata, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use der::DateTime;
use hsm_mtls::internal::certificate::{Certificate, CertificateError, read_file};
use hsm_mtls::internal::config::Config;
use hsm_mtls::internal::config::paths::REPLACED;

use super::super::CommandError;
use super::super::output_file::{USUAL, beside, named_elsewhere};

/// As many certificates may be replaced within a second.
const MOST: u32 = 1000;

/// The place that was looked at.
pub(super) struct Replacement<'a> {
    path: &'a Path,
    before: Option<Metadata>,
    /// The leaf that is there, where it can be read.
    pub(super) leaf: Option<Certificate>,
}

impl<'a> Replacement<'a> {
    /// Looks whether a certificate can be put there. Nothing that is there is changed.
    ///
    /// # Errors
    /// It cannot; or the configuration names the same file for something else.
    pub(super) fn claim(config: &Config, path: &'a Path) -> Result<Self, CommandError> {
        let unwritable = |source| {
            let path = path.to_owned();
            CommandError::stage(CertificateError::Unwritable { path, source })
        };
        if let Some(role) = named_elsewhere(config, path) {
            return Err(CommandError::usage(
                format!(
                    "`certificate` of [c3] names {}, which is also {role}",
                    path.display()
                ),
                "give the certificate a file of its own: it would take the place of the other",
            ));
        }
        let before = match fs::metadata(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            other => Some(other.map_err(unwritable)?),
        };
        if before.as_ref().is_some_and(|before| !before.is_file()) {
            return Err(unwritable(io::Error::other("it is not a file")));
        }
        // What cannot be written is said before the token is asked.
        beside(path, USUAL).map_err(unwritable)?;
        let leaf = read_file(path).ok();
        Ok(Self {
            path,
            before,
            leaf: leaf.and_then(|given| given.into_iter().next()),
        })
    }

    /// Puts it there: a reader sees one of the two, whole. Says where the one before is kept, where there was
    /// another.
    ///
    /// # Errors
    /// It is not there, and the one before is.
    pub(super) fn put(self, pem: &str) -> Result<Option<PathBuf>, CommandError> {
        let path = self.path;
        let put = || {
            let mut file = beside(path, USUAL)?;
            if let Some(before) = &self.before {
                same_readers(file.as_file(), before)?;
            }
            file.write_all(pem.as_bytes())?;
            file.as_file().sync_all()?;
            let other = fs::symlink_metadata(path).is_ok()
                && fs::read(path).map_or(true, |there| there != pem.as_bytes());
            let kept = other.then(|| keep(path)).transpose()?;
            file.persist(path).map_err(|error| error.error)?;
            Ok(kept)
        };
        put().map_err(|source| {
            let path = path.to_owned();
            CommandError::stage(CertificateError::Unwritable { path, source })
        })
    }
}

/// Gives what is there a second name, which nothing has yet. Of a link, the link.
fn keep(path: &Path) -> io::Result<PathBuf> {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let whole = std::time::Duration::from_secs(since.as_secs());
    let time = DateTime::from_unix_duration(whole).map_err(io::Error::other)?;
    let time = time.to_string().replace(':', "");
    for number in 1..MOST {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(REPLACED);
        name.push(&time);
        if number > 1 {
            name.push(format!("-{number}"));
        }
        let kept = path.with_file_name(name);
        match fs::hard_link(path, &kept) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Ok(()) => return Ok(kept),
            // Of another user's file, or where there are no hard links.
            Err(_) => {
                let mut copy = File::create_new(&kept)?;
                copy.write_all(&fs::read(path)?)?;
                copy.sync_all()?;
                return Ok(kept);
            }
        }
    }
    Err(io::Error::other(
        "too many that were replaced lie beside it",
    ))
}

/// Whoever could read the one before can read this one.
fn same_readers(file: &File, before: &Metadata) -> io::Result<()> {
    let made = file.metadata()?;
    if (made.uid(), made.gid()) != (before.uid(), before.gid()) {
        // Who is not root cannot give a file away; a group of the user's own may do.
        let _ = fchown(file, Some(before.uid()), Some(before.gid()))
            .or_else(|_| fchown(file, None, Some(before.gid())));
    }
    file.set_permissions(Permissions::from_mode(before.mode() & 0o777))
}
