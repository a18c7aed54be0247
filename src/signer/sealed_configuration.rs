//! The text of a configuration as a sealed file in memory (memfd_create(2)): it passes through the supervisor without being
//! read there, because arguments of a PIN program and variables of a module may lead to the PIN. Each signer finds it as its
//! standard output, also after it has executed itself again, and also when the file on the disk has changed since.

use std::fs::File;
use std::io;
#[cfg(feature = "front-end")]
use std::io::Write as _;
use std::os::fd::BorrowedFd;
#[cfg(feature = "front-end")]
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;

#[cfg(feature = "front-end")]
use rustix::fs::{MemfdFlags, fcntl_add_seals, memfd_create};
use rustix::fs::{Mode, OFlags, SealFlags, fcntl_get_seals};

/// Nobody who has the file can change it.
const SEALS: SealFlags = SealFlags::WRITE
    .union(SealFlags::GROW)
    .union(SealFlags::SHRINK)
    .union(SealFlags::SEAL);

/// A sealed file with this text.
#[cfg(feature = "front-end")]
pub(super) fn seal(text: &str) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut file = File::from(memfd_create("configuration", flags)?);
    file.write_all(text.as_bytes())?;
    fcntl_add_seals(&file, SEALS)?;
    Ok(file.into())
}

/// Whether this is such a file: what else a supervisor could pass on, somebody could change while it is in use.
pub(super) fn is_sealed(file: BorrowedFd<'_>) -> bool {
    fcntl_get_seals(file).is_ok_and(|seals| seals.contains(SEALS))
}

/// Whether the supervisor of a proxy passed on its configuration.
pub(super) fn is_at_standard_output() -> bool {
    is_sealed(rustix::stdio::stdout())
}

/// The text in the sealed file at standard output. `None`: there is another file.
pub(super) fn at_standard_output() -> Option<String> {
    let file = rustix::stdio::stdout();
    if !is_sealed(file) {
        return None;
    }
    read(file).ok()
}

/// Lets go of the file: standard output is `/dev/null` from then on.
pub(super) fn release_standard_output() -> io::Result<()> {
    let null = rustix::fs::open("/dev/null", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    Ok(rustix::stdio::dup2_stdout(null)?)
}

fn read(file: BorrowedFd<'_>) -> io::Result<String> {
    let file = File::from(file.try_clone_to_owned()?);
    let length = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
    let mut bytes = vec![0; length];
    // From its start: whoever has the file shares its position.
    file.read_exact_at(&mut bytes, 0)?;
    String::from_utf8(bytes).map_err(io::Error::other)
}

#[cfg(all(test, feature = "front-end"))]
mod tests {
    use std::os::fd::AsFd as _;

    use rustix::fs::ftruncate;
    use rustix::io::write;

    use super::*;

    #[test]
    fn nobody_changes_what_is_sealed() {
        let text = "x = 1\n".repeat(20_000);
        let file = seal(&text).unwrap();
        assert!(is_sealed(file.as_fd()));
        assert_eq!(read(file.as_fd()).unwrap(), text);
        assert!(write(&file, b"y").is_err() && ftruncate(&file, 0).is_err());
        assert!(fcntl_add_seals(&file, SealFlags::FUTURE_WRITE).is_err());
        assert_eq!(read(file.as_fd()).unwrap(), text);
    }

    #[test]
    fn an_unsealed_file_is_none() {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = memfd_create("configuration", flags).unwrap();
        fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::SEAL).unwrap();
        assert!(!is_sealed(file.as_fd()));
        assert!(!is_sealed(File::open("/dev/null").unwrap().as_fd()));
    }
}
