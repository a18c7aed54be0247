//! Lists every path of a configuration. Each section is taken apart field by field, without `..`: a new field does not
//! compile before it is decided here whether it is a path, which role it has, and what other users must not do with it.

mod network;
mod proxy;

use std::env;
use std::path::{Path, PathBuf};

use super::audit::AuditConfig;
use super::ledger::{HeadExport, LedgerConfig};
use super::module_env::PATH_VARIABLES;
use super::paths::{Extent, NamedPath, PathRole, REPLACED_SUFFIX};
use super::pin::PinSource;
use super::sig4::Sig4Config;
use super::signer::{SignerConfig, SignerLandlock};
use super::trust::{CrlSource, Trust};
use super::{
    C3Config, CertificateSource, Config, FailoverToken, HubConfig, TlsConfig, TokenConfig,
};
use crate::owner_and_mode::Protection;

/// Environment variables whose folders are not specific to the module.
const COMMON_VARIABLES: [&str; 5] = ["HOME", "PWD", "TMPDIR", "TMP", "TEMP"];

/// How the names of modules' configuration files end.
const MODULE_CONFIG_EXTENSIONS: [&str; 5] = ["cfg", "conf", "ini", "yaml", "yml"];

impl Config {
    /// Every path that the configuration names, the configuration file itself first.
    pub fn named_paths(&self) -> Vec<NamedPath> {
        let Self {
            path,
            environment: _,
            lfi_code: _,
            token,
            c3,
            sig4,
            sig4_token,
            key_token: _,
            failover,
            trust,
            hub,
            network,
            tls,
            ledger,
            signer,
            proxy,
            audit,
        } = self;
        let HubConfig {
            services: _,
            connect_timeout: _,
            response_timeout: _,
        } = hub;
        let TlsConfig {
            groups: _,
            resumption: _,
        } = tls;
        let mut all = PathList(Vec::new());
        all.file(path, PathRole::Configuration);
        all.add_c3(c3);
        if let Some(sig4) = sig4 {
            all.add_sig4(sig4);
        }
        all.add_trust(trust);
        all.add_network(network);
        for token in [Some(token), sig4_token.as_ref()].into_iter().flatten() {
            all.add_token(token);
        }
        for FailoverToken { token, c3 } in failover {
            all.add_token(token);
            // A clone has that of [c3], which is there already.
            if !token.clone {
                all.add_c3(c3);
            }
        }
        all.add_signer(signer);
        if let Some(ledger) = ledger {
            all.add_ledger(ledger);
        }
        if let Some(proxy) = proxy {
            all.add_proxy(proxy);
        }
        all.add_audit(audit);
        all.0
    }
}

struct PathList(Vec<NamedPath>);

impl PathList {
    fn add_c3(&mut self, c3: &C3Config) {
        let C3Config {
            key: _,
            certificate,
            subject: _,
            role: _,
        } = c3;
        self.add_certificate(certificate, PathRole::Certificate);
    }

    fn add_sig4(&mut self, sig4: &Sig4Config) {
        let Sig4Config {
            key: _,
            certificate,
            token: _,
            audience: _,
            lifetime: _,
            scheme: _,
            kid: _,
            not_before: _,
            jwks: _,
            max_clock_skew: _,
            per_second: _,
            burst: _,
        } = sig4;
        self.add_certificate(certificate, PathRole::Sig4Certificate);
    }

    fn add_certificate(&mut self, source: &CertificateSource, role: PathRole) {
        match source {
            CertificateSource::File(path) => {
                let extent = Extent::WithOlder(REPLACED_SUFFIX);
                self.add(path, role, extent, Protection::Unchanged);
            }
            CertificateSource::Token(_) => {}
        }
    }

    fn add_trust(&mut self, trust: &Trust) {
        let Trust {
            mode: _,
            anchors,
            pins: _,
            crls,
            crl_stale: _,
            anchor_urls: _,
        } = trust;
        let extent = Extent::WithOlder(REPLACED_SUFFIX);
        self.add(anchors, PathRole::Anchors, extent, Protection::Unchanged);
        for CrlSource { file, url: _ } in crls {
            self.file(file, PathRole::Crl);
        }
    }

    fn add_token(&mut self, token: &TokenConfig) {
        let TokenConfig {
            name: _,
            key: _,
            certificate: _,
            clone: _,
            priority: _,
            weight: _,
            failover_after: _,
            module,
            module_sha256: _,
            uri: _,
            pin,
            sessions: _,
            timeout: _,
            start_timeout: _,
            keep_alive: _,
            keep_alive_call: _,
            profile: _,
            env,
            // A text of the module's own syntax, which may hold a path.
            initialize: _,
            login: _,
            user: _,
            user_name: _,
            session: _,
            identity: _,
            working_dir,
            state_dir: _,
        } = token;
        self.file(module, PathRole::Module);
        self.add_pin(pin);
        // `state_dir`, or its default.
        if let Some(folder) = token.state_folder() {
            let extent = Extent::Contents;
            self.add(&folder, PathRole::StateDir, extent, Protection::Unchanged);
        }
        if let Some(folder) = working_dir {
            self.file(folder, PathRole::WorkingDir);
            self.add_module_files(folder);
        }
        for (name, value) in env {
            self.add_variable(name, value);
        }
    }

    fn add_pin(&mut self, source: &PinSource) {
        match source {
            PinSource::File(path) => {
                self.add(path, PathRole::PinFile, Extent::File, Protection::Secret);
            }
            PinSource::Credential(name) => {
                if let Some(folder) = env::var_os("CREDENTIALS_DIRECTORY") {
                    let (path, role) = (Path::new(&folder).join(name), PathRole::PinCredential);
                    self.add(&path, role, Extent::File, Protection::Credential);
                }
            }
            PinSource::Command(words) => {
                self.command(words, PathRole::PinProgram, PathRole::PinArgument);
            }
            PinSource::Env(_)
            | PinSource::Prompt
            | PinSource::ProtectedPath
            | PinSource::Empty
            | PinSource::None => {}
        }
    }

    /// The configuration files in the module's working directory. Its other files may be anybody's: an operator's shell is
    /// often in that folder.
    fn add_module_files(&mut self, working_dir: &Path) {
        for entry in working_dir.read_dir().into_iter().flatten().flatten() {
            let path = entry.path();
            let ending = path.extension().and_then(|ending| ending.to_str());
            if ending.is_some_and(|ending| MODULE_CONFIG_EXTENSIONS.contains(&ending)) {
                self.file(&path, PathRole::WorkingDirFile);
            }
        }
    }

    /// The paths in a variable of the module.
    fn add_variable(&mut self, name: &str, value: &str) {
        if COMMON_VARIABLES.contains(&name) {
            return;
        }
        // The value may be a list of paths, separated by colons. A word that is not a path, and the root folder, are
        // left out.
        let is_path = |path: &PathBuf| {
            path.parent().is_some() && (path.components().count() > 1 || path.exists())
        };
        for path in env::split_paths(value).filter(is_path) {
            // A file of this name says which HSM is spoken to, and which libraries are loaded. In a folder the vendor's
            // daemon may write as another user, and of other variables it is not known what they are for.
            let protection = match PATH_VARIABLES.contains(&name) {
                true if path.is_file() => Some(Protection::Unchanged),
                true => Some(Protection::Place),
                false => None,
            };
            self.0.push(NamedPath {
                path,
                role: PathRole::ModuleVariable(name.to_owned()),
                extent: Extent::Contents,
                protection,
            });
        }
    }

    fn add_signer(&mut self, signer: &SignerConfig) {
        let SignerConfig {
            per_second: _,
            burst: _,
            landlock,
            user: _,
        } = signer;
        let Some(SignerLandlock { read, write }) = landlock else {
            return;
        };
        for path in read.iter().chain(write) {
            // What is in the folder may be a vendor's. But another user must not choose which folder is opened.
            let role = PathRole::SignerFolder;
            self.add(path, role, Extent::File, Protection::Place);
        }
    }

    fn add_ledger(&mut self, ledger: &LedgerConfig) {
        let LedgerConfig {
            file,
            fsync: _,
            fsync_interval: _,
            rotate_at_mib: _,
            head,
            head_interval: _,
        } = ledger;
        let extent = Extent::WithOlder(".");
        self.add(file, PathRole::Ledger, extent, Protection::SharedByGroup);
        match head {
            Some(HeadExport::Syslog(path)) => {
                self.add(path, PathRole::HeadSocket, Extent::File, Protection::Place);
            }
            Some(HeadExport::Command(words)) => {
                self.command(words, PathRole::HeadProgram, PathRole::HeadArgument);
            }
            None => {}
        }
    }

    fn add_audit(&mut self, audit: &AuditConfig) {
        let AuditConfig {
            fips_certificate: _,
            backup: _,
            attestation,
        } = audit;
        if let Some(path) = attestation {
            self.file(path, PathRole::Attestation);
        }
    }

    fn file(&mut self, path: &Path, role: PathRole) {
        self.add(path, role, Extent::File, Protection::Unchanged);
    }

    /// Adds a program and the absolute paths among its arguments. Of those, only files are judged: another argument may
    /// begin with a slash too.
    fn command(&mut self, words: &[String], program: PathRole, argument: PathRole) {
        let mut paths = words.iter().map(Path::new);
        if let Some(path) = paths.next() {
            self.file(path, program);
        }
        for path in paths.filter(|word| word.is_absolute()) {
            self.0.push(NamedPath {
                path: path.to_owned(),
                role: argument.clone(),
                extent: Extent::File,
                protection: path.is_file().then_some(Protection::Unchanged),
            });
        }
    }

    fn add(&mut self, path: &Path, role: PathRole, extent: Extent, protection: Protection) {
        self.0.push(NamedPath {
            path: path.to_owned(),
            role,
            extent,
            protection: Some(protection),
        });
    }
}
