//! Names with several addresses, some of which answer nothing: for one process, on loopback, from a file or a name server
//! of the test's own.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::thread;
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
    with_file_at(hosts, "/etc/hosts", program)
}

/// A command for which another file lies at this path, in a mount namespace of its own.
pub fn with_file_at(file: &Path, at: &str, program: &Path) -> Command {
    let mut command = Command::new("unshare");
    if !geteuid().is_root() {
        command.arg("--map-root-user");
    }
    command
        .args(["--mount", "sh", "-c"])
        .arg("mount --bind \"$1\" \"$2\" && shift 2 && exec \"$@\"")
        .arg("sh")
        .arg(file)
        .arg(at)
        .arg(program);
    command
}

/// A name server at this address: it has one IPv4 address for each name that it is asked for.
pub fn name_server(at: IpAddr, answer: Ipv4Addr) {
    let socket = UdpSocket::bind((at, 53)).expect("root may use the port of DNS");
    thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((length, asker)) = socket.recv_from(&mut query) {
            // One question: its name ends with an empty label, type and class follow.
            let question = &query[12..length];
            let name = question.iter().position(|byte| *byte == 0).expect("a name");
            let question = &question[..name + 5];
            let is_ipv4 = question[name + 1..name + 3] == [0, 1];
            let mut response = query[..2].to_vec();
            response.extend([0x81, 0x80, 0, 1, 0, u8::from(is_ipv4), 0, 0, 0, 0]);
            response.extend(question);
            if is_ipv4 {
                // The name of the question, A, IN, a minute, four bytes.
                response.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
                response.extend(answer.octets());
            }
            socket
                .send_to(&response, asker)
                .expect("whoever asks waits");
        }
    });
}
