//! The folder for persistent state: `state_dir`, or the default by the conventions of systemd and XDG.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// `state_dir` of `[[token]]`, else the service's folder (systemd's `StateDirectory=`), else the
/// user's (XDG Base Directory Specification). `None` if none of them is set.
pub(super) fn folder(configured: Option<&Path>) -> Option<PathBuf> {
    configured
        .map(Path::to_owned)
        .or_else(|| default_folder(|name| env::var_os(name)))
}

fn default_folder(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    // The XDG specification says that relative paths are to be ignored. Those in the other variables are ignored too: the
    // record of a refused PIN must not depend on the working directory.
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
        let folder_with = |set: &'static [(&str, &str)]| {
            let found = default_folder(|name| {
                let value = set.iter().find(|(known, _)| *known == name);
                value.map(|(_, value)| value.into())
            });
            found.map(|path| path.to_string_lossy().into_owned())
        };
        assert_eq!(folder_with(&[]), None);
        assert_eq!(folder_with(&[("HOME", "relative")]), None);
        assert_eq!(
            folder_with(&[("HOME", "/home/lfi")]).as_deref(),
            Some("/home/lfi/.local/state/hsm-mtls")
        );
        assert_eq!(
            folder_with(&[("HOME", "/home/lfi"), ("XDG_STATE_HOME", "/var/xdg")]).as_deref(),
            Some("/var/xdg/hsm-mtls")
        );
        assert_eq!(
            folder_with(&[("HOME", "/"), ("STATE_DIRECTORY", "/var/lib/a:/var/lib/b")]).as_deref(),
            Some("/var/lib/a")
        );
    }
}
