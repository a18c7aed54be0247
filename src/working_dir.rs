//! The working directory of a process that loads a PKCS#11 module: some modules read their configuration there
//! (`azcloudhsm_application.cfg` of Azure Cloud HSM, `yubihsm_pkcs11.conf`).
//!
//! A process of ours changes into it before it loads the module, and remembers where it was started: relative paths of the
//! command line, and the programs that it runs, keep their meaning.

use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Where this process was started, if it has changed its working directory.
static STARTED_IN: OnceLock<PathBuf> = OnceLock::new();

/// Changes the working directory of this process.
///
/// # Errors
/// The folder is missing or not accessible.
pub fn enter(folder: &Path) -> io::Result<()> {
    let before = env::current_dir()?;
    env::set_current_dir(folder)?;
    STARTED_IN.get_or_init(|| before);
    Ok(())
}

/// Where this process was started; `None` if it still works there.
pub fn started_in() -> Option<&'static Path> {
    STARTED_IN.get().map(PathBuf::as_path)
}

/// A path of the command line as it was meant.
pub fn from_start(path: &Path) -> PathBuf {
    started_in().map_or_else(|| path.to_owned(), |folder| folder.join(path))
}
