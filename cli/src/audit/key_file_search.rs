//! Searches folders for files that hold a copy of the key.
//!
//! A file is read to find out which public key it belongs to. The buffer is wiped afterwards.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use secrecy::zeroize::Zeroizing;

use super::key_file_format::{Content, private_keys};
use hsm_mtls::internal::key::public::PublicKey;

/// The largest file that is read, in bytes: private keys are smaller.
const MAX_FILE_SIZE: u64 = 1 << 20;
/// How many files are read in all.
const MAX_FILES: usize = 100_000;
/// How many levels of folders are searched.
const MAX_DEPTH: usize = 32;

/// The result of a search.
#[derive(Debug, Default)]
pub(super) struct Search {
    /// Files that hold the key.
    pub(super) copies: Vec<PathBuf>,
    /// Files with private keys that cannot be compared, and why.
    pub(super) unknown: Vec<String>,
    /// How many other private keys there are.
    pub(super) other_keys: usize,
    /// How many files were read.
    pub(super) files: usize,
    /// Files and folders that were not read, and why.
    pub(super) errors: Vec<String>,
    /// How many symbolic links were not followed.
    pub(super) links: usize,
}

/// Searches all files of these folders for the private key of `wanted`. Symbolic links below them are not followed.
pub(super) fn search(folders: &[PathBuf], wanted: &PublicKey) -> Search {
    let mut search = Search::default();
    for folder in folders {
        // A folder of the command line may be a link itself.
        match fs::canonicalize(folder) {
            Ok(folder) => search_path(&folder, wanted, MAX_DEPTH, &mut search),
            Err(error) => search.errors.push(format!("{}: {error}", folder.display())),
        }
    }
    search
}

/// Searches a file, or a folder and all below it.
fn search_path(path: &Path, wanted: &PublicKey, depth: usize, search: &mut Search) {
    let with_path = |error: io::Error| format!("{}: {error}", path.display());
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) => return search.errors.push(with_path(error)),
    };
    if metadata.is_symlink() {
        search.links += 1;
    }
    if metadata.is_dir() {
        let entries = match fs::read_dir(path) {
            Ok(entries) => entries,
            Err(error) => return search.errors.push(with_path(error)),
        };
        if depth == 0 {
            return search.errors.push(format!("{}: too deep", path.display()));
        }
        for entry in entries {
            match entry {
                Ok(entry) => search_path(&entry.path(), wanted, depth - 1, search),
                Err(error) => return search.errors.push(with_path(error)),
            }
        }
        return;
    }
    if !metadata.is_file() {
        return;
    }
    if metadata.len() > MAX_FILE_SIZE {
        let reason = "longer than 1 MiB, and not looked at";
        return search.errors.push(format!("{}: {reason}", path.display()));
    }
    if search.files >= MAX_FILES {
        // Once only.
        let limit = format!("more than {MAX_FILES} files: the rest was not looked at");
        if search.errors.last() != Some(&limit) {
            search.errors.push(limit);
        }
        return;
    }
    search.files += 1;
    match read(path) {
        Err(error) => search.errors.push(with_path(error)),
        Ok(bytes) => {
            compare(path, private_keys(&bytes), wanted, search);
        }
    }
}

/// Reads a file. Another process may have replaced it by a pipe or a link in the meantime: neither is opened.
fn read(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no file any more"));
    }
    // The full capacity at once: a buffer that grows leaves copies that are not wiped.
    let length = file.metadata()?.len().min(MAX_FILE_SIZE);
    let mut bytes = Zeroizing::new(Vec::with_capacity(length as usize + 1));
    file.take(MAX_FILE_SIZE).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Adds the private keys of a file to the result.
fn compare(path: &Path, contents: Vec<Content>, wanted: &PublicKey, search: &mut Search) {
    let mut unknown = BTreeSet::new();
    let mut is_copy = false;
    // One key may be seen twice: PKCS#8 has another form of it within.
    let mut others: Vec<PublicKey> = Vec::new();
    for content in contents {
        match content {
            Content::NoPrivateKey => {}
            Content::Key(key) if key == *wanted => is_copy = true,
            Content::Key(key) if others.contains(&key) => {}
            Content::Key(key) => others.push(key),
            Content::Unknown(reason) => drop(unknown.insert(reason)),
        }
    }
    search.other_keys += others.len();
    if is_copy {
        search.copies.push(path.to_owned());
    }
    let unknown = unknown.into_iter();
    let unknown = unknown.map(|reason| format!("{}: {reason}", path.display()));
    search.unknown.extend(unknown);
}
