//! Where the proxy listens, and who may call there: a Unix socket or loopback, and nothing else.

use std::fmt::{self, Display};
use std::net::SocketAddr;
use std::path::{Component, PathBuf};

use serde::Deserialize;

use super::environment::Service;

/// `[[proxy.listener]]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "ListenerFile")]
pub struct ListenerConfig {
    /// Where.
    pub place: Place,
    /// Who may call.
    pub callers: Callers,
    /// The service that all requests are for. None: the path begins with `/cm/` or `/hh/`.
    pub service: Option<Service>,
    /// Names that a request's Host may have beside those of this machine and of the hub.
    pub host_names: Vec<String>,
}

/// `[proxy.operations]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "OperationsFile")]
pub struct OperationsConfig {
    /// Where.
    pub place: Place,
}

/// Where something is listened on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A Unix socket, made with this mode; owner and group are changed where they are given.
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
    /// A port of loopback.
    Tcp(SocketAddr),
    /// A socket that systemd hands over, by its `FileDescriptorName=`.
    Systemd(String),
}

/// Who may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Callers {
    /// Processes of the user that runs the proxy (Unix sockets).
    Own,
    /// Processes of these users, or with one of these groups as their primary one (Unix sockets).
    Peers {
        /// Effective user ids.
        uids: Vec<u32>,
        /// Effective group ids. SO_PEERCRED has no supplementary ones: for those, `SocketMode`.
        gids: Vec<u32>,
    },
    /// Whoever the socket's owner, group and mode let connect (Unix sockets).
    SocketMode,
    /// Who knows what stands in this file (TCP).
    Token(PathBuf),
    /// Every process of this machine.
    AnyLocalProcess,
}

impl Place {
    /// Whether every process of this machine gets as far as connecting. Of a socket that systemd makes, its
    /// unit decides: it may.
    pub fn is_for_everybody(&self) -> bool {
        match self {
            Self::Unix { mode, .. } => mode & 0o002 != 0,
            Self::Tcp(_) | Self::Systemd(_) => true,
        }
    }
}

impl Display for Place {
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
        let place = place(
            file.unix,
            file.tcp,
            file.systemd,
            (file.mode, file.owner, file.group),
        )?;
        let callers = match file.callers {
            None => match place {
                Place::Tcp(_) => return Err(OPEN_PORT.to_owned()),
                Place::Unix { .. } | Place::Systemd(_) => Callers::Own,
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
        match (&place, &callers) {
            (Place::Tcp(_), Callers::Own | Callers::Peers { .. } | Callers::SocketMode) => {
                return Err(OPEN_PORT.to_owned());
            }
            (Place::Unix { .. }, Callers::Token(_)) => return Err(CALLERS_FORMS.to_owned()),
            _ => {}
        }
        let service = match file.upstream.as_deref() {
            None => None,
            Some("cm") => Some(Service::ConsentManager),
            Some("hh") => Some(Service::HeadlessHeimdall),
            Some(_) => {
                return Err(
                    "`upstream` is \"cm\" or \"hh\"; without it, paths begin with /cm/ or /hh/"
                        .to_owned(),
                );
            }
        };
        Ok(Self {
            place,
            callers,
            service,
            host_names: file.host_names,
        })
    }
}

impl TryFrom<OperationsFile> for OperationsConfig {
    type Error = String;

    fn try_from(file: OperationsFile) -> Result<Self, String> {
        let place = place(
            file.unix,
            file.tcp,
            file.systemd,
            (file.mode, file.owner, file.group),
        )?;
        Ok(Self { place })
    }
}

fn place(
    unix: Option<PathBuf>,
    tcp: Option<String>,
    systemd: Option<String>,
    (mode, owner, group): (Option<String>, Option<u32>, Option<u32>),
) -> Result<Place, String> {
    let of_a_socket = mode.is_some() || owner.is_some() || group.is_some();
    match (unix, tcp, systemd) {
        (Some(path), None, None) => {
            let mode = match mode {
                None => 0o600,
                Some(text) => u32::from_str_radix(&text, 8)
                    .ok()
                    .filter(|mode| *mode <= 0o777)
                    .ok_or("`mode` is written as octal digits in quotation marks: \"0600\" is for the owner, \"0660\" for the group too")?,
            };
            Ok(Place::Unix {
                // `./a` is `a`: one place has one name.
                path: path
                    .components()
                    .filter(|part| *part != Component::CurDir)
                    .collect(),
                mode,
                owner,
                group,
            })
        }
        (None, Some(_), None) | (None, None, Some(_)) if of_a_socket => {
            Err("`mode`, `owner` and `group` are of a `unix` socket".to_owned())
        }
        (None, Some(text), None) => {
            let address: SocketAddr = text
                .parse()
                .map_err(|_| "`tcp` is an address with its port: \"127.0.0.1:8080\"")?;
            match address.ip().is_loopback() {
                true => Ok(Place::Tcp(address)),
                false => Err(NOT_LOOPBACK.to_owned()),
            }
        }
        (None, None, Some(name)) => Ok(Place::Systemd(name)),
        _ => Err("one of `unix`, `tcp` and `systemd` says where to listen".to_owned()),
    }
}

const NOT_LOOPBACK: &str = "whoever reaches the proxy speaks to the hub as the bank, so it listens on this machine only: \
     write 127.0.0.1, [::1] or a `unix` socket";
