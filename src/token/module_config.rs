//! Checks access to the module's own configuration files, which its environment variables name, after the module failed or
//! showed no token: vendors' modules return CKR_GENERAL_ERROR, or no slot, if they cannot read them.
//!
//! The finding is added to the module's error. Nothing is checked while the module works.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use super::TokenError;
use crate::access_diagnosis::{AccessMode, Obstacle, obstacle};
use crate::config::TokenConfig;
use crate::config::module_env::PATH_VARIABLES;

/// The longest configuration file that is searched for paths, in bytes.
const MAX_CONFIG_SIZE: u64 = 256 * 1024;
/// How many entries of a folder are checked.
const MAX_ENTRIES: usize = 256;

/// Adds the first configuration file that is missing or not accessible to the module's error.
pub(super) fn explain_failure(failed: TokenError, config: &TokenConfig) -> TokenError {
    match config_obstacle(config) {
        Some((finding, advice)) => TokenError::OutOfReach {
            failed: Box::new(failed),
            seen: finding,
            advice,
        },
        None => failed,
    }
}

/// The first of the module's own files that is missing or not accessible, and the advice for it.
pub fn config_obstacle(config: &TokenConfig) -> Option<(String, String)> {
    let configured = config.env.iter();
    let configured = configured.map(|(name, value)| (name.as_str(), PathBuf::from(value)));
    let inherited = PATH_VARIABLES
        .into_iter()
        .filter(|name| !config.env.contains_key(*name))
        .filter_map(|name| Some((name, PathBuf::from(env::var_os(name)?))));
    configured
        .chain(inherited)
        .chain(softhsm_default(config))
        .find_map(|(name, value)| check_variable(name, &value))
}

/// The path of SoftHSM's configuration if SOFTHSM2_CONF is not set.
fn softhsm_default(config: &TokenConfig) -> Option<(&'static str, PathBuf)> {
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

/// The first problem with the path in a variable, or with a path in the file that the variable names.
fn check_variable(name: &str, value: &Path) -> Option<(String, String)> {
    let known = PATH_VARIABLES.contains(&name) || name.starts_with("SoftHSM");
    if value.is_relative() {
        if !known || value.exists() {
            return None;
        }
        let current = env::current_dir().unwrap_or_default();
        return Some((
            format!(
                "{name} is {}, a path from the folder that this was started in ({}), and nothing is there",
                value.display(),
                current.display()
            ),
            "write the absolute path into `env` of [[token]]; {config_dir} stands for the configuration's folder"
                .to_owned(),
        ));
    }
    let uses: &[AccessMode] = match value.is_dir() {
        true => &[AccessMode::Read, AccessMode::Search],
        false => &[AccessMode::Read],
    };
    match obstacle(value, uses) {
        // An unknown variable may name a file that the module creates.
        Some(Obstacle::Missing { is_last: true, .. }) if !known => None,
        Some(obstacle) => Some((
            format!("{name} names {}: {obstacle}", value.display()),
            obstacle.advice(),
        )),
        None => check_config_file(name, value),
    }
}

/// The first problem with a path in a configuration file. SoftHSM's token folder is checked with its content, other paths
/// only for permissions.
fn check_config_file(name: &str, file: &Path) -> Option<(String, String)> {
    let meta = fs::metadata(file).ok()?;
    if !meta.is_file() || meta.len() > MAX_CONFIG_SIZE {
        return None;
    }
    let text = fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| {
        let (field, path) = parse_setting(line)?;
        let found = if field == "directories.tokendir" {
            check_token_folder(&path)
        } else {
            obstacle(&path, &[AccessMode::Read])
                .filter(|found| matches!(found, Obstacle::Denied { .. }))
        }?;
        let finding = format!(
            "{name} names {}, and `{field}` there {}: {found}",
            file.display(),
            path.display()
        );
        Some((finding, found.advice()))
    })
}

/// Parses `name = /path` or `name: /path`, the forms of the vendors' configuration files.
fn parse_setting(line: &str) -> Option<(&str, PathBuf)> {
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

/// Checks SoftHSM's folder, the token folders in it and their files: SoftHSM fails if it cannot read one of them.
fn check_token_folder(folder: &Path) -> Option<Obstacle> {
    let open = [AccessMode::Read, AccessMode::Search];
    let denied = |path: &Path| {
        let uses: &[AccessMode] = if path.is_dir() {
            &open
        } else {
            &[AccessMode::Read]
        };
        obstacle(path, uses).filter(|found| matches!(found, Obstacle::Denied { .. }))
    };
    obstacle(folder, &open)
        .or_else(|| {
            let tokens = entries(folder);
            let files = tokens.iter().flat_map(|token| entries(token));
            let all: Vec<PathBuf> = tokens.iter().cloned().chain(files).collect();
            all.iter().find_map(|path| denied(path))
        })
        .or_else(|| obstacle(folder, &[AccessMode::Write]))
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let found = fs::read_dir(folder).into_iter().flatten().flatten();
    found.take(MAX_ENTRIES).map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_in_each_vendors_syntax_are_parsed() {
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
            let read = parse_setting(line);
            let read = read
                .as_ref()
                .map(|(field, path)| (*field, path.to_str().unwrap()));
            assert_eq!(read, found, "{line}");
        }
    }
}
