//! The state of a rotation on disk: what is intended is written before it is done, so that whoever comes after a crash goes on
//! instead of beginning again. One file for each configuration and role, in `state_dir`, for its owner only.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hsm_mtls::internal::config::trust::Fingerprint;
use hsm_mtls::internal::config::{Config, KeyAndCertificate};
use hsm_mtls::internal::ledger::lock::FileLock;
use hsm_mtls::internal::owner_and_mode::{Protection, faults};
use hsm_mtls::internal::state_file;
use serde::{Deserialize, Serialize};

use super::RotationError;

/// How long a process that was killed may take to let go of its lock.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);

/// How far a rotation is. A stage is written when the step that leads to it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Stage {
    /// The new key is being made: it may exist, or a half of it.
    Begun,
    /// The key is there, and the request is signed.
    Requested,
    /// The certificate is stored.
    Installed,
    /// The new pair has shown that it works.
    Tested,
    /// The configuration names the new pair.
    Switched,
    /// The old key is being destroyed.
    Retiring,
}

impl Stage {
    /// In words.
    pub(super) fn describe(self) -> &'static str {
        match self {
            Self::Begun => "the new key is being made",
            Self::Requested => "the request waits for its certificate",
            Self::Installed => "the new certificate is stored and not tested",
            Self::Tested => "the new pair is tested and not in use",
            Self::Switched => "the configuration names the new pair",
            Self::Retiring => "the old key is being destroyed",
        }
    }
}

/// A rotation that is under way.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    pub(super) schema: u32,
    /// `c3` or `sig4`.
    pub(super) role: String,
    pub(super) configuration: PathBuf,
    /// RFC 3339.
    pub(super) begun: String,
    pub(super) stage: Stage,
    pub(super) old: OldPair,
    pub(super) new: NewPair,
    /// When `rotate test` passed, in seconds after the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) tested: Option<u64>,
    /// When the configuration was last seen to name the new pair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) switched: Option<u64>,
}

/// The pair that is replaced.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OldPair {
    /// As the file names it.
    pub(super) written: KeyAndCertificate,
    /// The key, with its label and CKA_ID.
    pub(super) uri: String,
    pub(super) label: String,
    pub(super) spki: Fingerprint,
    pub(super) certificate: CertificateFacts,
    /// The subject in DER, as hexadecimal digits.
    pub(super) subject: String,
}

/// The pair that takes its place, as far as there is one.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewPair {
    /// CKA_LABEL of the key that is to be made.
    pub(super) label: String,
    /// Its CKA_ID, as hexadecimal digits: what is asked for.
    pub(super) id: String,
    /// The URI of a key that a key ceremony made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) of_ceremony: Option<String>,
    #[serde(default)]
    pub(super) accept_claims: bool,
    /// The key, with its label and CKA_ID, once it is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) uri: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) spki: Option<Fingerprint>,
    /// The request, in PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) request: Option<String>,
    /// As the file is to name it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) written: Option<KeyAndCertificate>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) certificate: Option<CertificateFacts>,
}

/// What is said of a certificate without its file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CertificateFacts {
    pub(super) fingerprint: Fingerprint,
    pub(super) x5t_s256: String,
    /// RFC 3339.
    pub(super) not_after: String,
}

/// The file of a rotation.
#[derive(Debug)]
pub(super) struct StateFile {
    path: PathBuf,
    role: String,
}

impl StateFile {
    /// The file for a configuration and the role of its view. Its name is a hash: two environments may have one `state_dir`.
    ///
    /// # Errors
    /// No `state_dir` is known.
    pub(super) fn of(view: &Config) -> Result<Self, RotationError> {
        let folder = view
            .token
            .state_folder()
            .ok_or(RotationError::NoStateFolder)?;
        let configuration = fs::canonicalize(&view.path).unwrap_or_else(|_| view.path.clone());
        let digest = Fingerprint::of(configuration.as_os_str().as_encoded_bytes()).0;
        let digits = digest.iter().take(8).map(|byte| format!("{byte:02x}"));
        let role = view.c3.role.section().to_owned();
        let name = format!("rotation-{role}-{}.json", digits.collect::<String>());
        Ok(Self {
            path: folder.join(name),
            role,
        })
    }

    /// Keeps every other process from this rotation, until the lock is dropped.
    ///
    /// # Errors
    /// Another process has it, or the folder cannot be written to.
    pub(super) fn lock(&self) -> Result<FileLock, RotationError> {
        let path = self.path.with_extension("lock");
        self.check_folder()?;
        let locked = DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(self.folder())
            .and_then(|()| {
                let mut options = OpenOptions::new();
                options.create(true).append(true).mode(0o600).open(&path)
            })
            .and_then(|file| {
                FileLock::acquire_until(&Arc::new(file), Instant::now() + LOCK_TIMEOUT)
            });
        match locked {
            Ok(Some(lock)) => Ok(lock),
            Ok(None) => Err(RotationError::Busy { lock: path }),
            Err(error) => Err(self.error(error)),
        }
    }

    /// The rotation that is under way.
    ///
    /// # Errors
    /// The file cannot be read, is of another version, or others may change it.
    pub(super) fn load(&self) -> Result<Option<State>, RotationError> {
        let state = state_file::read(&self.path).map_err(|error| self.error(error))?;
        let Some(state) = state else {
            return Ok(None);
        };
        match state {
            State { schema: 1.., .. } => Err(self.error("it is of another version")),
            state if state.role != self.role => Err(self.error("it is of another key")),
            state => Ok(Some(state)),
        }
    }

    /// Replaces the file: after a crash or a power cut it is the old one or the new one. The lock is held.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn save(&self, state: &State) -> Result<(), RotationError> {
        // The lock keeps others from a file with this name, which a crash may have left.
        let next = self.path.with_extension("json.new");
        let written = state_file::replace(&self.path, &next, state);
        written.map_err(|error| self.error(error))
    }

    /// The rotation has ended.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub(super) fn remove(&self) -> Result<(), RotationError> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.error(error)),
            _ => state_file::sync_folder_of(&self.path).map_err(|error| self.error(error)),
        }
    }

    fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }

    fn check_folder(&self) -> Result<(), RotationError> {
        match faults(self.folder(), Protection::Unchanged).first() {
            Some(fault) => Err(self.error(fault)),
            None => Ok(()),
        }
    }

    fn error(&self, why: impl ToString) -> RotationError {
        RotationError::State {
            path: self.path.clone(),
            why: why.to_string(),
        }
    }
}
