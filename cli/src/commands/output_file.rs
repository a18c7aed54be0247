//! Files that commands write, by one rule: an existing file is replaced only with `--force`, a file that the
//! configuration names never, and a file is written completely or not at all. The rule is checked before the token or
//! the hub is used.

mod same_file;

use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use hsm_mtls::internal::config::Config;
use hsm_mtls::internal::config::paths::{NamedPath, PathRole};
use hsm_mtls::internal::working_dir;
use tempfile::{Builder, NamedTempFile};

use super::{CommandError, output};
use same_file::{Target, descriptor, folder_of, symlink_metadata};

/// How the name of an incomplete file begins.
const TEMP_PREFIX: &str = ".hsm-mtls-";

/// The mode of a file for its owner only.
pub(super) const PRIVATE_MODE: u32 = 0o600;
/// The mode of a file whose readers the umask decides.
pub(super) const DEFAULT_MODE: u32 = 0o666;

/// The option of a command that names an output file.
pub(super) struct OutputOption<'a> {
    /// The content in words, for messages: "the report".
    pub(super) content: &'static str,
    /// The path as it was typed; `None` where the option was not given.
    pub(super) path: Option<&'a Path>,
    /// Whether an existing file may be replaced.
    pub(super) force: bool,
    /// The mode of a new file, before the umask.
    pub(super) mode: u32,
    /// Whether the result of the command goes to standard output as JSON.
    pub(super) json: bool,
}

/// An output file whose path was checked, and that is not written yet.
pub(super) struct OutputFile {
    content: &'static str,
    path: PathBuf,
    destination: Destination,
}

enum Destination {
    Stdout,
    Stderr,
    /// A pipe, a device, or an inherited file descriptor: written to directly.
    Stream(File),
    File {
        replaces: bool,
        mode: u32,
    },
}

impl OutputFile {
    /// Checks that the file of an option may and can be written. Nothing is changed. `None` where the option was not
    /// given.
    ///
    /// # Errors
    /// It may not be written, or it cannot; or it would mix with the JSON on standard output.
    pub(super) fn claim(
        option: &OutputOption<'_>,
        configs: &[&Config],
    ) -> Result<Option<Self>, CommandError> {
        let Some(path) = option.path else {
            return Ok(None);
        };
        let path = match path == Path::new("-") {
            true => path.to_owned(),
            false => working_dir::from_start(path),
        };
        let file = Self::check(option, &path, configs)?;
        if option.json && file.is_stdout() {
            return Err(CommandError::usage(
                format!("--json and {} both go to standard output", file.content),
                "name a file for one of them",
            ));
        }
        Ok(Some(file))
    }

    fn check(
        option: &OutputOption<'_>,
        path: &Path,
        configs: &[&Config],
    ) -> Result<Self, CommandError> {
        let OutputOption {
            content,
            force,
            mode,
            ..
        } = *option;
        let refused = |reason: String, hint: &str| {
            let message = format!("{content} cannot be kept in {}: {reason}", path.display());
            CommandError::usage(message, hint)
        };
        let failed = |error: &io::Error| {
            let hint = match error.kind() {
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => DISK_FULL_HINT,
                _ => OTHER_FILE_HINT,
            };
            refused(error.to_string(), hint)
        };
        let checked = |destination| {
            Ok(Self {
                content,
                path: path.to_owned(),
                destination,
            })
        };
        let text = path.as_os_str().as_encoded_bytes();
        if text == b"-" {
            return checked(Destination::Stdout);
        }
        let named: Vec<NamedPath> = configs
            .iter()
            .flat_map(|config| config.named_paths())
            .collect();
        let refuse_named = |folds_case| match Target::of(path, folds_case).named_in(&named) {
            Some(named) => {
                let place = match named.role {
                    PathRole::StateDir => "in ",
                    _ => "",
                };
                Err(refused(format!("it is {place}{}", named.role), NAMED_HINT))
            }
            None => Ok(()),
        };
        refuse_named(false)?;
        match descriptor(path) {
            Some(1) => return checked(Destination::Stdout),
            Some(2) => return checked(Destination::Stderr),
            Some(_) => {
                let file = File::options().append(true).open(path);
                return checked(Destination::Stream(file.map_err(|error| failed(&error))?));
            }
            None => {}
        }
        if text.is_empty() || text.ends_with(b"/") || path.is_dir() {
            return Err(refused("it is a folder".to_owned(), OTHER_FILE_HINT));
        }
        let existing = symlink_metadata(path).map_err(|error| failed(&error))?;
        let file_type = fs::metadata(path).map(|metadata| metadata.file_type());
        if let Ok(file_type) = file_type {
            if file_type.is_fifo() || file_type.is_char_device() {
                let file = File::options().write(true).open(path);
                return checked(Destination::Stream(file.map_err(|error| failed(&error))?));
            }
            if !file_type.is_file() {
                let reason = "it is a socket or a disk".to_owned();
                return Err(refused(reason, OTHER_FILE_HINT));
            }
        }
        if let (Some(existing), false) = (&existing, force) {
            let reason = match existing.is_symlink() {
                true => "a link is there already",
                false => "a file is there already",
            };
            return Err(refused(reason.to_owned(), EXISTS_HINT));
        }
        // A temporary file shows whether the folder can be written to. It is removed at once: a command that is killed
        // leaves nothing behind.
        let probe = temp_file_beside(path, mode).map_err(|error| failed(&error))?;
        refuse_named(folds_case(probe.path()))?;
        let replaces = existing.is_some();
        if let Some(reason) =
            existing.and_then(|existing| sticky_folder_forbids(path, existing.uid()))
        {
            return Err(refused(reason.to_owned(), OTHER_FILE_HINT));
        }
        checked(Destination::File { replaces, mode })
    }

    /// The path as it was typed.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is standard output.
    pub(super) fn is_stdout(&self) -> bool {
        matches!(self.destination, Destination::Stdout)
    }

    /// Writes the file, completely or not at all.
    ///
    /// # Errors
    /// It was not written.
    pub(super) fn write(self, bytes: &[u8]) -> Result<(), CommandError> {
        let written = match self.destination {
            Destination::Stdout => return output::raw(bytes),
            Destination::Stderr => io::stderr().lock().write_all(bytes),
            Destination::Stream(mut file) => match file.write_all(bytes) {
                // The reader of a pipe may have closed it, as with standard output.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
                other => other,
            },
            Destination::File { replaces, mode } => {
                write_atomically(&self.path, bytes, replaces, mode)
            }
        };
        written.map_err(|error| {
            let (content, path) = (self.content, self.path.display());
            let message = format!("{content} could not be kept in {path}: {error}");
            CommandError::usage(
                message,
                "check the disk and the folder; what was there before is unchanged",
            )
        })
    }
}

const OTHER_FILE_HINT: &str = "name a file that does not exist yet, in a folder that this user can write to; nothing was sent or asked";
const DISK_FULL_HINT: &str =
    "make room there, or name a file on another disk; nothing was sent or asked";
const EXISTS_HINT: &str = "name a file that does not exist yet, or replace this one with --force";
const NAMED_HINT: &str = "name a file that does not exist yet: what the configuration names is in use, and is not \
     written over, with --force either";

/// The role of a secret file in the configuration, where `path` leads to one; a link or another spelling counts too.
pub(super) fn secret_role(config: &Config, path: &Path) -> Option<PathRole> {
    let mut named = config.named_paths();
    named.retain(|named| named.holds_secret());
    Target::of(path, false)
        .named_in(&named)
        .map(|named| named.role.clone())
}

/// The second role that the configuration gives the file of one of its certificates, where it has one.
pub(super) fn second_role(
    config: &Config,
    certificate: &Path,
    role: &PathRole,
) -> Option<PathRole> {
    let mut named = config.named_paths();
    named.retain(|named| named.path != certificate || named.role != *role);
    let target = Target::of(certificate, false);
    target.named_in(&named).map(|named| named.role.clone())
}

/// A temporary file in the folder of `path`, to be renamed to it.
pub(super) fn temp_file_beside(path: &Path, mode: u32) -> io::Result<NamedTempFile> {
    let mut file = Builder::new();
    file.prefix(TEMP_PREFIX)
        .permissions(Permissions::from_mode(mode));
    let folder = folder_of(path);
    file.tempfile_in(folder)
        .map_err(|error| folder_error(folder, &error))
}

/// The error about the folder in place of one about the temporary file, whose name a person has not seen.
fn folder_error(folder: &Path, error: &io::Error) -> io::Error {
    let (kind, folder) = (error.kind(), folder.display());
    let reason = match kind {
        ErrorKind::NotFound => format!("the folder {folder} is not there"),
        ErrorKind::NotADirectory => format!("{folder} is not a folder"),
        ErrorKind::PermissionDenied => format!("this user may not write to the folder {folder}"),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            format!("the disk of the folder {folder} is full")
        }
        ErrorKind::ReadOnlyFilesystem => {
            format!("the folder {folder} is on a disk that cannot be written to")
        }
        _ => format!("no file can be made in the folder {folder}: {kind}"),
    };
    io::Error::new(kind, reason)
}

/// Writes a temporary file, and renames it.
fn write_atomically(path: &Path, bytes: &[u8], replaces: bool, mode: u32) -> io::Result<()> {
    let mut file = temp_file_beside(path, mode)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    match replaces {
        true => file.persist(path),
        false => file.persist_noclobber(path),
    }
    .map(drop)
    .map_err(|error| error.error)
}

/// Whether file names are case-insensitive in the folder of `probe`, a file that exists.
fn folds_case(probe: &Path) -> bool {
    let Some(name) = probe.file_name() else {
        return false;
    };
    let upper_case = probe.with_file_name(name.to_string_lossy().to_uppercase());
    matches!(symlink_metadata(&upper_case), Ok(Some(_)))
}

/// Why the file of `owner` cannot be replaced: in a sticky folder like /tmp only its owner may do so, or the folder's.
fn sticky_folder_forbids(path: &Path, owner: u32) -> Option<&'static str> {
    let folder = fs::metadata(folder_of(path)).ok()?;
    let user = fs::metadata("/proc/self").ok()?.uid();
    let sticky = folder.mode() & 0o1000 != 0;
    let may_replace = user == 0 || [owner, folder.uid()].contains(&user);
    (sticky && !may_replace).then_some("the file that is there belongs to another user")
}
