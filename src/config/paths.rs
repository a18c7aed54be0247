//! The paths that a configuration names, each with its role: no output file (a report, a certificate request) overwrites one of
//! them, and no other user may change what decides something.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::access_diagnosis;
use crate::owner_and_mode::Protection;

/// A path that the configuration names, and its role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedPath {
    /// The path.
    pub path: PathBuf,
    /// Its role.
    pub role: PathRole,
    /// Which files the role covers.
    pub extent: Extent,
    /// What other users must not be able to do with it. `None`: it decides nothing, as far as is known.
    pub protection: Option<Protection>,
}

impl NamedPath {
    /// Whether it may hold a secret: a PIN, the token of a caller, or credentials.
    pub fn holds_secret(&self) -> bool {
        matches!(
            self.role,
            PathRole::PinFile
                | PathRole::PinCredential
                | PathRole::PinProgram
                | PathRole::PinArgument
                | PathRole::CallerToken
                | PathRole::ProxyCredentials
        )
    }
}

/// The role of a path. Its `Display` is for messages: "the certificate of `[c3]`".
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the texts of `Display` say what each is")]
pub enum PathRole {
    Configuration,
    Certificate,
    Sig4Certificate,
    Anchors,
    Crl,
    Module,
    PinFile,
    PinCredential,
    PinProgram,
    PinArgument,
    StateDir,
    WorkingDir,
    WorkingDirFile,
    ModuleVariable(String),
    SignerFolder,
    Ledger,
    HeadSocket,
    HeadProgram,
    HeadArgument,
    AccessLog,
    Socket,
    CallerToken,
    ProxyCredentials,
    ProxyAnchors,
    Attestation,
}

impl fmt::Display for PathRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Configuration => "the configuration file",
            Self::Certificate => "the certificate of [c3]",
            Self::Sig4Certificate => "the certificate of [sig4]",
            Self::Anchors => "`anchors` of [trust]",
            Self::Crl => "one of `crls` of [trust]",
            Self::Module => "the module",
            Self::PinFile => "the PIN file",
            Self::PinCredential => "the PIN's credential",
            Self::PinProgram | Self::PinArgument => "what `command` of `pin` names",
            Self::StateDir => "the folder where refused PINs are remembered (`state_dir`)",
            Self::WorkingDir => "`working_dir` of [[token]]",
            Self::WorkingDirFile => "what the module reads in `working_dir` of [[token]]",
            Self::ModuleVariable(name) => {
                return write!(f, "what the module reads by {name} of [[token]] env");
            }
            Self::SignerFolder => "a folder of `landlock` of [signer]",
            Self::Ledger => "the ledger",
            Self::HeadSocket | Self::HeadProgram | Self::HeadArgument => "`head` of [ledger]",
            Self::AccessLog => "the access log",
            Self::Socket => "a socket of [proxy]",
            Self::CallerToken => "a caller's token",
            Self::ProxyCredentials => "the credentials of the forward proxy",
            Self::ProxyAnchors => "`proxy_anchors` of [network]",
            Self::Attestation => "`attestation` of [audit]",
        })
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

/// The suffix of a certificate file that `cert install` has replaced, before its time.
pub const REPLACED_SUFFIX: &str = ".replaced-";

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
