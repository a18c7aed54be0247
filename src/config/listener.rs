//! The proxy's listen addresses, which are Unix sockets or loopback only, and the callers that each allows.

use std::fmt::{self, Display};
use std::net::{Ipv6Addr, SocketAddr};
use std::path::{Component, PathBuf};

use serde::Deserialize;

/// `[[proxy.listener]]`: an address for applications.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "ListenerFile")]
pub struct ListenerConfig {
    /// The address.
    pub address: ListenAddress,
    /// The allowed callers.
    pub callers: Callers,
    /// The name of the service that all requests go to. `None`: the first segment of the path is the name.
    pub upstream: Option<String>,
    /// Names that are allowed in a request's Host header, beside those of this machine and of the hub.
    pub host_names: Vec<String>,
}

/// `[proxy.operations]`: the address of health checks and metrics.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "OperationsFile")]
pub struct OperationsConfig {
    /// The address.
    pub address: ListenAddress,
    /// Names that are allowed in a request's Host header over TCP, beside those of this machine and the address.
    pub host_names: Vec<String>,
}

/// The address of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// A Unix socket, created with this mode; owner and group are changed if they are given.
    Unix {
        /// Its path.
        path: PathBuf,
        /// Its mode.
        mode: u32,
        /// The uid of its owner.
        owner: Option<u32>,
        /// The gid of its group.
        group: Option<u32>,
    },
    /// A TCP port on a loopback address.
    Tcp(SocketAddr),
    /// A socket that systemd passes (socket activation), by its `FileDescriptorName=`.
    Systemd(String),
}

/// The callers that a listener allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Callers {
    /// Processes of the user that runs the proxy (Unix sockets).
    SameUser,
    /// Processes of these users, or with one of these groups as their primary one (Unix sockets).
    Peers {
        /// Effective user ids.
        uids: Vec<u32>,
        /// Effective group ids. SO_PEERCRED does not report supplementary groups: use `SocketMode` for those.
        gids: Vec<u32>,
    },
    /// Processes that the socket's owner, group and mode allow to connect (Unix sockets).
    SocketMode,
    /// Processes that send the token in this file (TCP).
    Token(PathBuf),
    /// Every process on this machine.
    AnyLocalProcess,
}

impl ListenAddress {
    /// Whether every process on this machine may be able to connect. Also true of a systemd socket, whose mode is in its
    /// unit.
    pub fn is_open_to_all(&self) -> bool {
        match self {
            Self::Unix { mode, .. } => mode & 0o002 != 0,
            Self::Tcp(_) | Self::Systemd(_) => true,
        }
    }
}

impl Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix { path, .. } => write!(f, "{}", path.display()),
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Systemd(name) => write!(f, "systemd's socket {name}"),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListenerFile {
    unix: Option<PathBuf>,
    tcp: Option<String>,
    systemd: Option<String>,
    mode: Option<String>,
    owner: Option<u32>,
    group: Option<u32>,
    callers: Option<CallersFile>,
    upstream: Option<String>,
    #[serde(default)]
    host_names: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OperationsFile {
    unix: Option<PathBuf>,
    tcp: Option<String>,
    systemd: Option<String>,
    mode: Option<String>,
    owner: Option<u32>,
    group: Option<u32>,
    #[serde(default)]
    host_names: Vec<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum CallersFile {
    Word(String),
    Table(CallersTable),
    Other(serde::de::IgnoredAny),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CallersTable {
    #[serde(default)]
    uids: Vec<u32>,
    #[serde(default)]
    gids: Vec<u32>,
    token_file: Option<PathBuf>,
}

const CALLERS_FORMS: &str = "`callers` is { uids = [NUMBER], gids = [NUMBER] } (`id -u USER` and `getent group GROUP` print them) or \"socket-mode\" for a Unix socket, \
     { token_file = \"/a/file\" } for TCP, or \"allow-any-local-process\"";
const OPEN_PORT: &str = "every process of this machine can reach a TCP port: write callers = { token_file = \"/a/file\" }, \
     or callers = \"allow-any-local-process\" if that is meant";

impl TryFrom<ListenerFile> for ListenerConfig {
    type Error = String;

    fn try_from(file: ListenerFile) -> Result<Self, String> {
        let address = address(
            file.unix,
            file.tcp,
            file.systemd,
            (file.mode, file.owner, file.group),
        )?;
        let callers = match file.callers {
            None => match address {
                ListenAddress::Tcp(_) => return Err(OPEN_PORT.to_owned()),
                ListenAddress::Unix { .. } | ListenAddress::Systemd(_) => Callers::SameUser,
            },
            Some(CallersFile::Word(word)) => match word.as_str() {
                "allow-any-local-process" => Callers::AnyLocalProcess,
                "socket-mode" => Callers::SocketMode,
                _ => return Err(CALLERS_FORMS.to_owned()),
            },
            Some(CallersFile::Table(CallersTable {
                uids,
                gids,
                token_file,
            })) => match (token_file, uids.is_empty() && gids.is_empty()) {
                (Some(file), true) => Callers::Token(file),
                (None, false) => Callers::Peers { uids, gids },
                _ => return Err(CALLERS_FORMS.to_owned()),
            },
            Some(CallersFile::Other(_)) => return Err(CALLERS_FORMS.to_owned()),
        };
        match (&address, &callers) {
            (
                ListenAddress::Tcp(_),
                Callers::SameUser | Callers::Peers { .. } | Callers::SocketMode,
            ) => {
                return Err(OPEN_PORT.to_owned());
            }
            (ListenAddress::Unix { .. }, Callers::Token(_)) => return Err(CALLERS_FORMS.to_owned()),
            _ => {}
        }
        Ok(Self {
            address,
            callers,
            upstream: file.upstream,
            host_names: file.host_names,
        })
    }
}

impl TryFrom<OperationsFile> for OperationsConfig {
    type Error = String;

    fn try_from(file: OperationsFile) -> Result<Self, String> {
        let address = address(
            file.unix,
            file.tcp,
            file.systemd,
            (file.mode, file.owner, file.group),
        )?;
        Ok(Self {
            address,
            host_names: file.host_names,
        })
    }
}

/// Parses the fields of a listen address.
fn address(
    unix: Option<PathBuf>,
    tcp: Option<String>,
    systemd: Option<String>,
    (mode, owner, group): (Option<String>, Option<u32>, Option<u32>),
) -> Result<ListenAddress, String> {
    let has_socket_fields = mode.is_some() || owner.is_some() || group.is_some();
    match (unix, tcp, systemd) {
        (Some(path), None, None) => {
            let mode = match mode {
                None => 0o600,
                Some(text) => u32::from_str_radix(&text, 8)
                    .ok()
                    .filter(|mode| *mode <= 0o777)
                    .ok_or("`mode` is written as octal digits in quotation marks: \"0600\" is for the owner, \"0660\" for the group too")?,
            };
            Ok(ListenAddress::Unix {
                // `./a` becomes `a`, so that equal paths compare equal.
                path: path
                    .components()
                    .filter(|part| *part != Component::CurDir)
                    .collect(),
                mode,
                owner,
                group,
            })
        }
        (None, Some(_), None) | (None, None, Some(_)) if has_socket_fields => {
            Err("`mode`, `owner` and `group` are of a `unix` socket".to_owned())
        }
        (None, Some(text), None) => {
            let address: SocketAddr = text.parse().map_err(|_| tcp_address_error(&text))?;
            match address.ip().is_loopback() {
                true => Ok(ListenAddress::Tcp(address)),
                false => Err(NOT_LOOPBACK.to_owned()),
            }
        }
        (None, None, Some(name)) => Ok(ListenAddress::Systemd(name)),
        _ => Err("one of `unix`, `tcp` and `systemd` says where to listen".to_owned()),
    }
}

/// What is wrong with an address of `tcp` that does not parse.
fn tcp_address_error(text: &str) -> &'static str {
    let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
    let is_numeric = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    match is_numeric {
        true if host.parse::<Ipv6Addr>().is_ok() => {
            "an IPv6 address stands in brackets: \"[::1]:8080\""
        }
        true if port.parse::<u16>().is_err() => "a port is a number up to 65535",
        _ => "`tcp` is an address with its port: \"127.0.0.1:8080\"",
    }
}

const NOT_LOOPBACK: &str = "whoever reaches the proxy speaks to the hub as the bank, so it listens on this machine only: \
     write 127.0.0.1, [::1] or a `unix` socket";
