//! Lists every path that a configuration names, with its role, so that no output file (a report, a certificate request)
//! overwrites one of them.

use std::env;
use std::io;
use std::path::{Path, PathBuf};

use super::ledger::HeadExport;
use super::listener::{Callers, ListenAddress};
use super::pin::PinSource;
use super::proxy::AccessLog;
use super::{CertificateSource, Config};
use crate::access_diagnosis;

/// A path that the configuration names, and its role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedPath {
    /// The path.
    pub path: PathBuf,
    /// Its role, for messages: "the certificate of `[c3]`".
    pub role: String,
    /// Which files the role covers.
    pub extent: Extent,
}

const PIN_FILE: &str = "the PIN file";
const PIN_CREDENTIAL: &str = "the PIN's credential";
const PIN_COMMAND: &str = "what `command` of `pin` names";
const CALLER_TOKEN: &str = "a caller's token";

impl NamedPath {
    /// Whether it may hold a secret: a PIN, or the token of a caller.
    pub fn holds_secret(&self) -> bool {
        [PIN_FILE, PIN_CREDENTIAL, PIN_COMMAND, CALLER_TOKEN].contains(&self.role.as_str())
    }
}

/// Which files a [`NamedPath`] covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// The file itself.
    File,
    /// The file and its older versions: files whose names begin with its name and this suffix.
    WithOlder(&'static str),
    /// All files in the folder; the file itself if the path is not a folder.
    Contents,
}

/// What [`inaccessible`] returns for a path at which no file exists.
pub const NOT_THERE: &str = "not there";

/// Why this user cannot access a file at this path: it does not exist, or a folder denies access. `None`: a file exists.
pub fn inaccessible(path: &Path) -> Option<String> {
    match path.try_exists() {
        Ok(true) => None,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let why = access_diagnosis::obstacle(path, &[]).map(|obstacle| obstacle.to_string());
            let why = why.unwrap_or_else(|| error.to_string());
            Some(format!("cannot be looked at by this user: {why}"))
        }
        Ok(false) | Err(_) => Some(NOT_THERE.to_owned()),
    }
}

/// Environment variables whose folders are not specific to the module.
const COMMON_VARIABLES: [&str; 5] = ["HOME", "PWD", "TMPDIR", "TMP", "TEMP"];

/// How the names of modules' configuration files end.
const MODULE_CONFIG_EXTENSIONS: [&str; 5] = ["cfg", "conf", "ini", "yaml", "yml"];

/// The suffix of a certificate file that `cert install` has replaced, before its time.
pub const REPLACED_SUFFIX: &str = ".replaced-";

impl Config {
    /// Every path that the configuration names, the configuration file itself first.
    pub fn named_paths(&self) -> Vec<NamedPath> {
        let mut all = PathList(Vec::new());
        all.file(&self.path, "the configuration file");
        if let CertificateSource::File(path) = &self.c3.certificate {
            all.add(
                path,
                "the certificate of [c3]",
                Extent::WithOlder(REPLACED_SUFFIX),
            );
        }
        all.file(&self.trust.anchors, "`anchors` of [trust]");
        for path in &self.trust.crls {
            all.file(path, "one of `crls` of [trust]");
        }
        self.add_token_paths(&mut all);
        if let Some(ledger) = &self.ledger {
            all.add(&ledger.file, "the ledger", Extent::WithOlder("."));
            match &ledger.head {
                Some(HeadExport::Syslog(path)) => all.file(path, "`head` of [ledger]"),
                Some(HeadExport::Command(words)) => all.command(words, "`head` of [ledger]"),
                None => {}
            }
        }
        if let Some(proxy) = &self.proxy {
            if let AccessLog::File(path) = &proxy.access_log {
                all.add(path, "the access log", Extent::WithOlder("."));
            }
            let operations = proxy.operations.iter().map(|config| &config.address);
            let addresses = proxy.listeners.iter().map(|listener| &listener.address);
            for address in addresses.chain(operations) {
                if let ListenAddress::Unix { path, .. } = address {
                    all.file(path, "a socket of [proxy]");
                }
            }
            for listener in &proxy.listeners {
                if let Callers::Token(path) = &listener.callers {
                    all.file(path, CALLER_TOKEN);
                }
            }
        }
        if let Some(path) = &self.audit.attestation {
            all.file(path, "`attestation` of [audit]");
        }
        all.0
    }

    fn add_token_paths(&self, all: &mut PathList) {
        let token = &self.token;
        all.file(&token.module, "the module");
        match &token.pin {
            PinSource::File(path) => all.file(path, PIN_FILE),
            PinSource::Credential(name) => {
                if let Some(folder) = env::var_os("CREDENTIALS_DIRECTORY") {
                    all.file(&Path::new(&folder).join(name), PIN_CREDENTIAL);
                }
            }
            PinSource::Command(words) => all.command(words, PIN_COMMAND),
            PinSource::Env(_)
            | PinSource::Prompt
            | PinSource::ProtectedPath
            | PinSource::Empty
            | PinSource::None => {}
        }
        if let Some(folder) = token.state_folder() {
            let role = "in the folder where refused PINs are remembered (`state_dir`)";
            all.add(&folder, role, Extent::Contents);
        }
        // Its other files may be anybody's: an operator's shell is often in that folder.
        let entries = token
            .working_dir
            .as_ref()
            .and_then(|folder| folder.read_dir().ok());
        for entry in entries.into_iter().flatten().flatten() {
            let path = entry.path();
            let ending = path.extension().and_then(|ending| ending.to_str());
            if ending.is_some_and(|ending| MODULE_CONFIG_EXTENSIONS.contains(&ending)) {
                all.file(&path, "what the module reads in `working_dir` of [[token]]");
            }
        }
        for (name, value) in &token.env {
            if COMMON_VARIABLES.contains(&name.as_str()) {
                continue;
            }
            // The value may be a list of paths, separated by colons. A word that is not a path, and the root folder, are
            // left out.
            let is_path = |path: &PathBuf| {
                path.parent().is_some() && (path.components().count() > 1 || path.exists())
            };
            for path in env::split_paths(value).filter(is_path) {
                let role = format!("what the module reads by {name} of [[token]] env");
                all.add(&path, role, Extent::Contents);
            }
        }
    }
}

struct PathList(Vec<NamedPath>);

impl PathList {
    fn file(&mut self, path: &Path, role: &str) {
        self.add(path, role, Extent::File);
    }

    /// Adds a program and the absolute paths among its arguments.
    fn command(&mut self, words: &[String], role: &str) {
        for word in words.iter().filter(|word| word.starts_with('/')) {
            self.file(Path::new(word), role);
        }
    }

    fn add(&mut self, path: &Path, role: impl Into<String>, extent: Extent) {
        self.0.push(NamedPath {
            path: path.to_owned(),
            role: role.into(),
            extent,
        });
    }
}
