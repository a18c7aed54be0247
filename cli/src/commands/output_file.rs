//! The one rule for every file that a command writes: never over a file that is there without `--force`, never
//! over what the configuration names, and whole or not at all. It is asked before the token or the hub is.

mod same_file;

use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use hsm_mtls::internal::config::Config;
use hsm_mtls::internal::config::paths::NamedPath;
use tempfile::{Builder, NamedTempFile};

use super::{CommandError, output};
use same_file::{Target, descriptor, folder_of, there};

/// Of a file that is not there whole yet.
const BEGINNING: &str = ".hsm-mtls-";

/// For its owner only.
pub(super) const PRIVATE: u32 = 0o600;
/// As the umask says.
pub(super) const USUAL: u32 = 0o666;

/// What is written, and where to.
pub(super) struct Wanted<'a> {
    /// In words: "the report".
    pub(super) what: &'static str,
    /// As it was typed.
    pub(super) path: &'a Path,
    /// Whether a file that is there may be replaced.
    pub(super) force: bool,
    /// The mode of a new file, before the umask.
    pub(super) mode: u32,
}

/// A place that was looked at, for something that is yet to be made.
pub(super) struct OutputFile {
    what: &'static str,
    path: PathBuf,
    place: Place,
}

enum Place {
    Stdout,
    Stderr,
    /// A pipe, a device, or a file that somebody else has open: written to as it is.
    Stream(File),
    File {
        replaces: bool,
        mode: u32,
    },
}

impl OutputFile {
    /// Looks whether it may be written there. Nothing that is there is changed.
    ///
    /// # Errors
    /// It may not, or it cannot.
    pub(super) fn claim(wanted: &Wanted<'_>, configs: &[&Config]) -> Result<Self, CommandError> {
        let Wanted {
            what, path, force, ..
        } = *wanted;
        let refused = |why: String, hint: &str| {
            let message = format!("{what} cannot be kept in {}: {why}", path.display());
            CommandError::usage(message, hint)
        };
        let failed = |error: &io::Error| {
            let hint = match error.kind() {
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => FULL,
                _ => ELSEWHERE,
            };
            refused(error.to_string(), hint)
        };
        let claimed = |place| {
            Ok(Self {
                what,
                path: path.to_owned(),
                place,
            })
        };
        let text = path.as_os_str().as_encoded_bytes();
        if text == b"-" {
            return claimed(Place::Stdout);
        }
        let named: Vec<NamedPath> = configs
            .iter()
            .flat_map(|config| config.named_paths())
            .collect();
        let look = |folds_case| match Target::of(path, folds_case).named_in(&named) {
            Some(named) => Err(refused(format!("it is {}", named.role), NAMED)),
            None => Ok(()),
        };
        look(false)?;
        match descriptor(path) {
            Some(1) => return claimed(Place::Stdout),
            Some(2) => return claimed(Place::Stderr),
            Some(_) => {
                let file = File::options().append(true).open(path);
                return claimed(Place::Stream(file.map_err(|error| failed(&error))?));
            }
            None => {}
        }
        if text.is_empty() || text.ends_with(b"/") || path.is_dir() {
            return Err(refused("it is a folder".to_owned(), ELSEWHERE));
        }
        let found = there(path).map_err(|error| failed(&error))?;
        let kind = fs::metadata(path).map(|found| found.file_type());
        if let Ok(kind) = kind {
            if kind.is_fifo() || kind.is_char_device() {
                let file = File::options().write(true).open(path);
                return claimed(Place::Stream(file.map_err(|error| failed(&error))?));
            }
            if !kind.is_file() {
                let why = "it is a socket or a disk".to_owned();
                return Err(refused(why, ELSEWHERE));
            }
        }
        if let (Some(found), false) = (&found, force) {
            let why = match found.is_symlink() {
                true => "a link is there already",
                false => "a file is there already",
            };
            return Err(refused(why.to_owned(), EXISTS));
        }
        // What cannot be written is found out now. Nothing is left there while others work, or are killed at it.
        let trial = beside(path, wanted.mode).map_err(|error| failed(&error))?;
        look(folds_case(trial.path()))?;
        let replaces = found.is_some();
        if let Some(why) = found.and_then(|found| anothers(path, found.uid())) {
            return Err(refused(why.to_owned(), ELSEWHERE));
        }
        claimed(Place::File {
            replaces,
            mode: wanted.mode,
        })
    }

    /// Refuses what would mix a file with the JSON of a result.
    ///
    /// # Errors
    /// Both were asked for on standard output.
    pub(super) fn beside_json(file: Option<&Self>) -> Result<(), CommandError> {
        match file.filter(|file| file.is_stdout()) {
            None => Ok(()),
            Some(file) => Err(CommandError::usage(
                format!("--json and {} both go to standard output", file.what),
                "name a file for one of them",
            )),
        }
    }

    /// As it was typed.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it goes where the result of the command goes.
    pub(super) fn is_stdout(&self) -> bool {
        matches!(self.place, Place::Stdout)
    }

    /// Writes it, whole or not at all.
    ///
    /// # Errors
    /// It is not there.
    pub(super) fn keep(self, bytes: &[u8]) -> Result<(), CommandError> {
        let written = match self.place {
            Place::Stdout => return output::raw(bytes),
            Place::Stderr => io::stderr().lock().write_all(bytes),
            Place::Stream(mut file) => match file.write_all(bytes) {
                // Whoever reads may have had enough, as of standard output.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
                other => other,
            },
            Place::File { replaces, mode } => write(&self.path, bytes, replaces, mode),
        };
        written.map_err(|error| {
            let (what, path) = (self.what, self.path.display());
            let message = format!("{what} could not be kept in {path}: {error}");
            CommandError::usage(
                message,
                "check the disk and the folder; what was there before is unchanged",
            )
        })
    }
}

const ELSEWHERE: &str = "name a file that does not exist yet, in a folder that this user can write to; nothing was sent or asked";
const FULL: &str = "make room there, or name a file on another disk; nothing was sent or asked";
const EXISTS: &str = "name a file that does not exist yet, or replace this one with --force";
const NAMED: &str = "name a file that does not exist yet: what the configuration names is in use, and is not \
     written over, with --force either";

/// Which secret of a configuration a file is, by whatever name.
pub(super) fn secret_of(config: &Config, path: &Path) -> Option<String> {
    let mut named = config.named_paths();
    named.retain(|named| named.holds_secret());
    Target::of(path, false)
        .named_in(&named)
        .map(|named| named.role.clone())
}

/// What else a configuration names the file of its certificate for.
pub(super) fn named_elsewhere(config: &Config, certificate: &Path) -> Option<String> {
    let mut named = config.named_paths();
    named.retain(|named| named.path != certificate || !named.role.contains("[c3]"));
    // A link that is replaced leaves what it leads to.
    let target = Target::of(certificate, false);
    target.named_in(&named).map(|named| named.role.clone())
}

/// A file beside the one that it becomes.
pub(super) fn beside(path: &Path, mode: u32) -> io::Result<NamedTempFile> {
    let mut file = Builder::new();
    file.prefix(BEGINNING)
        .permissions(Permissions::from_mode(mode));
    let folder = folder_of(path);
    file.tempfile_in(folder)
        .map_err(|error| in_folder(folder, &error))
}

/// The name of a file that was only tried for says nothing to whoever reads of it.
fn in_folder(folder: &Path, error: &io::Error) -> io::Error {
    let (kind, place) = (error.kind(), folder.display());
    let why = match kind {
        ErrorKind::NotFound => format!("the folder {place} is not there"),
        ErrorKind::NotADirectory => format!("{place} is not a folder"),
        ErrorKind::PermissionDenied => format!("this user may not write to the folder {place}"),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            format!("the disk of the folder {place} is full")
        }
        ErrorKind::ReadOnlyFilesystem => {
            format!("the folder {place} is on a disk that cannot be written to")
        }
        _ => format!("no file can be made in the folder {place}: {kind}"),
    };
    io::Error::new(kind, why)
}

fn write(path: &Path, bytes: &[u8], replaces: bool, mode: u32) -> io::Result<()> {
    let mut file = beside(path, mode)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    match replaces {
        true => file.persist(path),
        false => file.persist_noclobber(path),
    }
    .map(drop)
    .map_err(|error| error.error)
}

/// Whether the folder of a file of ours takes another spelling for the same name.
fn folds_case(ours: &Path) -> bool {
    let Some(name) = ours.file_name() else {
        return false;
    };
    let other = ours.with_file_name(name.to_string_lossy().to_uppercase());
    matches!(there(&other), Ok(Some(_)))
}

/// In a folder like /tmp nobody replaces a file of somebody else's.
fn anothers(path: &Path, owner: u32) -> Option<&'static str> {
    let folder = fs::metadata(folder_of(path)).ok()?;
    let user = fs::metadata("/proc/self").ok()?.uid();
    let sticky = folder.mode() & 0o1000 != 0;
    let may = user == 0 || [owner, folder.uid()].contains(&user);
    (sticky && !may).then_some("the file that is there belongs to another user")
}
