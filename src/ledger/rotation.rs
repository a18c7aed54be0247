//! Log rotation: creates the next file of the chain and replaces the active file by it.

use std::fs::{self, File, Metadata, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::chain_files;
use super::location;

/// The file that replaces the active one.
#[derive(Debug)]
pub(super) struct NextFile {
    file: Arc<File>,
    path: PathBuf,
    folder: File,
}

impl NextFile {
    /// Creates the file with its first line, and with owner and mode of the `active` file. Removes a file that a crash left
    /// in an earlier rotation.
    pub(super) fn create(path: &Path, active: &File, line: &[u8]) -> io::Result<Self> {
        // If the folder cannot be opened or synced, fail before the active file is replaced.
        let folder = File::open(location::parent_folder(path))?;
        folder.sync_all()?;
        let mut name = path.as_os_str().to_owned();
        name.push(".new");
        let new = PathBuf::from(name);
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = location::open_options().create_new(true).open(&new)?;
        copy_owner_and_mode(&file, &active.metadata()?)?;
        file.write_all(line)?;
        file.sync_all()?;
        Ok(Self {
            file: Arc::new(file),
            path: new,
            folder,
        })
    }

    pub(super) fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// Links the `active` file to its numbered name, and renames this file to the configured name. At each moment a file
    /// exists at the configured name.
    ///
    /// # Errors
    /// The active file was not replaced.
    pub(super) fn replace_active(
        &self,
        path: &Path,
        active: &File,
        first_sequence: u64,
    ) -> io::Result<()> {
        let closed = chain_files::closed_path(path, first_sequence);
        match fs::hard_link(path, &closed) {
            // An earlier rotation, which failed or was interrupted, has created the link.
            Err(error)
                if error.kind() == io::ErrorKind::AlreadyExists
                    && chain_files::is_at(active, &closed)? => {}
            other => other?,
        }
        fs::rename(&self.path, path)
    }

    /// Calls fsync on the folder, so that the new names survive a power cut.
    ///
    /// # Errors
    /// fsync failed. The new names are in effect nevertheless, for all processes.
    pub(super) fn sync_folder(&self) -> io::Result<()> {
        self.folder.sync_all()
    }
}

/// Gives the new file the old one's owner, group and mode, so that the same users can write and read it.
fn copy_owner_and_mode(new: &File, old: &Metadata) -> io::Result<()> {
    let current = new.metadata()?;
    let owner = (current.uid() != old.uid()).then_some(old.uid());
    let group = (current.gid() != old.gid()).then_some(old.gid());
    if owner.is_some() || group.is_some() {
        fchown(new, owner, group)?;
    }
    new.set_permissions(Permissions::from_mode(old.mode() & 0o777))
}
