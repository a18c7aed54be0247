//! Parses the configuration file (TOML) of one environment into a value whose fields are all checked.
//!
//! Parse, don't validate: later stages never see an unchecked string. Each field's type refuses invalid values, and the
//! error names file, line, field and what to write instead.

pub mod audit;
mod c3;
pub mod ca_generation;
mod config_text;
pub mod environment;
mod error;
mod failover;
mod field;
mod field_error;
mod file_format;
mod front_end_text;
mod hub;
pub mod initialize;
mod jwt_auth;
mod key_and_certificate;
pub mod ledger;
pub mod listener;
mod log_folder;
pub(crate) mod module_env;
mod named_paths;
pub mod network;
pub mod origin;
mod path_protection;
pub mod paths;
pub mod pin;
pub mod profile;
pub mod proxy;
pub mod reload;
mod same_user;
mod schema;
mod service;
pub mod service_users;
mod session;
pub mod sig4;
pub mod signature_rate;
pub mod signer;
mod state_dir;
mod subject;
mod symlink;
mod syntax_error;
mod tls;
mod token;
mod token_identity;
pub mod trust;
pub mod uri;
mod user_access;
mod via;

use std::path::{Path, PathBuf};

use serde::Deserialize;

use audit::AuditConfig;
pub use c3::{C3Config, CertificateSource, KeyRole};
pub use config_text::ConfigText;
use environment::{Environment, LfiCode};
pub use error::ConfigError;
use error::{line_of_field, line_of_sig4_field};
pub use failover::FailoverToken;
use field_error::{field_error, missing};
pub use hub::HubConfig;
use hub::HubFile;
pub use key_and_certificate::KeyAndCertificate;
use ledger::LedgerConfig;
pub use network::NetworkConfig;
use network::NetworkFile;
use proxy::{JwtAuth, ProxyConfig};
pub use service::{HubService, Service};
pub use session::{
    KeepAliveCall, LoginPolicy, LoginRole, SessionMode, USER_NAME_FORM, is_user_name,
};
use sig4::Sig4Config;
use signer::SignerConfig;
pub use subject::{SubjectConfig, SubjectError};
pub use tls::{Group, TlsConfig};
pub use token::TokenConfig;
pub use token_identity::TokenIdentity;
use trust::Trust;

use crate::regime::{self, Regime};

/// A checked configuration: the sections of a TOML file, with defaults filled in and paths made absolute.
///
/// The README describes the file field by field. An application needs [`Config::load`] and, for the URLs of the hub,
/// [`Config::hub`]; this crate reads the other sections.
#[derive(Clone, Debug)]
pub struct Config {
    /// The path of the configuration file, absolute.
    pub path: PathBuf,
    /// The environment of the hub, with its PKI; it knows its regime.
    pub environment: Environment,
    /// The code of the bank (Licensed Financial Institution) in the hub's host names, in a regime that has one.
    pub lfi_code: Option<LfiCode>,
    /// The PKCS#11 token that holds the key.
    pub token: TokenConfig,
    /// The C3 (transport) certificate and its key.
    pub c3: C3Config,
    /// The Sig4 (signing) certificate and its key. `None`: no JWTs are signed.
    pub sig4: Option<Sig4Config>,
    /// The PKCS#11 token that holds the Sig4 key, if it is another.
    pub sig4_token: Option<TokenConfig>,
    /// Which of the tokens that hold a key for the connections `token` is, from 0 on.
    pub key_token: u8,
    /// Further tokens that hold a key for the connections.
    pub failover: Vec<FailoverToken>,
    /// The trust anchors that authenticate the hub.
    pub trust: Trust,
    /// The origins of the hub's services, and timeouts.
    pub hub: HubConfig,
    /// The way to the hub: forward proxy, local address.
    pub network: NetworkConfig,
    /// What the TLS handshake offers.
    pub tls: TlsConfig,
    /// The ledger that records each use of the key. `None`: uses are not recorded.
    pub ledger: Option<LedgerConfig>,
    /// The signer process's rate limit and sandbox.
    pub signer: SignerConfig,
    /// The local proxy. `None`: `hsm-mtls proxy` does not start.
    pub proxy: Option<ProxyConfig>,
    /// Facts that the operator asserts for an audit.
    pub audit: AuditConfig,
}

/// The file as it is deserialised: each field is checked, but not yet against the others.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigFile {
    #[serde(default, deserialize_with = "environment::regime")]
    regime: Option<&'static Regime>,
    environment: String,
    lfi_code: Option<LfiCode>,
    token: Vec<TokenConfig>,
    c3: C3Config,
    sig4: Option<Sig4Config>,
    trust: Trust,
    #[serde(default)]
    hub: HubFile,
    #[serde(default)]
    network: NetworkFile,
    #[serde(default)]
    tls: TlsConfig,
    #[serde(default)]
    ledger: Option<LedgerConfig>,
    #[serde(default)]
    signer: SignerConfig,
    proxy: Option<ProxyConfig>,
    #[serde(default)]
    audit: AuditConfig,
}

impl Config {
    /// Reads and checks a configuration file. Relative paths in it are resolved against its folder.
    ///
    /// # Errors
    /// The file cannot be read, is not TOML, has a field that is wrong, missing or unknown, or another user could change the
    /// file or what it names.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        ConfigText::read(path)?.check()
    }

    /// As [`Config::load`], without the check of owners and modes: for the audit, which reports them, and for commands that
    /// only read, maybe as another user than the service's.
    ///
    /// # Errors
    /// As [`Config::load`].
    #[doc(hidden)]
    pub fn load_to_read(path: &Path) -> Result<Self, ConfigError> {
        let config = ConfigText::read(path)?.parse()?;
        config.check_symlink()?;
        Ok(config)
    }

    /// This configuration without resumption: each connection makes a full handshake, as `verify` has to.
    pub fn without_resumption(mut self) -> Self {
        self.tls.resumption = None;
        self
    }

    /// Checks the text of a configuration file. Relative paths in it are resolved against the folder of `path`, which must
    /// be absolute; the file itself is not read.
    ///
    /// # Errors
    /// The text is not TOML, or a field is wrong, missing or unknown.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let file: ConfigFile =
            toml::from_str(text).map_err(|error| field_error(text, path, &error))?;
        let wrong = |field: &str, message: &str| ConfigError::Field {
            path: path.to_owned(),
            line: line_of_field(text, field),
            field: field.to_owned(),
            message: message.to_owned(),
            advice: None,
        };
        let wrong_in_sig4 = |field: &str, message: &str| ConfigError::Field {
            path: path.to_owned(),
            line: line_of_sig4_field(text, field),
            field: field.to_owned(),
            message: message.to_owned(),
            advice: None,
        };
        let folder = path.parent().unwrap_or(Path::new("/"));
        let regime = file.regime.or_else(|| Regime::named(regime::DEFAULT));
        let regime = regime.ok_or_else(|| wrong("regime", "write its name"))?;
        let environment = Environment::named(regime, &file.environment)
            .ok_or_else(|| wrong("environment", &environments_of(regime)))?;
        match (&file.lfi_code, regime.takes_lfi_code()) {
            (None, true) => return Err(missing(text, path, "lfi_code")),
            (Some(_), false) => {
                let message = format!(
                    "regime {:?} has no host names that it would be in",
                    regime.name
                );
                return Err(wrong("lfi_code", &message));
            }
            _ => {}
        }
        let (token, sig4_token, further) = sig4::assigned(file.token, file.sig4.as_ref())
            .map_err(|(field, message)| wrong_in_sig4(field, &message))?;
        failover::check(&token, &further, sig4_token.as_ref())
            .map_err(|(field, message)| wrong(field, &message))?;
        let token = token.checked(text, path)?;
        let sig4_token = sig4_token.map(|token| token.checked(text, path));
        let sig4_token = sig4_token.transpose()?;
        let further = further.into_iter().map(|token| token.checked(text, path));
        let further = further.collect::<Result<Vec<_>, _>>()?;
        let failover = further
            .into_iter()
            .map(|token| FailoverToken::new(token, &file.c3, folder));
        let failover: Vec<_> = failover.collect();
        if sig4_token
            .as_ref()
            .is_some_and(|other| other.working_dir != token.working_dir)
        {
            let message =
                "both [[token]] have one `working_dir`, or none: one process loads both modules";
            return Err(wrong("working_dir", message));
        }
        if let Some(name) = sig4_token
            .as_ref()
            .and_then(|other| token.contradicts(other))
        {
            let message = format!(
                "both [[token]] set {name} in `env`, to different values: one process loads both modules"
            );
            return Err(wrong("env", &message));
        }
        let sig4 = file.sig4.as_ref();
        let of_sig4 = sig4.map(|sig4| (&sig4.key, &sig4.certificate));
        let identities = [
            (&token, Some((&file.c3.key, &file.c3.certificate))),
            (sig4_token.as_ref().unwrap_or(&token), of_sig4),
        ];
        let of_failover = failover.iter().map(|further| {
            (
                &further.token,
                Some((&further.c3.key, &further.c3.certificate)),
            )
        });
        for (token, objects) in identities.into_iter().chain(of_failover) {
            let Some((key, certificate)) = objects else {
                continue;
            };
            let objects = [("key", Some(key)), ("certificate", certificate.in_token())];
            for (field, uri) in objects {
                if let Some(why) = uri.and_then(|uri| token.identity.names_what_varies(uri)) {
                    return Err(wrong(field, why));
                }
            }
        }
        if let Some((field, why)) =
            sig4.and_then(|sig4| sig4::shared(&file.c3, sig4, sig4_token.is_some()))
        {
            return Err(wrong_in_sig4(field, why));
        }
        let hub = file
            .hub
            .checked(environment, file.lfi_code.as_ref())
            .map_err(|(field, message)| wrong(&field, &message))?;
        let network = file
            .network
            .checked(folder, file.proxy.is_some())
            .map_err(|(field, message)| wrong(field, &message))?;
        failover::check_waits(&token, &failover, hub.connect_timeout)
            .map_err(|message| wrong("failover_after", &message))?;
        if let Some(proxy) = &file.proxy {
            if proxy.listeners.is_empty() {
                let message = "at least one [[proxy.listener]]: nobody could call";
                return Err(wrong("proxy", message));
            }
            if let Some(address) = proxy.too_long_socket_path() {
                let message = format!("{address}: the path of a socket has 107 bytes at the most");
                return Err(wrong("unix", &message));
            }
            if let Some(address) = proxy.duplicate_address() {
                let message = format!("{address} is listened on already");
                return Err(wrong("proxy", &message));
            }
            if let Some((field, message)) = proxy.unknown_service(&hub) {
                return Err(wrong(field, &message));
            }
            if sig4.is_none() && proxy.jwt != JwtAuth::Off {
                let message = "JWT Auth takes [sig4], with the key that signs the tokens";
                return Err(wrong("jwt", message));
            }
        }
        Ok(Self {
            path: path.to_owned(),
            environment,
            lfi_code: file.lfi_code,
            token,
            c3: file.c3.relative_to(folder),
            sig4: file.sig4.map(|sig4| sig4.relative_to(folder)),
            sig4_token,
            key_token: 0,
            failover,
            trust: file.trust.relative_to(folder),
            hub,
            network,
            tls: file.tls,
            ledger: file.ledger.map(|ledger| ledger.relative_to(folder)),
            signer: file.signer.relative_to(folder),
            proxy: file.proxy.map(|proxy| proxy.relative_to(folder)),
            audit: file.audit.relative_to(folder),
        })
    }
}

/// The environments of a regime, for an error.
fn environments_of(regime: &'static Regime) -> String {
    let all = Environment::all(regime).map(|environment| match environment.pki_name() {
        pki if pki == environment.as_str() => format!("\"{environment}\""),
        _ => format!("\"{environment}\" (paired with the {})", environment.pki()),
    });
    let mut all: Vec<_> = all.collect();
    let last = all.pop().unwrap_or_default();
    match all.is_empty() {
        true => format!("write {last}"),
        false => format!("write {} or {last}", all.join(", ")),
    }
}

#[cfg(test)]
#[path = "config/tests.rs"]
mod tests;
