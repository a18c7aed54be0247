//! The working directory that a module needs: whether it is safe, and whether this process is in it.
//!
//! A module that reads its configuration there is told by that file which HSM to talk to, and some read the path of a further
//! library in it. So whoever can write to the folder must be trusted as much as whoever can write to the module.

use std::env;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::TokenError;
use crate::access_diagnosis::{AccessMode, obstacle};
use crate::owner_and_mode::{Protection, faults};

/// Checks the folder, and that this process is in it. The working directory is the whole process's: a library must not change
/// it under its application.
///
/// # Errors
/// The folder is missing, is none or not accessible, another user may write to it, or this process is in another one.
pub(super) fn check(folder: &Path) -> Result<(), TokenError> {
    let unfit = |why: String, advice: String| TokenError::WorkingDir {
        path: folder.to_owned(),
        why,
        advice,
    };
    let correct = || "correct `working_dir` of [[token]]".to_owned();
    if fs::metadata(folder).is_ok_and(|found| !found.is_dir()) {
        return Err(unfit("it is not a folder".to_owned(), correct()));
    }
    if let Some(obstacle) = obstacle(folder, &[AccessMode::Search]) {
        return Err(unfit(obstacle.to_string(), obstacle.advice()));
    }
    let wanted = fs::metadata(folder).map_err(|error| unfit(error.to_string(), correct()))?;
    if let Some(fault) = faults(folder, Protection::Unchanged).first() {
        let why = format!("others could decide what the module reads: {fault}");
        return Err(unfit(why, fault.advice()));
    }
    let current = fs::metadata(".");
    match current
        .is_ok_and(|current| (current.dev(), current.ino()) == (wanted.dev(), wanted.ino()))
    {
        true => Ok(()),
        false => Err(TokenError::WorkingDirNotEntered {
            path: folder.to_owned(),
            current: env::current_dir().unwrap_or_default(),
        }),
    }
}
