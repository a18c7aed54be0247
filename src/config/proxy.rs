//! `[proxy]`: the local proxy's listeners, access log, connection pool and limits.

use std::fmt::{self, Display};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::field;
use super::hub::HubConfig;
pub use super::jwt_auth::JwtAuth;
use super::listener::{Callers, ListenAddress, ListenerConfig, OperationsConfig};
use super::reload::ReloadTrigger;
use super::service_users::account_name;
pub use super::via::Via;

/// The maximum length of a Unix socket's path: `sun_path` without its NUL, in bytes.
const MAX_SOCKET_PATH: usize = 107;

/// `[proxy]`: listeners, access log, connection pool and limits.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProxyConfig {
    /// The listeners for applications; at least one.
    #[serde(default, rename = "listener")]
    pub listeners: Vec<ListenerConfig>,
    /// The listener for `/healthz`, `/readyz` and `/metrics`. `None`: they are not served.
    #[serde(default)]
    pub operations: Option<OperationsConfig>,
    /// The access log, with a line for each request.
    #[serde(default)]
    pub access_log: AccessLog,
    /// The number of idle connections that are kept open to each service (0 to 64).
    #[serde(default = "default_warm_connections", deserialize_with = "up_to_64")]
    pub warm_connections: usize,
    /// The maximum number of connections to each service (1 to 1024).
    #[serde(default = "default_max_connections", deserialize_with = "one_to_1024")]
    pub max_connections: usize,
    /// The maximum age of a connection: an older one gets no further request.
    #[serde(default = "default_max_age", deserialize_with = "field::duration")]
    pub max_age: Duration,
    /// The maximum idle time of a connection: it gets no further request after that. Servers and firewalls drop idle
    /// connections after a minute or more, without notice.
    #[serde(default = "default_idle_timeout", deserialize_with = "field::duration")]
    pub idle_timeout: Duration,
    /// Whether HTTP/2 is offered to the hub, beside HTTP/1.1.
    #[serde(default = "default_h2")]
    pub h2: bool,
    /// The proxy's entry in the `Via` header of requests to the hub.
    #[serde(default)]
    pub via: Via,
    /// The maximum number of concurrent requests to the hub (1 to 65536). The status of any further one is 503.
    #[serde(default = "default_max_requests", deserialize_with = "one_to_65536")]
    pub max_requests: usize,
    /// The maximum number of concurrent application connections (1 to 65536). Any further one waits to be accepted.
    #[serde(default = "default_max_clients", deserialize_with = "one_to_65536")]
    pub max_clients: usize,
    /// The maximum size of a request's head, in KiB (4 to 60).
    #[serde(default = "default_max_header_kib", deserialize_with = "four_to_60")]
    pub max_header_kib: usize,
    /// The maximum size of a request's body, in MiB (1 to 1024).
    #[serde(default = "default_max_body_mib", deserialize_with = "one_to_1024")]
    pub max_body_mib: usize,
    /// The timeout for receiving a request's head.
    #[serde(default = "default_head_timeout", deserialize_with = "field::duration")]
    pub head_timeout: Duration,
    /// The timeout for receiving a request's body, and for an application to read the response.
    #[serde(default = "default_body_timeout", deserialize_with = "field::duration")]
    pub body_timeout: Duration,
    /// The idle timeout of an application's connection.
    #[serde(default = "default_keep_alive", deserialize_with = "field::duration")]
    pub keep_alive: Duration,
    /// How long requests in progress may take after the proxy is asked to stop.
    #[serde(default = "default_stop_timeout", deserialize_with = "field::duration")]
    pub stop_timeout: Duration,
    /// The user that the front end becomes where it is started as root. `None`: it stays root.
    #[serde(default, deserialize_with = "account_name")]
    pub user: Option<String>,
    /// Whether the front end may run as the user to whom PIN and configuration belong.
    #[serde(default)]
    pub accept_same_user: bool,
    /// What makes the proxy reload (default SIGHUP).
    #[serde(default)]
    pub reload: ReloadTrigger,
    /// The services whose requests carry a token of `[sig4]` (default none).
    #[serde(default)]
    pub jwt: JwtAuth,
}

/// The destination of the access log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AccessLog {
    /// Standard output.
    #[default]
    Stdout,
    /// A file, opened for appending and reopened at SIGHUP.
    File(PathBuf),
    /// No access log.
    Off,
}

/// The value of a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingValue {
    /// A number.
    Count(usize),
    /// A duration.
    Time(Duration),
    /// On or off.
    Switch(bool),
}

/// A setting of `[proxy]` that has a default.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Its name in the file.
    pub name: &'static str,
    /// The value in effect.
    pub value: SettingValue,
    /// The default.
    pub default: SettingValue,
}

impl Display for SettingValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count}"),
            Self::Time(time) => write!(f, "{time:?}"),
            Self::Switch(on) => write!(f, "{on}"),
        }
    }
}

impl ProxyConfig {
    /// The field that names a service which there is not, and what to write instead.
    pub(super) fn unknown_service(&self, hub: &HubConfig) -> Option<(&'static str, String)> {
        let is_unknown = |name: &&str| hub.named(name).is_none();
        let names = hub.names();
        if self.jwt.named().filter(is_unknown).is_some() {
            let message = format!("write \"off\", {} or \"both\"", names.join(", "));
            return Some(("jwt", message));
        }
        let mut upstreams = self
            .listeners
            .iter()
            .filter_map(|one| one.upstream.as_deref());
        upstreams.find(is_unknown).map(|_| {
            let prefixes = names
                .iter()
                .map(|name| format!("/{}/", name.trim_matches('"')));
            let prefixes: Vec<_> = prefixes.collect();
            let message = format!(
                "`upstream` is {}; without it, paths begin with {}",
                names.join(" or "),
                prefixes.join(" or ")
            );
            ("upstream", message)
        })
    }

    /// Every setting that has a default, in the order of `docs/proxy.md`.
    pub fn settings(&self) -> [Setting; 13] {
        use SettingValue::{Count, Switch, Time};
        let setting = |name, value, default| Setting {
            name,
            value,
            default,
        };
        let count = |name, value, default| setting(name, Count(value), Count(default));
        let time = |name, value, default| setting(name, Time(value), Time(default));
        [
            setting("h2", Switch(self.h2), Switch(default_h2())),
            count(
                "warm_connections",
                self.warm_connections,
                default_warm_connections(),
            ),
            count(
                "max_connections",
                self.max_connections,
                default_max_connections(),
            ),
            time("max_age", self.max_age, default_max_age()),
            time("idle_timeout", self.idle_timeout, default_idle_timeout()),
            count("max_requests", self.max_requests, default_max_requests()),
            count("max_clients", self.max_clients, default_max_clients()),
            count(
                "max_header_kib",
                self.max_header_kib,
                default_max_header_kib(),
            ),
            count("max_body_mib", self.max_body_mib, default_max_body_mib()),
            time("head_timeout", self.head_timeout, default_head_timeout()),
            time("body_timeout", self.body_timeout, default_body_timeout()),
            time("keep_alive", self.keep_alive, default_keep_alive()),
            time("stop_timeout", self.stop_timeout, default_stop_timeout()),
        ]
    }

    pub(super) fn relative_to(mut self, folder: &Path) -> Self {
        let addresses = self.listeners.iter_mut().map(|listener| {
            if let Callers::Token(file) = &mut listener.callers {
                *file = folder.join(&file);
            }
            &mut listener.address
        });
        let operations = self.operations.iter_mut().map(|config| &mut config.address);
        for address in addresses.chain(operations) {
            if let ListenAddress::Unix { path, .. } = address {
                *path = folder.join(&path);
            }
        }
        if let AccessLog::File(path) = &mut self.access_log {
            *path = folder.join(&path);
        }
        self
    }

    /// The defaults of `max_connections` and of a connection's lifetime without calls.
    pub(super) fn default_connections() -> (usize, Duration) {
        (default_max_connections(), default_idle_timeout())
    }

    /// The files with the caller tokens.
    pub fn token_files(&self) -> impl Iterator<Item = &Path> {
        self.listeners
            .iter()
            .filter_map(|listener| match &listener.callers {
                Callers::Token(file) => Some(file.as_path()),
                _ => None,
            })
    }

    /// The first Unix socket whose path is too long for the system (`sun_path`, unix(7)).
    pub(super) fn too_long_socket_path(&self) -> Option<&ListenAddress> {
        let listeners = self.listeners.iter().map(|config| &config.address);
        let operations = self.operations.iter().map(|config| &config.address);
        let too_long = |address: &&ListenAddress| matches!(address, ListenAddress::Unix { path, .. } if path.as_os_str().len() > MAX_SOCKET_PATH);
        listeners.chain(operations).find(too_long)
    }

    /// The first address that is configured twice.
    pub(super) fn duplicate_address(&self) -> Option<&ListenAddress> {
        let mut all: Vec<_> = self
            .listeners
            .iter()
            .map(|config| &config.address)
            .collect();
        all.extend(self.operations.iter().map(|config| &config.address));
        let is_duplicate = |(at, address): &(usize, &&ListenAddress)| all[..*at].contains(*address);
        all.iter()
            .enumerate()
            .find(is_duplicate)
            .map(|(_, address)| *address)
    }
}

impl<'de> Deserialize<'de> for AccessLog {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok(match text.as_str() {
            "stdout" => Self::Stdout,
            "off" => Self::Off,
            _ => Self::File(text.into()),
        })
    }
}

fn within<'de, D: Deserializer<'de>>(
    deserializer: D,
    min: usize,
    max: usize,
) -> Result<usize, D::Error> {
    let value = usize::deserialize(deserializer)?;
    if (min..=max).contains(&value) {
        return Ok(value);
    }
    Err(serde::de::Error::custom(format!("from {min} to {max}")))
}

fn up_to_64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    within(deserializer, 0, 64)
}

fn one_to_1024<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    within(deserializer, 1, 1024)
}

fn one_to_65536<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    within(deserializer, 1, 65_536)
}

fn four_to_60<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    within(deserializer, 4, 60)
}

fn default_warm_connections() -> usize {
    2
}

fn default_max_connections() -> usize {
    128
}

fn default_max_requests() -> usize {
    256
}

fn default_max_clients() -> usize {
    4096
}

fn default_max_header_kib() -> usize {
    32
}

fn default_max_body_mib() -> usize {
    16
}

fn default_h2() -> bool {
    true
}

fn default_max_age() -> Duration {
    Duration::from_secs(600)
}

fn default_idle_timeout() -> Duration {
    Duration::from_secs(50)
}

fn default_head_timeout() -> Duration {
    Duration::from_secs(10)
}

fn default_body_timeout() -> Duration {
    Duration::from_secs(30)
}

fn default_keep_alive() -> Duration {
    Duration::from_secs(300)
}

fn default_stop_timeout() -> Duration {
    Duration::from_secs(30)
}
