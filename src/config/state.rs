//! The folder for what must outlive the process, and where it is when the file does not say.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// `state_dir` of `[[token]]`, else the service's folder (systemd's `StateDirectory=`), else the
/// user's (XDG Base Directory Specification). `None`: there is no such folder.
pub(super) fn folder(configured: Option<&Path>) -> Option<PathBuf> {
    configured
        .map(Path::to_owned)
        .or_else(|| derived(|name| env::var_os(name)))
}

fn derived(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    // A relative path there is to be ignored, says the specification; so is it for the others: it
    // would make a PIN's record depend on where the command was started.
    let folder = |name: &str| {
        variable(name)
            .map(PathBuf::from)
            .filter(|p| p.is_absolute())
    };
    let of_service = variable("STATE_DIRECTORY").and_then(|list| {
        let first = env::split_paths(&list).next();
        first.filter(|path| path.is_absolute())
    });
    of_service.or_else(|| {
        folder("XDG_STATE_HOME")
            .or_else(|| folder("HOME").map(|home| home.join(".local/state")))
            .map(|states| states.join("hsm-mtls"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_of_the_service_comes_before_that_of_the_user() {
        let with = |set: &'static [(&str, &str)]| {
            let found = derived(|name| {
                let value = set.iter().find(|(known, _)| *known == name);
                value.map(|(_, value)| value.into())
            });
            found.map(|path| path.to_string_lossy().into_owned())
        };
        assert_eq!(with(&[]), None);
        assert_eq!(with(&[("HOME", "here")]), None);
        assert_eq!(
            with(&[("HOME", "/home/lfi")]).as_deref(),
            Some("/home/lfi/.local/state/hsm-mtls")
        );
        assert_eq!(
            with(&[("HOME", "/home/lfi"), ("XDG_STATE_HOME", "/var/xdg")]).as_deref(),
            Some("/var/xdg/hsm-mtls")
        );
        assert_eq!(
            with(&[("HOME", "/"), ("STATE_DIRECTORY", "/var/lib/a:/var/lib/b")]).as_deref(),
            Some("/var/lib/a")
        );
    }
}
