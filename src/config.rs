//! Parses the configuration file (TOML) of one environment into a value whose fields are all checked.
//!
//! Parse, don't validate: later stages never see an unchecked string. Each field's type refuses invalid values, and the
//! error names file, line, field and what to write instead.

pub mod audit;
mod c3;
mod config_text;
pub mod environment;
mod error;
mod field;
mod field_error;
mod file_format;
pub mod initialize;
pub mod ledger;
pub mod listener;
pub(crate) mod module_env;
pub mod paths;
pub mod pin;
pub mod profile;
pub mod proxy;
mod reload;
mod schema;
mod session;
pub mod signer;
mod state_dir;
mod symlink;
mod syntax_error;
mod tls;
pub mod trust;
pub mod uri;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use audit::AuditConfig;
pub use c3::{C3Config, CertificateSource, SubjectConfig};
pub use config_text::ConfigText;
use environment::{Environment, LfiCode, Origin, Service};
pub use error::ConfigError;
use error::line_of_field;
use field_error::field_error;
use initialize::InitializeString;
use ledger::LedgerConfig;
use pin::PinSource;
use profile::Profile;
use proxy::ProxyConfig;
pub use session::{KeepAliveCall, LoginPolicy, LoginRole, SessionMode};
use signer::SignerConfig;
pub use tls::{Group, TlsConfig};
use trust::{Fingerprint, Trust};
use uri::Pkcs11Uri;

/// A checked configuration: the sections of a TOML file, with defaults filled in and paths made absolute.
///
/// The README describes the file field by field. An application needs [`Config::load`] and, for the URLs of the hub,
/// [`Config::hub`]; this crate reads the other sections.
#[derive(Clone, Debug)]
pub struct Config {
    /// The path of the configuration file, absolute.
    pub path: PathBuf,
    /// The environment of the hub, with its Trust Framework.
    pub environment: Environment,
    /// The code of the bank (Licensed Financial Institution) in the hub's host names.
    pub lfi_code: LfiCode,
    /// The PKCS#11 token that holds the key.
    pub token: TokenConfig,
    /// The C3 (transport) certificate and its key.
    pub c3: C3Config,
    /// The trust anchors that authenticate the hub.
    pub trust: Trust,
    /// The origins of the hub's services, and timeouts.
    pub hub: HubConfig,
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

/// `[[token]]`: the PKCS#11 module, the token, the login, and the timeouts of PKCS#11 calls.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenConfig {
    /// Absolute path of the PKCS#11 module.
    #[serde(deserialize_with = "field::absolute")]
    pub module: PathBuf,
    /// The SHA-256 of the module's file. `None`: any file is loaded.
    #[serde(default)]
    pub module_sha256: Option<Fingerprint>,
    /// The URI of the token, which must match exactly one.
    pub uri: Pkcs11Uri,
    /// The source of the user's PIN.
    pub pin: PinSource,
    /// The maximum number of sessions that sign in parallel (1 to 1024, default 8); the token may allow fewer.
    #[serde(
        default = "field::default_sessions",
        deserialize_with = "field::sessions"
    )]
    pub sessions: usize,
    /// The timeout of a signature, including its time in the queue (default 5 s).
    #[serde(
        default = "field::default_timeout",
        deserialize_with = "field::duration"
    )]
    pub timeout: Duration,
    /// The timeout of each step of the start (default 60 s): loading the module, finding token and key, the login.
    #[serde(
        default = "field::default_start_timeout",
        deserialize_with = "field::duration"
    )]
    pub start_timeout: Duration,
    /// How long a session may be idle before `keep_alive_call` is made in it (default 60 s), so that no firewall drops the
    /// connection to the token.
    #[serde(
        default = "field::default_keep_alive",
        deserialize_with = "field::duration"
    )]
    pub keep_alive: Duration,
    /// The call that keeps an idle session alive.
    #[serde(default)]
    keep_alive_call: Option<KeepAliveCall>,
    /// The family of the HSM. `None`: told by the module's file name, or by its C_GetInfo.
    #[serde(default)]
    profile: Option<Profile>,
    /// Environment variables for the module, set before it is loaded. `{config_dir}` in a value was replaced by the folder
    /// of the configuration file.
    #[serde(default, deserialize_with = "module_env::variables")]
    pub env: BTreeMap<String, String>,
    /// A string for pReserved of C_Initialize's arguments, for modules that want one. It is no place for a password: every
    /// process of the proxy reads it. `{config_dir}` in it was replaced by
    /// the folder of the configuration file.
    #[serde(default)]
    pub initialize: Option<InitializeString>,
    /// When to call C_Login.
    #[serde(default)]
    pub login: LoginPolicy,
    /// The role that logs in to sign; `pin` is its PIN.
    #[serde(default)]
    pub user: LoginRole,
    /// The kind of the sessions that sign.
    #[serde(default)]
    session: Option<SessionMode>,
    /// The folder of the PIN guard's attempt files. `None`: the default of [`TokenConfig::state_folder`].
    #[serde(default)]
    pub state_dir: Option<PathBuf>,
}

impl TokenConfig {
    /// The folder of the PIN guard's attempt files: `state_dir`, else `$STATE_DIRECTORY` (systemd), else `hsm-mtls` in
    /// `$XDG_STATE_HOME` or `~/.local/state`. `None` if none of them is set.
    pub fn state_folder(&self) -> Option<PathBuf> {
        state_dir::folder(self.state_dir.as_deref())
    }
}

/// `[hub]`: the origins of the hub's services (by default those of the environment), and timeouts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubConfig {
    /// The Consent Manager (CM).
    pub consent_manager: Origin,
    /// Headless Heimdall (HH).
    pub headless_heimdall: Origin,
    /// The timeout of name resolution, TCP connect and TLS handshake together, including the token's signature (default
    /// 10 s).
    pub connect_timeout: Duration,
    /// The timeout of the whole response (default 30 s).
    pub response_timeout: Duration,
}

impl HubConfig {
    /// The origin of a service.
    pub fn origin(&self, service: Service) -> &Origin {
        match service {
            Service::ConsentManager => &self.consent_manager,
            Service::HeadlessHeimdall => &self.headless_heimdall,
        }
    }

    /// Both origins. The client certificate is presented to no other.
    pub fn origins(&self) -> [&Origin; 2] {
        Service::ALL.map(|service| self.origin(service))
    }
}

/// The file as it is deserialised: each field is checked, but not yet against the others.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigFile {
    environment: Environment,
    lfi_code: LfiCode,
    token: Vec<TokenConfig>,
    c3: C3Config,
    trust: Trust,
    #[serde(default)]
    hub: HubFile,
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

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct HubFile {
    consent_manager: Option<Origin>,
    headless_heimdall: Option<Origin>,
    #[serde(default, deserialize_with = "field::optional_duration")]
    connect_timeout: Option<Duration>,
    #[serde(default, deserialize_with = "field::optional_duration")]
    response_timeout: Option<Duration>,
}

impl Config {
    /// Reads and checks a configuration file. Relative paths in it are resolved against its folder.
    ///
    /// # Errors
    /// The file cannot be read, is not TOML, or has a field that is wrong, missing or unknown.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let config = ConfigText::read(path)?.check()?;
        config.check_symlink()?;
        Ok(config)
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
        let folder = path.parent().unwrap_or(Path::new("/"));
        let [mut token]: [TokenConfig; 1] = file.token.try_into().map_err(|_| {
            wrong(
                "token",
                "exactly one [[token]] for now: fail-over over several tokens is planned, not built",
            )
        })?;
        if token.uri.names_only_slot() {
            return Err(wrong(
                "uri",
                "slots renumber when a token is added: name `token` or `serial` beside `slot-id`",
            ));
        }
        if token.uri.names_object() {
            return Err(wrong(
                "uri",
                "names an object; here stands the token, and the key in `key` of [c3]",
            ));
        }
        token.pin = token.pin.relative_to(folder);
        token.state_dir = token.state_dir.map(|state| folder.join(state));
        let in_folder = |text: InitializeString| text.in_folder(&folder.to_string_lossy());
        token.initialize = token.initialize.map(in_folder);
        for value in token.env.values_mut() {
            *value = value.replace("{config_dir}", &folder.to_string_lossy());
        }
        let mut variables = token.env.iter();
        if let Some((name, (message, advice))) =
            variables.find_map(|(name, value)| Some((name, module_env::invalid_path(name, value)?)))
        {
            let line = match line_of_field(text, name) {
                0 => line_of_field(text, "env"),
                line => line,
            };
            return Err(ConfigError::Field {
                path: path.to_owned(),
                line,
                field: "env".to_owned(),
                message,
                advice: Some(advice),
            });
        }
        let other = file.environment.other();
        let foreign = [&file.hub.consent_manager, &file.hub.headless_heimdall]
            .into_iter()
            .flatten()
            .find(|origin| other.owns(origin));
        if let Some(origin) = foreign {
            let message = format!("{origin} is a host of the {other} environment");
            return Err(wrong("hub", &message));
        }
        let derived = |service| file.environment.origin(service, &file.lfi_code);
        let hub = HubConfig {
            consent_manager: file
                .hub
                .consent_manager
                .unwrap_or_else(|| derived(Service::ConsentManager)),
            headless_heimdall: file
                .hub
                .headless_heimdall
                .unwrap_or_else(|| derived(Service::HeadlessHeimdall)),
            connect_timeout: file.hub.connect_timeout.unwrap_or(Duration::from_secs(10)),
            response_timeout: file.hub.response_timeout.unwrap_or(Duration::from_secs(30)),
        };
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
        }
        Ok(Self {
            path: path.to_owned(),
            environment: file.environment,
            lfi_code: file.lfi_code,
            token,
            c3: file.c3.relative_to(folder),
            trust: file.trust.relative_to(folder),
            hub,
            tls: file.tls,
            ledger: file.ledger.map(|ledger| ledger.relative_to(folder)),
            signer: file.signer.relative_to(folder),
            proxy: file.proxy.map(|proxy| proxy.relative_to(folder)),
            audit: file.audit.relative_to(folder),
        })
    }
}

#[cfg(test)]
#[path = "config/tests.rs"]
mod tests;
