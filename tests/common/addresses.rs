//! Names with several addresses, some of which answer nothing: for one process, on loopback, without a
//! name server.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with};
use rustix::process::geteuid;

/// How long nothing is waited for, where nothing is to come.
const NOTHING: Duration = Duration::from_millis(300);

/// An address whose queue is full: what comes more is dropped, as by a firewall.
pub struct Swallowing {
    address: SocketAddr,
    _listener: TcpListener,
    _in_its_queue: Vec<TcpStream>,
}

impl Swallowing {
    /// At this address; port 0: wherever there is room.
    pub fn at(ip: IpAddr, port: u16) -> Self {
        let family = match ip {
            IpAddr::V4(_) => AddressFamily::INET,
            IpAddr::V6(_) => AddressFamily::INET6,
        };
        let listener =
            socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None).expect("a socket");
        bind(&listener, &SocketAddr::new(ip, port)).expect("a free address");
        // The shortest queue that there is: it takes one.
        listen(&listener, 0).expect("a listener");
        let listener = TcpListener::from(listener);
        let address = listener.local_addr().expect("its address");
        let mut held = Vec::new();
        loop {
            match TcpStream::connect_timeout(&address, NOTHING) {
                Ok(stream) => held.push(stream),
                Err(error) if error.kind() == ErrorKind::TimedOut => break,
                Err(error) => panic!("{address}: {error}"),
            }
            assert!(held.len() < 100, "{address} takes whatever comes");
        }
        Self {
            address,
            _listener: listener,
            _in_its_queue: held,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// A command for which the hosts file is this one, in a mount namespace of its own.
pub fn with_hosts(hosts: &Path, program: &Path) -> Command {
    let mut command = Command::new("unshare");
    if !geteuid().is_root() {
        command.arg("--map-root-user");
    }
    command
        .args(["--mount", "sh", "-c"])
        .arg("mount --bind \"$1\" /etc/hosts && shift && exec \"$@\"")
        .arg("sh")
        .arg(hosts)
        .arg(program);
    command
}
