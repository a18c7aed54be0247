//! The front end's wall on kernels whose Landlock is older: what Landlock alone refuses from which version on, and what is refused
//! with the system call filter. What is left open is in docs/signer.md.

use std::env;
use std::fs::{self, File, Permissions};
use std::io;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::os::unix::process::parent_id;
use std::path::Path;
use std::time::SystemTime;

use crate::common::bank::{Bank, CHILD_CONFIG, config_of_child};
use crate::common::child_test;
use crate::common::proxy::Proxy;
use crate::common::system_call::{address, system_call};
use crate::system_call_arguments::append;
use hsm_mtls::internal::config::Config;
use hsm_mtls::internal::signer::hardening::harden;
use hsm_mtls::internal::signer::sandbox::Sandbox;
use hsm_mtls::internal::signer::system_call_filter::SystemCallFilter;
use landlock::ABI;
use libc::c_long;
use rustix::net::{AddressFamily, SendFlags, SocketType, connect, send, socket};

const VERSION: &str = "HSM_MTLS_TEST_LANDLOCK";
const FILTER: &str = "HSM_MTLS_TEST_FILTER";
const PORT: &str = "HSM_MTLS_TEST_PORT";
/// The last version that the wall uses.
const NEWEST: i32 = 6;
const NEVER: i32 = NEWEST + 1;

/// What a front end that was taken over tries; the version of Landlock from which on it is refused by Landlock alone, and by
/// Landlock and the filter.
const ACTS: [(&str, i32, i32); 17] = [
    ("read the PIN", 1, 1),
    ("write beside the certificate", 1, 1),
    ("append to the access log", NEVER, NEVER),
    ("rename the access log", NEVER, 1),
    ("overwrite the access log", NEVER, 1),
    ("chmod of the anchors", NEVER, 1),
    ("date of the anchors", NEVER, 1),
    ("truncate the anchors as they are opened to read", 3, 1),
    ("truncate the anchors", 3, 1),
    ("ioctl of a device", 5, 1),
    ("listen on a TCP port", 4, 1),
    // What is left before Linux 6.7, and always.
    ("connect to another TCP port", 4, 4),
    ("send to a UDP port", NEVER, NEVER),
    ("connect to an abstract socket", 6, 1),
    ("connect to a socket by its path", NEVER, 1),
    ("signal to another process", 6, 1),
    ("limits of another process", NEVER, 1),
];

#[test]
fn what_an_older_landlock_does_not_know_the_filter_refuses() {
    let mut bank = Bank::new();
    Proxy::configure(&mut bank, "", "");
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let udp = UdpSocket::bind(tcp.local_addr().unwrap()).unwrap();
    let port = udp.local_addr().unwrap().port();
    let _unix = UnixListener::bind(bank.path("a-daemon")).unwrap();
    let _abstract = UnixListener::bind_addr(&abstract_name(port)).unwrap();
    for version in 1..=NEWEST {
        for filter in [false, true] {
            let output = child_test::command(a_front_end_that_was_taken_over)
                .env(CHILD_CONFIG, bank.config_path())
                .env(VERSION, version.to_string())
                .env(FILTER, filter.to_string())
                .env(PORT, port.to_string())
                .output()
                .unwrap();
            let printed = child_test::passed("a_front_end_that_was_taken_over", &output);
            for (act, alone, with_filter) in ACTS {
                let from = if filter { with_filter } else { alone };
                let expected = match version >= from {
                    true => format!("{act}: refused"),
                    false => format!("{act}: done"),
                };
                assert!(
                    printed.lines().any(|line| line == expected),
                    "version {version}, filter {filter}: not {expected}\n{printed}"
                );
            }
        }
    }
}

fn abstract_name(port: u16) -> SocketAddr {
    SocketAddr::from_abstract_name(format!("hsm-mtls-test-{port}")).unwrap()
}

#[test]
fn a_front_end_that_was_taken_over() {
    let Some(config) = config_of_child() else {
        return;
    };
    let number = |name: &str| -> i32 { env::var(name).unwrap().parse().unwrap() };
    let port = u16::try_from(number(PORT)).unwrap();
    let pin = match &config.token.pin {
        hsm_mtls::internal::config::pin::PinSource::File(path) => path.clone(),
        other => panic!("{other}"),
    };
    harden(0);
    let sandbox = Sandbox::of_front_end(&config).unwrap();
    sandbox.enter_as_with(ABI::from(number(VERSION))).unwrap();
    if env::var(FILTER).unwrap() == "true" {
        SystemCallFilter::front_end().enter().unwrap();
    }
    for (act, ..) in ACTS {
        let refused = match attempt(act, &config, &pin, port) {
            Ok(()) => false,
            Err(error) => match error.raw_os_error() {
                Some(libc::EPERM | libc::EACCES) => true,
                _ => panic!("{act}: {error}"),
            },
        };
        let outcome = if refused { "refused" } else { "done" };
        // Read by the test that started this.
        println!("\n{act}: {outcome}");
    }
}

fn attempt(act: &str, config: &Config, pin: &Path, port: u16) -> io::Result<()> {
    let anchors = &config.trust.anchors;
    let log = config.log_folders()[0].join("access.jsonl");
    let path = [anchors.as_os_str().as_bytes(), b"\0"].concat();
    let limit = [0_u64; 2];
    match act {
        "read the PIN" => fs::read(pin).map(drop),
        "write beside the certificate" => append(&anchors.with_file_name("new")).map(drop),
        "append to the access log" => append(&log).map(drop),
        // Back again, for the acts after it.
        "rename the access log" => fs::rename(&log, log.with_extension("1"))
            .and_then(|()| fs::rename(log.with_extension("1"), &log)),
        "overwrite the access log" => File::create(&log).map(drop),
        "chmod of the anchors" => fs::set_permissions(anchors, Permissions::from_mode(0o644)),
        "date of the anchors" => {
            File::open(anchors).and_then(|file| file.set_modified(SystemTime::now()))
        }
        "truncate the anchors as they are opened to read" => {
            let flags = libc::O_RDONLY | libc::O_TRUNC;
            let arguments = [libc::AT_FDCWD.into(), address(&path[..]), flags.into()];
            called(libc::SYS_openat, arguments)
        }
        "truncate the anchors" => called(libc::SYS_truncate, [address(&path[..]), 0]),
        "ioctl of a device" => {
            // RNDGETENTCNT: how much randomness there is.
            let device = File::open("/dev/urandom")?;
            let arguments = [device.as_raw_fd().into(), 0x8004_5200, address(&limit)];
            called(libc::SYS_ioctl, arguments)
        }
        "listen on a TCP port" => TcpListener::bind("127.0.0.1:0").map(drop),
        "connect to another TCP port" => TcpStream::connect(("127.0.0.1", port)).map(drop),
        "send to a UDP port" => {
            let socket = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
            connect(&socket, &std::net::SocketAddr::from(([127, 0, 0, 1], port)))?;
            Ok(send(&socket, b"x", SendFlags::empty()).map(drop)?)
        }
        "connect to an abstract socket" => UnixStream::connect_addr(&abstract_name(port)).map(drop),
        "connect to a socket by its path" => {
            UnixStream::connect(anchors.with_file_name("a-daemon")).map(drop)
        }
        "signal to another process" => called(libc::SYS_kill, [parent_id().into(), 0]),
        "limits of another process" => called(
            libc::SYS_prlimit64,
            [
                parent_id().into(),
                libc::RLIMIT_NOFILE.into(),
                0,
                address(&limit),
            ],
        ),
        other => panic!("{other} is not known"),
    }
}

fn called<const N: usize>(number: c_long, arguments: [c_long; N]) -> io::Result<()> {
    system_call(number, arguments)
        .map(drop)
        .map_err(io::Error::from_raw_os_error)
}
