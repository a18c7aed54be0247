//! The files that a module's variables name, looked at when it fails or shows no token: vendors' code
//! answers CKR_GENERAL_ERROR, or nothing, to a configuration that it cannot read.
//!
//! What is said is what was seen, beside the module's own answer; where the module works, nobody looks.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use super::TokenError;
use crate::config::TokenConfig;
use crate::config::module_env::PATH_VARIABLES;
use crate::path_access::{Obstacle, Use, obstacle};

/// Longest configuration that is looked into, in bytes.
const LONGEST: u64 = 256 * 1024;
/// Entries of a token folder that are looked at.
const ENTRIES: usize = 256;

/// The failure, with what was seen to be in the module's way.
pub(super) fn explained(failed: TokenError, config: &TokenConfig) -> TokenError {
    match in_the_way(config) {
        Some((seen, advice)) => TokenError::OutOfReach {
            failed: Box::new(failed),
            seen,
            advice,
        },
        None => failed,
    }
}

/// What is in the module's way to its own files, and what opens it: for a module that shows no token.
pub fn in_the_way(config: &TokenConfig) -> Option<(String, String)> {
    let own = config.env.iter();
    let own = own.map(|(name, value)| (name.as_str(), PathBuf::from(value)));
    let inherited = PATH_VARIABLES
        .into_iter()
        .filter(|name| !config.env.contains_key(*name))
        .filter_map(|name| Some((name, PathBuf::from(env::var_os(name)?))));
    own.chain(inherited)
        .chain(default_of_softhsm(config))
        .find_map(|(name, value)| named(name, &value))
}

/// SoftHSM's own order, where no variable names its configuration.
fn default_of_softhsm(config: &TokenConfig) -> Option<(&'static str, PathBuf)> {
    let name = "SOFTHSM2_CONF";
    let is_softhsm = config.module.to_string_lossy().contains("softhsm");
    if !is_softhsm || config.env.contains_key(name) || env::var_os(name).is_some() {
        return None;
    }
    let home =
        env::var_os("HOME").map(|home| Path::new(&home).join(".config/softhsm2/softhsm2.conf"));
    let own = home.filter(|path| path.exists());
    let path = own.unwrap_or_else(|| "/etc/softhsm/softhsm2.conf".into());
    Some(("SoftHSM, without SOFTHSM2_CONF,", path))
}

fn named(name: &str, value: &Path) -> Option<(String, String)> {
    let known = PATH_VARIABLES.contains(&name) || name.starts_with("SoftHSM");
    if value.is_relative() {
        if !known || value.exists() {
            return None;
        }
        let here = env::current_dir().unwrap_or_default();
        return Some((
            format!(
                "{name} is {}, a path from the folder that this was started in ({}), and nothing is there",
                value.display(),
                here.display()
            ),
            "write the absolute path into `env` of [[token]]; {config_dir} stands for the configuration's folder"
                .to_owned(),
        ));
    }
    let uses: &[Use] = match value.is_dir() {
        true => &[Use::Read, Use::Search],
        false => &[Use::Read],
    };
    match obstacle(value, uses) {
        // What a variable of a name that is not known names may be made by the module.
        Some(Obstacle::Missing { is_last: true, .. }) if !known => None,
        Some(obstacle) => Some((
            format!("{name} names {}: {obstacle}", value.display()),
            obstacle.advice(),
        )),
        None => within(name, value),
    }
}

/// The paths that a configuration names in its turn: SoftHSM's token folder with all that is in it, and of
/// others what is there and closed.
fn within(name: &str, file: &Path) -> Option<(String, String)> {
    let meta = fs::metadata(file).ok()?;
    if !meta.is_file() || meta.len() > LONGEST {
        return None;
    }
    let text = fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| {
        let (field, path) = setting(line)?;
        let found = if field == "directories.tokendir" {
            token_folder(&path)
        } else {
            obstacle(&path, &[Use::Read]).filter(|found| matches!(found, Obstacle::Closed { .. }))
        }?;
        let seen = format!(
            "{name} names {}, and `{field}` there {}: {found}",
            file.display(),
            path.display()
        );
        Some((seen, found.advice()))
    })
}

/// `name = /path` or `name: /path`, as the configurations of vendors have it.
fn setting(line: &str) -> Option<(&str, PathBuf)> {
    let line = line.trim();
    if line.starts_with(['#', ';']) {
        return None;
    }
    let (field, value) = line.split_once(['=', ':'])?;
    let value = value.trim().trim_end_matches([';', ',']);
    let value = value.trim_matches(['"', '\'']);
    value
        .starts_with('/')
        .then(|| (field.trim(), PathBuf::from(value)))
}

/// The folder, the token folders in it and their files: SoftHSM gives up on the first that it cannot read.
fn token_folder(folder: &Path) -> Option<Obstacle> {
    let open = [Use::Read, Use::Search];
    let closed = |path: &Path| {
        let uses: &[Use] = if path.is_dir() { &open } else { &[Use::Read] };
        obstacle(path, uses).filter(|found| matches!(found, Obstacle::Closed { .. }))
    };
    obstacle(folder, &open)
        .or_else(|| {
            let tokens = entries(folder);
            let files = tokens.iter().flat_map(|token| entries(token));
            let all: Vec<PathBuf> = tokens.iter().cloned().chain(files).collect();
            all.iter().find_map(|path| closed(path))
        })
        .or_else(|| obstacle(folder, &[Use::Write]))
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let found = fs::read_dir(folder).into_iter().flatten().flatten();
    found.take(ENTRIES).map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_each_vendors_form_are_read() {
        for (line, found) in [
            (
                "directories.tokendir = /var/lib/softhsm/tokens/",
                Some(("directories.tokendir", "/var/lib/softhsm/tokens/")),
            ),
            (
                "   LibUNIX64 = /usr/safenet/lunaclient/lib/libCryptoki2_64.so;",
                Some((
                    "LibUNIX64",
                    "/usr/safenet/lunaclient/lib/libCryptoki2_64.so",
                )),
            ),
            (
                "log_file: \"/var/log/p11nethsm.log\"",
                Some(("log_file", "/var/log/p11nethsm.log")),
            ),
            ("# directories.tokendir = /x", None),
            ("log.level = ERROR", None),
            ("connector=http://127.0.0.1:12345", None),
        ] {
            let read = setting(line);
            let read = read
                .as_ref()
                .map(|(field, path)| (*field, path.to_str().unwrap()));
            assert_eq!(read, found, "{line}");
        }
    }
}
