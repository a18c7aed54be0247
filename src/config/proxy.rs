//! The local proxy: its listeners, its log and its limits.

use std::fmt::{self, Display};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::field;
use super::listener::{Callers, ListenerConfig, OperationsConfig, Place};

/// What `sun_path` has room for beside its NUL, in bytes.
const LONGEST_SOCKET_PATH: usize = 107;

/// `[proxy]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProxyConfig {
    /// Where applications call; at least one.
    #[serde(default, rename = "listener")]
    pub listeners: Vec<ListenerConfig>,
    /// Where `/healthz`, `/readyz` and `/metrics` are answered. None: nowhere.
    #[serde(default)]
    pub operations: Option<OperationsConfig>,
    /// A line for each request.
    #[serde(default)]
    pub access_log: AccessLog,
    /// Idle connections kept ready for each service (0 to 64).
    #[serde(default = "warm", deserialize_with = "warm_connections")]
    pub warm_connections: usize,
    /// The most connections to each service (1 to 1024).
    #[serde(default = "connections", deserialize_with = "count")]
    pub max_connections: usize,
    /// A connection this old takes no further request.
    #[serde(default = "age", deserialize_with = "field::duration")]
    pub max_age: Duration,
    /// A connection that was idle for so long takes no further request: servers and firewalls end
    /// idle ones after a minute or more, and tell nobody.
    #[serde(default = "idle", deserialize_with = "field::duration")]
    pub idle_timeout: Duration,
    /// Whether HTTP/2 is offered to the hub, beside HTTP/1.1.
    #[serde(default = "yes")]
    pub h2: bool,
    /// What requests to the hub say in `Via` of who forwarded them.
    #[serde(default)]
    pub via: Via,
    /// Requests that the hub is asked at once (1 to 65536); more get 503.
    #[serde(default = "requests", deserialize_with = "many")]
    pub max_requests: usize,
    /// Applications' connections at once (1 to 65536); more wait to be accepted.
    #[serde(default = "clients", deserialize_with = "many")]
    pub max_clients: usize,
    /// The longest head of a request, in KiB (4 to 60).
    #[serde(default = "header_kib", deserialize_with = "kibibytes")]
    pub max_header_kib: usize,
    /// The longest body of a request, in MiB (1 to 1024).
    #[serde(default = "body_mib", deserialize_with = "count")]
    pub max_body_mib: usize,
    /// How long a request's head may take to come.
    #[serde(default = "head", deserialize_with = "field::duration")]
    pub head_timeout: Duration,
    /// How long a request's body may take to come, and how long an application may leave an answer
    /// unread.
    #[serde(default = "body", deserialize_with = "field::duration")]
    pub body_timeout: Duration,
    /// How long an application's connection may be idle.
    #[serde(default = "keep_alive", deserialize_with = "field::duration")]
    pub keep_alive: Duration,
    /// How long requests that are under way may take when the proxy is stopped.
    #[serde(default = "stop", deserialize_with = "field::duration")]
    pub stop_timeout: Duration,
}

/// Where the access log goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AccessLog {
    /// Standard output.
    #[default]
    Stdout,
    /// A file, appended to; opened again at SIGHUP.
    File(PathBuf),
    /// Nowhere.
    Off,
}

/// The entry that a gateway makes in `Via` (RFC 9110, section 7.6.3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Via {
    /// `hsm-mtls-` and the `lfi_code`.
    #[default]
    OfTheBank,
    /// This name: a token.
    Name(String),
    /// None: for a hub that treats requests of gateways otherwise.
    Off,
}

impl Via {
    /// The name; None where there is to be no entry.
    pub fn name(&self, lfi_code: &str) -> Option<String> {
        match self {
            Self::OfTheBank => Some(format!("hsm-mtls-{lfi_code}")),
            Self::Name(name) => Some(name.clone()),
            Self::Off => None,
        }
    }
}

/// What a limit is set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// So many.
    Count(usize),
    /// So long.
    Time(Duration),
    /// Whether.
    Switch(bool),
}

/// A setting of `[proxy]` that has a default.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// Its name in the file.
    pub name: &'static str,
    /// What it is.
    pub value: Setting,
    /// What it is where nothing is written.
    pub default: Setting,
}

impl Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count}"),
            Self::Time(time) => write!(f, "{time:?}"),
            Self::Switch(on) => write!(f, "{on}"),
        }
    }
}

impl ProxyConfig {
    /// All that has a default, in the order of docs/proxy.md.
    pub fn limits(&self) -> [Limit; 13] {
        use Setting::{Count, Switch, Time};
        let limit = |name, value, default| Limit {
            name,
            value,
            default,
        };
        let count = |name, value, default| limit(name, Count(value), Count(default));
        let time = |name, value, default| limit(name, Time(value), Time(default));
        [
            limit("h2", Switch(self.h2), Switch(yes())),
            count("warm_connections", self.warm_connections, warm()),
            count("max_connections", self.max_connections, connections()),
            time("max_age", self.max_age, age()),
            time("idle_timeout", self.idle_timeout, idle()),
            count("max_requests", self.max_requests, requests()),
            count("max_clients", self.max_clients, clients()),
            count("max_header_kib", self.max_header_kib, header_kib()),
            count("max_body_mib", self.max_body_mib, body_mib()),
            time("head_timeout", self.head_timeout, head()),
            time("body_timeout", self.body_timeout, body()),
            time("keep_alive", self.keep_alive, keep_alive()),
            time("stop_timeout", self.stop_timeout, stop()),
        ]
    }

    pub(super) fn relative_to(mut self, folder: &Path) -> Self {
        let places = self.listeners.iter_mut().map(|listener| {
            if let Callers::Token(file) = &mut listener.callers {
                *file = folder.join(&file);
            }
            &mut listener.place
        });
        let operations = self.operations.iter_mut().map(|found| &mut found.place);
        for place in places.chain(operations) {
            if let Place::Unix { path, .. } = place {
                *path = folder.join(&path);
            }
        }
        if let AccessLog::File(path) = &mut self.access_log {
            *path = folder.join(&path);
        }
        self
    }

    /// The files that hold tokens of callers.
    pub fn token_files(&self) -> impl Iterator<Item = &Path> {
        self.listeners
            .iter()
            .filter_map(|listener| match &listener.callers {
                Callers::Token(file) => Some(file.as_path()),
                _ => None,
            })
    }

    /// The first socket whose path is longer than the system takes (`sun_path`, unix(7)).
    pub(super) fn path_too_long(&self) -> Option<&Place> {
        let listeners = self.listeners.iter().map(|found| &found.place);
        let operations = self.operations.iter().map(|found| &found.place);
        let long = |place: &&Place| matches!(place, Place::Unix { path, .. } if path.as_os_str().len() > LONGEST_SOCKET_PATH);
        listeners.chain(operations).find(long)
    }

    /// The first place that stands there twice.
    pub(super) fn place_twice(&self) -> Option<&Place> {
        let mut all: Vec<_> = self.listeners.iter().map(|found| &found.place).collect();
        all.extend(self.operations.iter().map(|found| &found.place));
        let twice = |(at, place): &(usize, &&Place)| all[..*at].contains(*place);
        all.iter().enumerate().find(twice).map(|(_, place)| *place)
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

impl<'de> Deserialize<'de> for Via {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        match text.as_str() {
            "off" => Ok(Self::Off),
            name if (1..=64).contains(&name.len()) && name.bytes().all(token) => {
                Ok(Self::Name(text))
            }
            _ => Err(serde::de::Error::custom(
                "a name of up to 64 letters, digits, - or ., or \"off\"",
            )),
        }
    }
}

fn within<'de, D: Deserializer<'de>>(
    deserializer: D,
    least: usize,
    most: usize,
) -> Result<usize, D::Error> {
    let value = usize::deserialize(deserializer)?;
    if (least..=most).contains(&value) {
        return Ok(value);
    }
    Err(serde::de::Error::custom(format!("from {least} to {most}")))
}

fn warm_connections<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    within(deserializer, 0, 64)
}

fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    within(deserializer, 1, 1024)
}

fn many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    within(deserializer, 1, 65_536)
}

fn kibibytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    within(deserializer, 4, 60)
}

fn warm() -> usize {
    2
}

fn connections() -> usize {
    128
}

fn requests() -> usize {
    256
}

fn clients() -> usize {
    4096
}

fn header_kib() -> usize {
    32
}

fn body_mib() -> usize {
    16
}

fn yes() -> bool {
    true
}

fn age() -> Duration {
    Duration::from_secs(600)
}

fn idle() -> Duration {
    Duration::from_secs(50)
}

fn head() -> Duration {
    Duration::from_secs(10)
}

fn body() -> Duration {
    Duration::from_secs(30)
}

fn keep_alive() -> Duration {
    Duration::from_secs(300)
}

fn stop() -> Duration {
    Duration::from_secs(30)
}
