//! Every path that a configuration names, and for what: nothing that is written elsewhere, a report or a
//! request, may take the place of one of them.

use std::env;
use std::io;
use std::path::{Path, PathBuf};

use super::ledger::HeadExport;
use super::listener::{Callers, Place};
use super::pin::PinSource;
use super::proxy::AccessLog;
use super::{CertificateSource, Config};
use crate::path_access;

/// A path, and what the configuration names it for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedPath {
    /// Where.
    pub path: PathBuf,
    /// In words: "the certificate of `[c3]`".
    pub role: String,
    /// What belongs to it.
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

/// What belongs to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// The file itself.
    File,
    /// The file, and those beside it whose names begin with its own and this: what was closed, rotated or kept.
    WithOlder(&'static str),
    /// All that lies in the folder; where it is no folder, the file itself.
    Contents,
}

/// What [`unseen`] says of a place where nothing is.
pub const NOT_THERE: &str = "not there";

/// Why nothing is seen at a path: "not there", or what keeps this user from looking. `None`: something is there.
pub fn unseen(path: &Path) -> Option<String> {
    match path.try_exists() {
        Ok(true) => None,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let why = path_access::obstacle(path, &[]).map(|obstacle| obstacle.to_string());
            let why = why.unwrap_or_else(|| error.to_string());
            Some(format!("cannot be looked at by this user: {why}"))
        }
        Ok(false) | Err(_) => Some(NOT_THERE.to_owned()),
    }
}

/// Variables that name where anything may lie.
const EVERYBODYS: [&str; 5] = ["HOME", "PWD", "TMPDIR", "TMP", "TEMP"];

/// Behind the name of a certificate file that `cert install` has replaced.
pub const REPLACED: &str = ".replaced-";

impl Config {
    /// All of them, the configuration file itself first.
    pub fn named_paths(&self) -> Vec<NamedPath> {
        let mut all = Named(Vec::new());
        all.file(&self.path, "the configuration file");
        if let CertificateSource::File(path) = &self.c3.certificate {
            all.add(path, "the certificate of [c3]", Extent::WithOlder(REPLACED));
        }
        all.file(&self.trust.anchors, "`anchors` of [trust]");
        for path in &self.trust.crls {
            all.file(path, "one of `crls` of [trust]");
        }
        self.of_token(&mut all);
        if let Some(ledger) = &self.ledger {
            all.add(&ledger.file, "the ledger", Extent::WithOlder("."));
            match &ledger.head {
                Some(HeadExport::Syslog(path)) => all.file(path, "`head` of [ledger]"),
                Some(HeadExport::Command(words)) => all.words(words, "`head` of [ledger]"),
                None => {}
            }
        }
        if let Some(proxy) = &self.proxy {
            if let AccessLog::File(path) = &proxy.access_log {
                all.add(path, "the access log", Extent::WithOlder("."));
            }
            let operations = proxy.operations.iter().map(|found| &found.place);
            let places = proxy.listeners.iter().map(|listener| &listener.place);
            for place in places.chain(operations) {
                if let Place::Unix { path, .. } = place {
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

    fn of_token(&self, all: &mut Named) {
        let token = &self.token;
        all.file(&token.module, "the module");
        match &token.pin {
            PinSource::File(path) => all.file(path, PIN_FILE),
            PinSource::Credential(name) => {
                if let Some(folder) = env::var_os("CREDENTIALS_DIRECTORY") {
                    all.file(&Path::new(&folder).join(name), PIN_CREDENTIAL);
                }
            }
            PinSource::Command(words) => all.words(words, PIN_COMMAND),
            PinSource::Env(_) | PinSource::Prompt | PinSource::ProtectedPath => {}
        }
        if let Some(folder) = token.state_folder() {
            let role = "in the folder where refused PINs are remembered (`state_dir`)";
            all.add(&folder, role, Extent::Contents);
        }
        for (name, value) in &token.env {
            if EVERYBODYS.contains(&name.as_str()) {
                continue;
            }
            // A list of paths has colons. A word that is no path names nothing, and the root is nobody's own.
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

struct Named(Vec<NamedPath>);

impl Named {
    fn file(&mut self, path: &Path, role: &str) {
        self.add(path, role, Extent::File);
    }

    /// A program, and the files among its arguments.
    fn words(&mut self, words: &[String], role: &str) {
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
