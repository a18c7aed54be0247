//! The Landlock sandbox: restricts a process to the files and ports that it needs. The front end may read the folders of
//! certificate, trust anchors and CRLs, and the files of name resolution. It parses the network, so it must not be able to
//! open PIN and ledger.
//!
//! Rules are for folders: a rule for a file is void once the file is replaced, and a reload could not read it then. The
//! resolver's files are the exception, because `/etc/shadow` is in their folder.

use std::fs;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible, NetPort, PathBeneath, PathFd,
    RestrictionStatus, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus,
    Scope,
};

use super::SignerError;
use super::hardening::Measure;
use crate::config::Config;
use crate::config::network::ForwardProxyConfig;
use crate::config::network::credentials::CredentialsSource;
use crate::config::pin::PinSource;
use crate::config::proxy::JwtAuth;
use crate::config::trust::TrustMode;

/// The Landlock ABI whose access rights are restricted; an older kernel restricts those that it knows.
const ABI_WANTED: ABI = ABI::V6;

/// The files and folders that name resolution reads, including the targets of links.
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

/// The folders that a process may read and write, and the ports that it may connect to.
#[derive(Debug, Default)]
pub struct Sandbox {
    read: Vec<PathBuf>,
    write: Vec<PathBuf>,
    connect: Option<Vec<u16>>,
    /// Whether its connections are bound to a local address, with any port.
    binds: bool,
}

impl Sandbox {
    /// The front end's sandbox.
    ///
    /// # Errors
    /// The PIN or the ledger is in a folder that the front end must read. Only a process with $CREDENTIALS_DIRECTORY knows
    /// the folder of credentials, so the supervisor makes this check too.
    pub fn of_front_end(config: &Config) -> Result<Self, SignerError> {
        let mut folders = readable(config);
        if let Some(proxy) = &config.proxy {
            folders.extend(proxy.token_files().flat_map(folders_of));
        }
        let is_needed = |proxy: &&ForwardProxyConfig| {
            config.network.proxy.as_ref() == Some(*proxy) || key_set_port(config).is_some()
        };
        let forward_proxies: Vec<_> = config.network.forward_proxies().filter(is_needed).collect();
        for proxy in &forward_proxies {
            folders.extend(files_of(proxy));
        }
        let key_set_port = key_set_port(config);
        let system: Vec<PathBuf> = RESOLVER_FILES
            .iter()
            .chain(&RESOLVER_FOLDERS)
            .chain(PUBLIC_ROOTS.iter().filter(|_| {
                config.trust.mode != TrustMode::TrustFramework
                    || key_set_port.is_some()
                    || forward_proxies
                        .iter()
                        .any(|proxy| proxy.url.is_https && proxy.anchors.is_none())
            }))
            .map(PathBuf::from)
            .collect();
        let origins = config.hub.origins().into_iter();
        let mut ports = Vec::from_iter(origins.map(|origin| {
            let proxy = config.network.proxy_for(&origin.host, origin.port);
            proxy.map_or(origin.port, |proxy| proxy.url.port)
        }));
        ports.push(DNS_PORT);
        // Where a forward proxy is on the way to whatever is fetched, nothing else is.
        let is_proxied = config.network.fetch_proxy.is_some();
        let is_direct = !is_proxied || !config.network.fetch_no_proxy.is_empty();
        ports.extend(key_set_port.filter(|_| is_direct));
        if key_set_port.is_some() {
            ports.extend(
                config
                    .network
                    .fetch_proxy
                    .iter()
                    .map(|proxy| proxy.url.port),
            );
        }
        ports.dedup();
        let sandbox = Self {
            read: folders.into_iter().chain(system).collect(),
            write: config.log_folders(),
            connect: Some(ports),
            binds: config.network.source_address.is_some(),
        };
        sandbox.check_secrets(config)?;
        Ok(sandbox)
    }

    /// Checks that a front end in this sandbox, which it cannot leave, can use another configuration.
    ///
    /// # Errors
    /// The configuration has files outside of the sandbox, or its PIN or ledger inside.
    pub fn fits(&self, config: &Config) -> Result<(), SignerError> {
        let wanted = Self::of_front_end(config)?;
        self.check_secrets(config)?;
        let read: Vec<_> = self.read.iter().chain(&self.write).collect();
        let write: Vec<_> = self.write.iter().collect();
        for (folders, within) in [(&wanted.read, read), (&wanted.write, write)] {
            let outside = |folder: &&PathBuf| {
                let folder = real_path(folder);
                !within
                    .iter()
                    .any(|allowed| folder.starts_with(real_path(allowed)))
            };
            if let Some(folder) = folders.iter().find(outside) {
                return Err(SignerError::OutOfReach {
                    folder: folder.clone(),
                });
            }
        }
        Ok(())
    }

    /// Checks that PIN and ledger are outside of the sandbox.
    fn check_secrets(&self, config: &Config) -> Result<(), SignerError> {
        let ledger = config.ledger.as_ref().map(|ledger| ledger.file.clone());
        let pins = config
            .tokens()
            .map(|token| ("the PIN", pin_file(&token.pin)));
        for (name, secret) in pins.chain([("the ledger", ledger)]) {
            let Some(secret) = secret.map(|path| real_path(&path)) else {
                continue;
            };
            let mut folders = self.read.iter().chain(&self.write);
            if let Some(folder) = folders.find(|folder| secret.starts_with(real_path(folder))) {
                return Err(SignerError::InReach {
                    what: name,
                    secret,
                    folder: folder.clone(),
                    // The access log is not the reason where the front end must read the folder anyway.
                    access_log: !self.read.contains(folder),
                });
            }
        }
        Ok(())
    }

    /// A signer's sandbox, as configured: only the operator knows what a vendor's module needs.
    pub fn of_signer(read: &[PathBuf], write: &[PathBuf]) -> Self {
        Self {
            read: read.to_vec(),
            write: write.to_vec(),
            connect: None,
            binds: false,
        }
    }

    /// Restricts this process and its children, irrevocably. To be called before other threads are started.
    ///
    /// # Errors
    /// The kernel has no Landlock.
    pub fn enter(&self) -> Result<Measure, SignerError> {
        self.enter_as_with(ABI_WANTED)
    }

    /// As [`Self::enter`] on a kernel that knows this version of Landlock. For tests: what an older kernel leaves open.
    ///
    /// # Errors
    /// The kernel has no Landlock.
    pub fn enter_as_with(&self, abi: ABI) -> Result<Measure, SignerError> {
        let failed = |why: String| SignerError::Hardening { part: NAME, why };
        let status = self
            .restrict(abi)
            .map_err(|error| failed(error.to_string()))?;
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

    fn restrict(&self, abi: ABI) -> Result<RestrictionStatus, RulesetError> {
        let all = AccessFs::from_all(abi);
        // Empty before they were known.
        let ports = AccessNet::from_all(abi);
        let scopes = Scope::from_all(abi);
        // The right to execute is not included.
        let read = AccessFs::ReadFile | AccessFs::ReadDir;
        let mut rules = Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(all)?;
        if self.connect.is_some() && !ports.is_empty() {
            rules = rules.handle_access(ports)?;
        }
        if self.connect.is_some() && !scopes.is_empty() {
            rules = rules.scope(scopes)?;
        }
        let mut created = rules.create()?;
        for (paths, access) in [(&self.read, read), (&self.write, all)] {
            for path in paths {
                // There can be no rule for a path that does not exist.
                if let Ok(opened) = PathFd::new(path) {
                    let supported = if path.is_dir() {
                        access
                    } else {
                        access & AccessFs::from_file(abi)
                    };
                    created = created.add_rule(PathBeneath::new(opened, supported))?;
                }
            }
        }
        let allowed = self.connect.iter().filter(|_| !ports.is_empty()).flatten();
        for port in allowed {
            created = created.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
        }
        if self.binds && !ports.is_empty() {
            // Port 0 stands for the ports that the system chooses from. None listens: the filter of system calls has no listen.
            created = created.add_rule(NetPort::new(0, AccessNet::BindTcp))?;
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

/// The port of the published key set, if the front end fetches it: it sends tokens.
fn key_set_port(config: &Config) -> Option<u16> {
    let proxy = config.proxy.as_ref()?;
    let sig4 = config.sig4.as_ref().filter(|_| proxy.jwt != JwtAuth::Off)?;
    let configured = sig4.jwks.as_ref();
    // The documented one has the usual port.
    configured.map_or(Some(443), url::Url::port_or_known_default)
}

/// What is read for a forward proxy: the folders of files that may be replaced, and a credential of systemd's alone, beside which
/// is the PIN.
fn files_of(proxy: &ForwardProxyConfig) -> Vec<PathBuf> {
    let mut paths: Vec<_> = proxy
        .anchors
        .iter()
        .flat_map(|path| folders_of(path))
        .collect();
    match &proxy.credentials {
        Some(CredentialsSource::File(path)) => paths.extend(folders_of(path)),
        Some(source) => paths.extend(source.file()),
        None => {}
    }
    paths
}

/// The folders of the files that a reload reads.
fn readable(config: &Config) -> Vec<PathBuf> {
    let files = config
        .certificate_files()
        .chain([config.trust.anchors.as_path()])
        .chain(config.trust.crl_files());
    let mut folders: Vec<_> = files.flat_map(folders_of).collect();
    folders.sort_unstable();
    folders.dedup();
    folders
}

/// The folder of a file, and that of the file that its links lead to.
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
        | PinSource::ProtectedPath
        | PinSource::Empty
        | PinSource::None => None,
    }
}

/// The path with all links resolved; if the file does not exist, with those of its folder resolved.
fn real_path(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| match (path.parent(), path.file_name()) {
        (Some(folder), Some(name)) => fs::canonicalize(folder)
            .unwrap_or_else(|_| folder.to_owned())
            .join(name),
        _ => path.to_owned(),
    })
}
