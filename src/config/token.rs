//! `[[token]]`: which module and token, how to log in, the kind of the sessions, and the timeouts of PKCS#11 calls.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::error::{ConfigError, line_of_field};
use super::initialize::InitializeString;
use super::pin::PinSource;
use super::profile::Profile;
use super::session::{KeepAliveCall, LoginPolicy, LoginRole, SessionMode};
use super::token_identity::TokenIdentity;
use super::trust::Fingerprint;
use super::uri::Pkcs11Uri;
use super::{CertificateSource, module_env, state_dir};

/// `[[token]]`: the PKCS#11 module, the token, the login, and the timeouts of PKCS#11 calls.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenConfig {
    /// The name by which `token` of `[sig4]` refers to it.
    #[serde(default, deserialize_with = "super::field::token_name")]
    pub name: Option<String>,
    /// The URI of the private key, in a further token with a key for the connections. `None`: that of `[c3]`.
    #[serde(default, deserialize_with = "super::field::own_key_uri")]
    pub(super) key: Option<Pkcs11Uri>,
    /// The certificate of that key. `None`: the token is a clone.
    #[serde(default)]
    pub(super) certificate: Option<CertificateSource>,
    /// Whether this further token holds the key of `[c3]` once more.
    #[serde(default)]
    pub clone: bool,
    /// The tokens with the lowest number are used as long as one of them signs (1 to 100, default 1).
    #[serde(
        default = "super::failover::default_share",
        deserialize_with = "super::failover::share"
    )]
    pub priority: u16,
    /// The share of the connections among tokens of one `priority` (1 to 100, default 1).
    #[serde(
        default = "super::failover::default_share",
        deserialize_with = "super::failover::share"
    )]
    pub weight: u16,
    /// After how long without a signature another token is asked (default 1 s).
    #[serde(
        default = "super::failover::default_failover_after",
        deserialize_with = "super::field::duration"
    )]
    pub failover_after: Duration,
    /// Absolute path of the PKCS#11 module.
    #[serde(deserialize_with = "super::field::absolute")]
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
        default = "super::field::default_sessions",
        deserialize_with = "super::field::sessions"
    )]
    pub sessions: usize,
    /// The timeout of a signature, including its time in the queue (default 5 s).
    #[serde(
        default = "super::field::default_timeout",
        deserialize_with = "super::field::duration"
    )]
    pub timeout: Duration,
    /// The timeout of each step of the start (default 60 s): loading the module, finding token and key, the login.
    #[serde(
        default = "super::field::default_start_timeout",
        deserialize_with = "super::field::duration"
    )]
    pub start_timeout: Duration,
    /// How long a session may be idle before `keep_alive_call` is made in it (default 60 s), so that no firewall drops the
    /// connection to the token.
    #[serde(
        default = "super::field::default_keep_alive",
        deserialize_with = "super::field::duration"
    )]
    pub keep_alive: Duration,
    /// The call that keeps an idle session alive.
    #[serde(default)]
    pub(super) keep_alive_call: Option<KeepAliveCall>,
    /// The family of the HSM. `None`: told by the module's file name, or by its C_GetInfo.
    #[serde(default)]
    pub(super) profile: Option<Profile>,
    /// Environment variables for the module, set before it is loaded. `{config_dir}` in a value was replaced by the folder
    /// of the configuration file.
    #[serde(default, deserialize_with = "super::module_env::variables")]
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
    /// The name of the user who logs in, for tokens whose roles have several users: C_LoginUser takes it.
    #[serde(default, deserialize_with = "super::session::user_name")]
    pub user_name: Option<String>,
    /// The kind of the sessions that sign.
    #[serde(default)]
    pub(super) session: Option<SessionMode>,
    /// By what the token is known again after an outage, and in the records of refused PINs.
    #[serde(default)]
    pub identity: TokenIdentity,
    /// The working directory of the process that loads the module. `None`: the one that it was started in.
    #[serde(default, deserialize_with = "super::field::folder")]
    pub working_dir: Option<PathBuf>,
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

    /// A variable of `env` that the other token sets to another value.
    pub(super) fn contradicts(&self, other: &Self) -> Option<&str> {
        let differs = |(name, value): &(&String, &String)| {
            other.env.get(*name).is_some_and(|set| set != *value)
        };
        self.env.iter().find(differs).map(|(name, _)| name.as_str())
    }

    /// Checks the fields against each other, and resolves relative paths against the folder of the configuration file.
    ///
    /// # Errors
    /// The field and its line.
    pub(super) fn checked(mut self, text: &str, path: &Path) -> Result<Self, ConfigError> {
        let wrong = |field: &str, message: &str| ConfigError::Field {
            path: path.to_owned(),
            line: line_of_field(text, field),
            field: field.to_owned(),
            message: message.to_owned(),
            advice: None,
        };
        let folder = path.parent().unwrap_or(Path::new("/"));
        if self.uri.names_only_slot() {
            return Err(wrong(
                "uri",
                "slots renumber when a token is added: name `token` or `serial` beside `slot-id`",
            ));
        }
        if self.uri.names_object() {
            return Err(wrong(
                "uri",
                "names an object; here stands the token, and the key in `key` of [c3]",
            ));
        }
        if let Some(why) = self.identity.contradiction(&self.uri) {
            return Err(wrong("identity", why));
        }
        if self.pin == PinSource::None
            && matches!(self.login, LoginPolicy::Always | LoginPolicy::PerSession)
        {
            return Err(wrong(
                "login",
                "a login takes a PIN, and `pin = \"none\"` says that none is sent",
            ));
        }
        self.pin = self.pin.relative_to(folder);
        self.working_dir = self.working_dir.map(|working| folder.join(working));
        self.state_dir = self.state_dir.map(|state| folder.join(state));
        let in_folder = |text: InitializeString| text.in_folder(&folder.to_string_lossy());
        self.initialize = self.initialize.map(in_folder);
        for value in self.env.values_mut() {
            *value = value.replace("{config_dir}", &folder.to_string_lossy());
        }
        let mut variables = self.env.iter();
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
        Ok(self)
    }
}
