//! Connections of callers that mean harm, or are broken, beside one that is served: on the same listener and on others,
//! of the same user and of others, without the token and without a request.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::common::bank::Bank;
use crate::common::hub::{Hub, HubOptions};
use crate::common::poll::until;
use crate::common::proxy::{Ports, Proxy, TOKEN, status};

pub(super) struct Scene {
    pub(super) bank: Bank,
    _hub: Hub,
    pub(super) proxy: Proxy,
    pub(super) ports: Ports,
}

pub(super) fn scene(lines: &str, listeners: &str) -> Scene {
    let mut bank = Bank::new();
    bank.certify("p-256");
    let hub = Hub::start_in_thread(HubOptions::of(&bank.framework, &["localhost", "127.0.0.1"]));
    bank.hub_at(hub.port());
    // Another user must get as far as the sockets.
    fs::set_permissions(bank.folder(), fs::Permissions::from_mode(0o755)).unwrap();
    let ports = Proxy::configure(&mut bank, lines, listeners);
    let proxy = Proxy::start(&bank, ports);
    Scene {
        bank,
        _hub: hub,
        proxy,
        ports,
    }
}

pub(super) const REQUEST: &str =
    "GET /cm/consents/1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";

/// A request with the token over TCP: the status.
fn with_token(address: SocketAddr) -> u16 {
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    write!(stream, "{REQUEST}X-HSM-MTLS-Caller: {TOKEN}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .unwrap_or_else(|error| panic!("a caller with the token is not served: {error}"));
    status(&answer)
}

/// A request over a Unix socket: the status.
fn over_unix(socket: &Path) -> u16 {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    write!(stream, "{REQUEST}\r\n").unwrap();
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .unwrap_or_else(|error| panic!("a caller on a Unix socket is not served: {error}"));
    status(&answer)
}

/// Connections of nobody to a Unix socket, of which each sends `bytes`, until the process is ended.
struct Strangers(Child);

impl Strangers {
    fn connect(socket: &Path, count: usize, bytes: &str) -> Self {
        const PROGRAM: &str = "
import socket, sys
wires = []
for at in range(int(sys.argv[2])):
    wire = socket.socket(socket.AF_UNIX)
    wire.connect(sys.argv[1])
    try:
        wire.sendall(sys.argv[3].encode().decode('unicode_escape').encode())
    except OSError:
        pass
    wires.append(wire)
print('all', flush=True)
sys.stdin.read()
";
        let mut child = Command::new("setpriv")
            .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
            .args(["/usr/bin/python3", "-c", PROGRAM])
            .arg(socket)
            .args([&count.to_string(), bytes])
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = [0; 4];
        let stdout = child.stdout.as_mut().unwrap();
        stdout.read_exact(&mut said).unwrap();
        Self(child)
    }
}

impl Drop for Strangers {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const SHARED: &str = r#"
[[proxy.listener]]
unix = "shared.sock"
mode = "0666"
callers = { uids = [0, 65534] }

[[proxy.listener]]
unix = "own.sock"
mode = "0666"
"#;

/// Sixty connections where eight are allowed: of none of them is anybody else's caller deprived.
#[test]
fn connections_of_others_take_no_slot_of_a_caller() {
    let scene = scene("max_clients = 8\nhead_timeout = \"1m\"", SHARED);
    let shared = scene.bank.path("shared.sock");
    let all_are_served = |beside: &str| {
        println!("beside {beside}");
        for _ in 0..3 {
            assert_eq!(with_token(scene.ports.tcp), 200, "{beside}");
            assert_eq!(over_unix(&scene.proxy.socket()), 200, "{beside}");
            assert_eq!(over_unix(&shared), 200, "{beside}");
        }
    };
    all_are_served("nobody");
    for bytes in ["", "GET /cm/a HTTP/1.1\r\nX: ", "\r\n"] {
        let hostile: Vec<_> = (0..60)
            .map(|_| {
                let mut stream = TcpStream::connect(scene.ports.tcp).unwrap();
                let _ = stream.write_all(bytes.as_bytes());
                stream
            })
            .collect();
        all_are_served(&format!("{bytes:?} without the token"));
        drop(hostile);
    }
    let slow_body =
        "PATCH /cm/a HTTP/1.1\\r\\nHost: localhost\\r\\nContent-Length: 100\\r\\n\\r\\n{";
    let slow_chunks = "PATCH /cm/a HTTP/1.1\\r\\nHost: localhost\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n1\\r\\n";
    for bytes in ["", "GET", slow_body, slow_chunks] {
        let _hostile = Strangers::connect(&shared, 60, bytes);
        all_are_served(&format!("{bytes:?} of another user"));
    }
    // Whom the listener refuses takes no slot either.
    let _refused = Strangers::connect(&scene.bank.path("own.sock"), 200, "GET");
    assert_eq!(over_unix(&scene.bank.path("own.sock")), 200);
    all_are_served("refused users");
}

/// Some hundreds of connections on each kind of listener, which come again when they are closed: one good caller of each
/// is served.
#[test]
fn a_caller_is_served_beside_hundreds_of_hostile_connections() {
    let open = crate::common::ports::unused();
    let listeners = format!(
        "{SHARED}\n[[proxy.listener]]\ntcp = \"127.0.0.1:{open}\"\ncallers = \"allow-any-local-process\"\n"
    );
    let scene = scene("max_clients = 64", &listeners);
    let open: SocketAddr = ([127, 0, 0, 1], open).into();
    let shared = scene.bank.path("shared.sock");
    let _strangers = Strangers::connect(&shared, 300, "GET");
    let _refused = Strangers::connect(&scene.bank.path("own.sock"), 300, "GET");
    let hostile: Vec<_> = [scene.ports.tcp, open, scene.ports.operations]
        .into_iter()
        .flat_map(|address| {
            (0..300).map(move |at| {
                let mut stream = TcpStream::connect(address).unwrap();
                let _ = stream.write_all([&b"GET"[..], b"", b"\r\n"][at % 3]);
                stream
            })
        })
        .collect();
    for _ in 0..20 {
        assert_eq!(with_token(scene.ports.tcp), 200);
        assert_eq!(with_token(open), 200);
        assert_eq!(over_unix(&scene.proxy.socket()), 200);
        assert_eq!(over_unix(&shared), 200);
        assert_eq!(over_unix(&scene.bank.path("own.sock")), 200);
        assert_eq!(scene.proxy.operations("/healthz").0, 200);
    }
    until("their places are given to others", || {
        scene
            .proxy
            .metric("hsm_mtls_proxy_connections_displaced_total", &[])
            >= 100.0
    });
    drop(hostile);
}

/// An application keeps more connections than it may: the one that was idle for longest is closed, and the others serve.
#[test]
fn the_connection_that_was_idle_for_longest_gives_way() {
    let scene = scene("max_clients = 4", "");
    let request = b"GET /cm/consents/1 HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let ask = |stream: &mut UnixStream| {
        let mut answer = [0; 4096];
        stream.write_all(request).ok()?;
        let length = stream.read(&mut answer).ok()?;
        answer[..length].starts_with(b"HTTP/1.1 200 ").then_some(())
    };
    let mut all: Vec<_> = (0..4)
        .map(|_| UnixStream::connect(scene.proxy.socket()).unwrap())
        .collect();
    // The second is now the one that was idle for longest.
    for at in [1, 2, 3, 0] {
        assert_eq!(ask(&mut all[at]), Some(()));
    }
    let mut fifth = UnixStream::connect(scene.proxy.socket()).unwrap();
    assert_eq!(ask(&mut fifth), Some(()));
    let mut end = [0; 16];
    assert_eq!(all[1].read(&mut end).unwrap(), 0, "it was closed");
    for at in [2, 3, 0] {
        assert_eq!(ask(&mut all[at]), Some(()), "{at}");
    }
}
