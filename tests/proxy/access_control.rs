//! Who may call the proxy: the kernel says who is at the other end of a Unix socket, a token says it
//! over TCP, and nothing but loopback is listened on.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use crate::common::bank::Bank;
use crate::common::blocking_client::SIZES;
use crate::common::hub::{Hub, HubOptions};
use crate::common::poll::until;
use crate::common::proxy::{Proxy, TOKEN, body, status};

const NOBODY: &str = "65534";

struct Scene {
    bank: Bank,
    hub: Hub,
}

fn scene() -> Scene {
    let mut bank = Bank::new();
    bank.certify("p-256");
    let hub = Hub::start_in_thread(HubOptions::of(&bank.framework, &["localhost", "127.0.0.1"]));
    bank.hub_at(hub.port());
    // The folder of the test is for its owner: another user must get as far as the socket.
    fs::set_permissions(bank.folder(), fs::Permissions::from_mode(0o755)).unwrap();
    Scene { bank, hub }
}

/// curl as another user: status, or what curl ended with.
fn as_another(socket: &Path, ids: &[&str]) -> Result<u16, i32> {
    let done = Command::new("setpriv")
        .args(ids)
        .args([
            "curl",
            "--silent",
            "--max-time",
            "10",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
        ])
        .arg("--unix-socket")
        .arg(socket)
        .arg("http://localhost/cm/hello-mtls")
        .current_dir("/")
        .output()
        .unwrap();
    let code = String::from_utf8(done.stdout).unwrap().parse().unwrap_or(0);
    match done.status.code() {
        Some(0) => Ok(code),
        other => Err(other.unwrap_or(-1)),
    }
}

#[test]
fn another_user_is_kept_out_by_the_sockets_mode_and_by_its_uid() {
    let mut scene = scene();
    let listeners = r#"
[[proxy.listener]]
unix = "open.sock"
mode = "0666"

[[proxy.listener]]
unix = "uids.sock"
mode = "0666"
callers = { uids = [65534] }

[[proxy.listener]]
unix = "gids.sock"
mode = "0666"
callers = { gids = [4242] }

[[proxy.listener]]
unix = "mode.sock"
mode = "0660"
group = 4343
callers = "socket-mode"
"#;
    let ports = Proxy::configure(&mut scene.bank, "", listeners);
    let proxy = Proxy::start(&scene.bank, ports);
    let bank = &scene.bank;
    let nobody = ["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"];
    let with = |gid: &'static str| ["--reuid", NOBODY, "--regid", gid, "--clear-groups"];
    let further = |gid: &'static str| ["--reuid", NOBODY, "--regid", NOBODY, "--groups", gid];

    // Of mode 600 by default: connect(2) fails.
    let meta = fs::metadata(proxy.socket()).unwrap();
    assert_eq!(meta.mode() & 0o777, 0o600);
    assert_eq!(as_another(&proxy.socket(), &nobody), Err(7));
    // Whom the mode lets connect is refused by its uid, before anything is read.
    assert_eq!(as_another(&bank.path("open.sock"), &nobody), Ok(403));
    assert!(scene.hub.seen().is_empty());
    assert_eq!(
        proxy.metric("hsm_mtls_proxy_callers_refused_total", &[]),
        1.0
    );
    until("it is logged", || proxy.log().contains("uid=65534"));

    assert_eq!(as_another(&bank.path("uids.sock"), &nobody), Ok(200));
    assert_eq!(as_another(&bank.path("gids.sock"), &nobody), Ok(403));
    assert_eq!(as_another(&bank.path("gids.sock"), &with("4242")), Ok(200));
    // SO_PEERCRED tells of no further group, so that is not enough.
    assert_eq!(
        as_another(&bank.path("gids.sock"), &further("4242")),
        Ok(403)
    );
    until("it is logged", || proxy.log().contains("gid=65534"));
    // The socket's group decides, and supplementary groups count for it.
    let meta = fs::metadata(bank.path("mode.sock")).unwrap();
    assert_eq!((meta.mode() & 0o777, meta.gid()), (0o660, 4343));
    assert_eq!(as_another(&bank.path("mode.sock"), &nobody), Err(7));
    assert_eq!(
        as_another(&bank.path("mode.sock"), &further("4242")),
        Err(7)
    );
    assert_eq!(
        as_another(&bank.path("mode.sock"), &further("4343")),
        Ok(200)
    );
    assert_eq!(as_another(&bank.path("mode.sock"), &with("4343")), Ok(200));

    let lines = proxy.accesses(4);
    assert!(lines.iter().all(|line| line["uid"] == 65534), "{lines:#?}");
}

fn over_tcp(proxy: std::net::SocketAddr, path: &str, lines: &str) -> String {
    let mut stream = TcpStream::connect(proxy).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{lines}\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_missing_or_wrong_token_is_refused() {
    let mut scene = scene();
    let ports = Proxy::configure(&mut scene.bank, "", "");
    let proxy = Proxy::start(&scene.bank, ports);
    let header = |token: &str| format!("x-hsm-mtls-caller: {token}\r\n");
    let longer = format!("{TOKEN}x");
    let shorter = &TOKEN[..TOKEN.len() - 1];
    for (path, lines) in [
        ("/cm/hello-mtls".to_owned(), String::new()),
        ("/cm/hello-mtls".to_owned(), header(shorter)),
        ("/cm/hello-mtls".to_owned(), header(&longer)),
        ("/cm/hello-mtls".to_owned(), header("")),
        ("/cm/hello-mtls".to_owned(), header(TOKEN) + &header(TOKEN)),
        (format!("/{longer}/cm/hello-mtls"), String::new()),
        (format!("/{shorter}/cm/hello-mtls"), String::new()),
        (format!("//{TOKEN}/cm/hello-mtls"), String::new()),
        (format!("/{TOKEN}/cm/hello-mtls"), header("wrong")),
        (format!("/cm/hello-mtls?{TOKEN}"), String::new()),
    ] {
        let answer = over_tcp(ports.tcp, &path, &lines);
        assert_eq!(status(&answer), 401, "{path} {lines}: {answer}");
        assert_eq!(body(&answer)["stage"], "caller");
        assert!(!answer.contains(TOKEN));
    }
    assert!(scene.hub.seen().is_empty());
    assert_eq!(
        status(&over_tcp(ports.tcp, "/cm/hello-mtls", &header(TOKEN))),
        200
    );
    assert_eq!(
        status(&over_tcp(ports.tcp, &format!("/{TOKEN}/cm/hello-mtls"), "")),
        200
    );
    for seen in scene.hub.seen() {
        assert_eq!(seen.path_and_query, "/hello-mtls");
        assert!(!format!("{seen:?}").contains(TOKEN));
    }

    // Another token takes the place of the old one without a restart.
    let another = TOKEN.replace("caller", "second");
    fs::write(scene.bank.path("caller-token"), format!("{another}\n")).unwrap();
    proxy.signal("HUP");
    until("the new token holds", || {
        status(&over_tcp(ports.tcp, "/cm/hello-mtls", &header(&another))) == 200
    });
    assert_eq!(
        status(&over_tcp(ports.tcp, "/cm/hello-mtls", &header(TOKEN))),
        401
    );
    drop(proxy);
    let log = fs::read_to_string(scene.bank.path("log/access.jsonl")).unwrap();
    assert!(!log.contains(TOKEN) && !log.contains(&another), "{log}");
}

#[test]
fn a_token_that_others_can_read_stops_the_start() {
    let mut scene = scene();
    Proxy::configure(&mut scene.bank, "", "");
    let token = scene.bank.path("caller-token");
    fs::set_permissions(&token, fs::Permissions::from_mode(0o640)).unwrap();
    let run = scene.bank.run(&["proxy"]).expect(2);
    assert!(
        run.stderr.contains("mode 0640): its group may read it"),
        "{}",
        run.stderr
    );
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&token, "short").unwrap();
    let run = scene.bank.run(&["proxy"]).expect(2);
    assert!(run.stderr.contains("20 to 200"), "{}", run.stderr);
    assert!(!run.stderr.contains("short"), "{}", run.stderr);
}

#[test]
fn a_socket_that_is_served_is_not_taken_over_and_one_left_behind_is() {
    let mut scene = scene();
    let ports = Proxy::configure(&mut scene.bank, "stop_timeout = \"1s\"", "");
    let first = Proxy::start(&scene.bank, ports);
    let run = scene.bank.run(&["proxy"]).expect(2);
    assert!(run.stderr.contains("hub.sock"), "{}", run.stderr);
    assert!(run.stderr.contains("it is tried again"), "{}", run.stderr);
    assert_eq!(first.get("/cm/hello-mtls").0, 200);
    drop(first);
    assert!(scene.bank.path("hub.sock").exists());
    let second = Proxy::start(&scene.bank, ports);
    assert_eq!(second.get("/cm/hello-mtls").0, 200);
    drop(second);

    // One that ends in a moment is waited for, at each of the three places.
    for taken in [ports.tcp, ports.operations] {
        let before = std::net::TcpListener::bind(taken).unwrap();
        let third = std::thread::scope(|scope| {
            scope.spawn(|| {
                let log = scene.bank.path("proxy.log");
                until("it is said", || {
                    let said = fs::read_to_string(&log).unwrap_or_default();
                    said.contains(&format!("place={taken}"))
                });
                drop(before);
            });
            Proxy::start(&scene.bank, ports)
        });
        assert_eq!(third.get("/cm/hello-mtls").0, 200);
        drop(third);
    }
}

const STRANGER: &str = r#"
import socket, sys
for size in map(int, sys.argv[2:]):
    wire = socket.socket(socket.AF_UNIX)
    wire.settimeout(60)
    wire.connect(sys.argv[1])
    wire.sendall(b"POST /cm/pay HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % size)
    wire.sendall(b"a" * size)
    answer = b""
    while piece := wire.recv(65536):
        answer += piece
    print(answer.split(b" ")[1].decode(), answer.decode().endswith("}"))
"#;

/// What stands at the socket's path is somebody's: it is neither replaced nor waited for.
#[test]
fn what_is_no_socket_is_left_alone_and_told_at_once() {
    let mut scene = scene();
    Proxy::configure(&mut scene.bank, "", "");
    let place = scene.bank.write("hub.sock", "a file");
    let run = scene.bank.run(&["proxy"]).expect(2);
    assert!(
        run.stderr.contains("no socket; it is left alone"),
        "{}",
        run.stderr
    );
    assert!(!run.stderr.contains("tried again"), "{}", run.stderr);
    assert_eq!(fs::read_to_string(&place).unwrap(), "a file");
}

#[test]
fn another_user_that_writes_all_first_reads_that_it_may_not() {
    let mut bank = Bank::new();
    bank.certify("p-256");
    fs::set_permissions(bank.folder(), fs::Permissions::from_mode(0o755)).unwrap();
    let listener = "[[proxy.listener]]\nunix = \"open.sock\"\nmode = \"0666\"";
    let ports = Proxy::configure(&mut bank, "", listener);
    let _proxy = Proxy::start(&bank, ports);
    let done = Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .args(["/usr/bin/python3", "-c", STRANGER])
        .arg(bank.path("open.sock"))
        .args(SIZES.map(|size| size.to_string()))
        .current_dir("/")
        .output()
        .unwrap();
    let told = String::from_utf8(done.stdout).unwrap();
    let errors = String::from_utf8_lossy(&done.stderr);
    assert_eq!(told, "403 True\n".repeat(SIZES.len()), "{errors}");
}
