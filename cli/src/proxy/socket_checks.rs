//! Checks a listening socket against the configuration, because one that systemd passed may differ from it: only a Unix socket
//! has peer credentials, a TCP port must be on loopback, and nobody else may write to the folder of a Unix socket.

use std::net::SocketAddr;
use std::os::unix::net::UnixListener;

use super::ProxyError;
use super::listen_sockets::ListenSocket;
use hsm_mtls::internal::config::listener::{Callers, ListenAddress, ListenerConfig};
use hsm_mtls::internal::owner_and_mode::{Protection, faults};

/// Checks that the kind of socket fits `callers`.
pub(super) fn check_callers(
    socket: &ListenSocket,
    config: &ListenerConfig,
) -> Result<(), ProxyError> {
    check_loopback(socket, &config.address)?;
    let is_tcp = matches!(socket, ListenSocket::Tcp(_));
    let fits = match &config.callers {
        Callers::AnyLocalProcess => true,
        Callers::Token(_) => is_tcp,
        Callers::SameUser | Callers::Peers { .. } | Callers::SocketMode => !is_tcp,
    };
    if fits {
        return Ok(());
    }
    let reason = match is_tcp {
        true => {
            "it is a TCP port, so `callers` is { token_file = \"/a/file\" } or \"allow-any-local-process\""
        }
        false => "it is a Unix socket: a caller is known by its user there, not by a token",
    };
    Err(ProxyError::Listen {
        address: config.address.to_string(),
        reason: reason.to_owned(),
    })
}

/// Checks that nobody else may write to the folder of a Unix socket. Who may can put a socket of their own there while the proxy
/// is down, and is then sent what applications send, with their access tokens.
pub(super) fn check_folder(
    socket: &ListenSocket,
    address: &ListenAddress,
) -> Result<(), ProxyError> {
    let reason = match socket {
        ListenSocket::Unix(socket) => folder_fault(socket),
        ListenSocket::Tcp(_) => None,
    };
    let address = address.to_string();
    reason.map_or(Ok(()), |reason| Err(ProxyError::Listen { address, reason }))
}

/// What others could do, and what to do about it. `None`: nothing, or the socket has no path.
fn folder_fault(socket: &UnixListener) -> Option<String> {
    let address = socket.local_addr().ok()?;
    let found = faults(address.as_pathname()?, Protection::Socket);
    let fault = found.first()?;
    Some(format!(
        "others could put another socket there: {fault}; {}",
        fault.advice()
    ))
}

/// Checks that a TCP port is on loopback.
pub(super) fn check_loopback(
    socket: &ListenSocket,
    address: &ListenAddress,
) -> Result<(), ProxyError> {
    match socket {
        ListenSocket::Tcp(socket) if !socket.local_addr().is_ok_and(is_loopback) => {
            Err(ProxyError::Listen {
                address: address.to_string(),
                reason: NOT_LOOPBACK.to_owned(),
            })
        }
        _ => Ok(()),
    }
}

const NOT_LOOPBACK: &str =
    "it is not on loopback: whoever reaches it would speak to the hub as the bank";

fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::net::TcpListener;
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::listen_sockets::bind_unix;
    use super::*;

    #[test]
    fn a_socket_of_systemd_must_fit_callers() {
        let config = |callers| ListenerConfig {
            address: ListenAddress::Systemd("hub".to_owned()),
            callers,
            upstream: None,
            host_names: Vec::new(),
        };
        let tcp = |address: &str| ListenSocket::Tcp(TcpListener::bind(address).unwrap());
        let any = || config(Callers::AnyLocalProcess);
        assert!(check_callers(&tcp("127.0.0.1:0"), &any()).is_ok());
        assert!(check_callers(&tcp("0.0.0.0:0"), &any()).is_err());
        // TCP has no peer credentials.
        assert!(check_callers(&tcp("127.0.0.1:0"), &config(Callers::SameUser)).is_err());
        assert!(check_callers(&tcp("127.0.0.1:0"), &config(Callers::Token("t".into()))).is_ok());
        let folder = tempfile::tempdir().unwrap();
        let socket = bind_unix(&folder.path().join("s"), 0o600, None, None).unwrap();
        let socket = ListenSocket::Unix(socket);
        assert!(check_callers(&socket, &config(Callers::SameUser)).is_ok());
        assert!(check_callers(&socket, &config(Callers::Token("t".into()))).is_err());
    }

    #[test]
    fn a_socket_is_safe_in_a_folder_that_nobody_else_may_write_to() {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixListener::bind(folder.path().join("hub.sock")).unwrap();
        assert_eq!(folder_fault(&socket), None);
        for mode in [0o777, 0o1777] {
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).unwrap();
            let said = folder_fault(&socket).unwrap();
            let command = format!("`chmod go-w {}`", folder.path().display());
            assert!(said.ends_with(&command), "{said}");
        }
    }
}
