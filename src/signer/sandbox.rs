//! Landlock: restricts a process to the files and ports that it needs. The front end may read the folders of certificate,
//! trust anchors and CRLs, and what name resolution needs; PIN and ledger must be out of its reach, because it parses the
//! network.
//!
//! Rules name folders: a rule on a file ends when the file is replaced, which would break the reload. The resolver's
//! files are the exception, because their folder has `/etc/shadow` in it.

use std::fs;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible, NetPort, PathBeneath, PathFd,
    RestrictionStatus, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus,
    Scope,
};

use super::SignerError;
use super::hardening::Measure;
use crate::config::pin::PinSource;
use crate::config::proxy::AccessLog;
use crate::config::trust::TrustMode;
use crate::config::{CertificateSource, Config};

/// The newest ABI whose access rights are handled; an older kernel handles those that it knows.
const ABI_WANTED: ABI = ABI::V6;

/// What name resolution reads, links included.
const RESOLVER_FILES: [&str; 7] = [
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/nsswitch.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/ld.so.cache",
];
const RESOLVER_FOLDERS: [&str; 8] = [
    "/run/systemd/resolve",
    "/run/resolvconf",
    "/run/NetworkManager",
    "/usr/lib",
    "/lib",
    "/lib64",
    "/usr/share/zoneinfo",
    "/dev/urandom",
];
/// The system's trust anchors, for configurations that trust public CAs.
const PUBLIC_ROOTS: [&str; 4] = [
    "/etc/ssl",
    "/etc/pki",
    "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates",
];
/// The port of DNS over TCP.
const DNS_PORT: u16 = 53;

/// What a process may open and connect to.
#[derive(Debug, Default)]
pub struct Sandbox {
    read: Vec<PathBuf>,
    write: Vec<PathBuf>,
    connect: Option<Vec<u16>>,
}

impl Sandbox {
    /// The front end's sandbox.
    ///
    /// # Errors
    /// The PIN or the ledger lies in a folder that the front end must read. A credential's folder is known only to a
    /// process that has $CREDENTIALS_DIRECTORY: so the supervisor makes this check too.
    pub fn of_front_end(config: &Config) -> Result<Self, SignerError> {
        let mut folders = readable(config);
        let mut write = Vec::new();
        if let Some(proxy) = &config.proxy {
            folders.extend(proxy.token_files().flat_map(folders_of));
            if let AccessLog::File(log) = &proxy.access_log {
                write.extend(folders_of(log));
            }
        }
        let system: Vec<PathBuf> = RESOLVER_FILES
            .iter()
            .chain(&RESOLVER_FOLDERS)
            .chain(
                PUBLIC_ROOTS
                    .iter()
                    .filter(|_| config.trust.mode != TrustMode::TrustFramework),
            )
            .map(PathBuf::from)
            .collect();
        let mut ports = config.hub.origins().map(|origin| origin.port).to_vec();
        ports.push(DNS_PORT);
        let sandbox = Self {
            read: folders.into_iter().chain(system).collect(),
            write,
            connect: Some(ports),
        };
        sandbox.check_secrets(config)?;
        Ok(sandbox)
    }

    /// Whether a front end in this sandbox, which it cannot leave, can use another configuration.
    ///
    /// # Errors
    /// The configuration names files outside of the sandbox, or puts PIN or ledger into it.
    pub fn fits(&self, config: &Config) -> Result<(), SignerError> {
        let wanted = Self::of_front_end(config)?;
        self.check_secrets(config)?;
        let read: Vec<_> = self.read.iter().chain(&self.write).collect();
        let write: Vec<_> = self.write.iter().collect();
        for (folders, within) in [(&wanted.read, read), (&wanted.write, write)] {
            let outside = |folder: &&PathBuf| {
                let folder = real_path(folder);
                !within.iter().any(|may| folder.starts_with(real_path(may)))
            };
            if let Some(folder) = folders.iter().find(outside) {
                return Err(SignerError::OutOfReach {
                    folder: folder.clone(),
                });
            }
        }
        Ok(())
    }

    /// Whether PIN and ledger are out of reach.
    fn check_secrets(&self, config: &Config) -> Result<(), SignerError> {
        let secrets = [
            ("the PIN", pin_file(&config.token.pin)),
            (
                "the ledger",
                config.ledger.as_ref().map(|ledger| ledger.file.clone()),
            ),
        ];
        for (what, secret) in secrets {
            let Some(secret) = secret.map(|path| real_path(&path)) else {
                continue;
            };
            let mut reach = self.read.iter().chain(&self.write);
            if let Some(folder) = reach.find(|folder| secret.starts_with(real_path(folder))) {
                return Err(SignerError::InReach {
                    what,
                    secret,
                    folder: folder.clone(),
                    // The access log is not the reason where the front end must read the folder anyway.
                    access_log: !self.read.contains(folder),
                });
            }
        }
        Ok(())
    }

    /// A signer's sandbox, as configured: what a vendor's module needs is not known here.
    pub fn of_signer(read: &[PathBuf], write: &[PathBuf]) -> Self {
        Self {
            read: read.to_vec(),
            write: write.to_vec(),
            connect: None,
        }
    }

    /// Restricts this process and its children for good. To be called before there are other threads.
    ///
    /// # Errors
    /// The kernel has no Landlock.
    pub fn enter(&self) -> Result<Measure, SignerError> {
        let failed = |why: String| SignerError::Hardening { part: NAME, why };
        let status = self.restrict().map_err(|error| failed(error.to_string()))?;
        match status.ruleset {
            RulesetStatus::NotEnforced => Err(failed("this kernel has none".to_owned())),
            RulesetStatus::FullyEnforced => Ok(Measure::new(NAME, true, self.describe())),
            RulesetStatus::PartiallyEnforced => Ok(Measure::new(
                NAME,
                true,
                format!("{}; of this kernel's age not all", self.describe()),
            )),
        }
    }

    fn restrict(&self) -> Result<RestrictionStatus, RulesetError> {
        let all = AccessFs::from_all(ABI_WANTED);
        // Without the right to execute.
        let read = AccessFs::ReadFile | AccessFs::ReadDir;
        let mut rules = Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(all)?;
        if self.connect.is_some() {
            rules = rules
                .handle_access(AccessNet::ConnectTcp | AccessNet::BindTcp)?
                .scope(Scope::from_all(ABI_WANTED))?;
        }
        let mut created = rules.create()?;
        for (paths, access) in [(&self.read, read), (&self.write, all)] {
            for path in paths {
                // A path that does not exist needs no rule.
                if let Ok(opened) = PathFd::new(path) {
                    let of_its_kind = if path.is_dir() {
                        access
                    } else {
                        access & AccessFs::from_file(ABI_WANTED)
                    };
                    created = created.add_rule(PathBeneath::new(opened, of_its_kind))?;
                }
            }
        }
        for port in self.connect.iter().flatten() {
            created = created.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
        }
        created.restrict_self()
    }

    fn describe(&self) -> String {
        let mut description = format!(
            "{} folders to read, {} to write",
            self.read.len(),
            self.write.len()
        );
        if let Some(ports) = &self.connect {
            let ports: Vec<_> = ports.iter().map(u16::to_string).collect();
            description.push_str(&format!("; TCP to port {}", ports.join(", ")));
        }
        description
    }
}

const NAME: &str = "Landlock";

/// The folders of the files that a reload reads.
fn readable(config: &Config) -> Vec<PathBuf> {
    let certificate = match &config.c3.certificate {
        CertificateSource::File(path) => Some(path),
        CertificateSource::Token(_) => None,
    };
    let files = certificate
        .into_iter()
        .chain([&config.trust.anchors])
        .chain(&config.trust.crls);
    let mut folders: Vec<_> = files.flat_map(|file| folders_of(file)).collect();
    folders.sort_unstable();
    folders.dedup();
    folders
}

/// The folder of a file, and the folder that its links lead to.
fn folders_of(file: &Path) -> impl Iterator<Item = PathBuf> {
    let paths = [file.to_owned(), real_path(file)];
    paths
        .into_iter()
        .filter_map(|path| path.parent().map(Path::to_owned))
}

fn pin_file(source: &PinSource) -> Option<PathBuf> {
    match source {
        PinSource::File(path) => Some(path.clone()),
        PinSource::Credential(name) => {
            std::env::var_os("CREDENTIALS_DIRECTORY").map(|folder| Path::new(&folder).join(name))
        }
        PinSource::Env(_)
        | PinSource::Command(_)
        | PinSource::Prompt
        | PinSource::ProtectedPath => None,
    }
}

/// The path with links resolved; where the file does not exist, with those of its folder.
fn real_path(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| match (path.parent(), path.file_name()) {
        (Some(folder), Some(name)) => fs::canonicalize(folder)
            .unwrap_or_else(|_| folder.to_owned())
            .join(name),
        _ => path.to_owned(),
    })
}
