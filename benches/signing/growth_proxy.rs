//! The local proxy beside nginx as connections grow in number and bodies in size, and its memory as requests go by.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use crate::growth::{Line, Series};
use crate::own_proxy::{Lines, OwnProxy};
use crate::peers::{self, Access};
use crate::processes;
use crate::proxies::{PROXY, while_playing, with_workers};
use crate::results::Rate;
use crate::role::{Load, Measured, Role, play};
use crate::scenarios::NGINX;
use crate::servers::{BODIES, ONCE};
use crate::setup::Setup;

const CONNECTIONS: [usize; 7] = [1, 3, 10, 30, 100, 300, 1000];
/// Bytes: 1 KiB to 1 GiB.
const BODY_POWERS: [u32; 6] = [10, 14, 18, 22, 26, 30];
/// Of each body, of which the fastest counts.
const TIMES: usize = 3;
/// Requests over connections that are kept, and after how many memory is looked at.
const REQUESTS: usize = 100_000;
const LOOKS: usize = 10;
const ASKERS: usize = 32;
const LOOK: Duration = Duration::from_millis(20);

/// CPU per request at so many connections of applications.
pub fn connections(setup: &mut Setup) -> Series {
    // The default is 256: the status of a further request is 503.
    let lines = Lines {
        proxy: "max_requests = 4096",
        ..Lines::default()
    };
    let own = OwnProxy::start(setup, lines);
    let nginx = peers::nginx_kept_alive(
        &setup.bank,
        Access::Engine,
        [&setup.hubs[0], &setup.hubs[1]],
    );
    let nginx = nginx.expect("nginx with OpenSSL's engine: make growth installs it");
    let sides = [
        (own.ports[0], own.processes()),
        (nginx.ports[0], with_workers(&nginx.server)),
    ];
    let mut lines = [
        Line::new("hsm-mtls, new connections"),
        Line::new("nginx, new connections"),
        Line::new("hsm-mtls, kept alive"),
        Line::new("nginx, kept alive"),
    ];
    for connections in CONNECTIONS {
        eprintln!("{connections} connections");
        let load = Load {
            connections,
            seconds: setup.seconds,
        };
        let cells = [(ONCE, 0), (ONCE, 1), ("/", 0), ("/", 1)];
        for (line, (path, side)) in lines.iter_mut().zip(cells) {
            let (port, processes) = &sides[side];
            let role = Role::ThroughProxy {
                port: *port,
                path: path.to_owned(),
                keep_alive: true,
                processes: processes.clone(),
                load,
            };
            let rate = Rate::of(play(&role, &[]));
            // A cell where requests failed stays empty: those cost less.
            if rate.failures == 0 && rate.per_second > 0.0 {
                line.points.push((connections as f64, rate.cpu_micros));
            }
        }
    }
    own.stop();
    Series {
        title: "Connections: CPU per request of all processes of a proxy (P-256)",
        name: "connections",
        x: "connections of applications at once",
        y: "microseconds of CPU per request",
        lines: lines.into(),
    }
}

/// Time of a response with a body of so many bytes, and the memory then.
pub fn bodies(setup: &mut Setup) -> Series {
    let own = OwnProxy::start(setup, Lines::default());
    let nginx = peers::nginx_kept_alive(
        &setup.bank,
        Access::Engine,
        [&setup.hubs[0], &setup.hubs[1]],
    );
    let nginx = nginx.expect("nginx with OpenSSL's engine: make growth installs it");
    let mut lines = [
        Line::new(PROXY),
        Line::new(NGINX),
        Line::new("memory of hsm-mtls, MiB"),
    ];
    let processes = own.processes();
    for power in BODY_POWERS {
        let length = 1_u64 << power;
        eprintln!("a body of {length} bytes");
        let name = format!("{length}");
        // Without a byte on the disk: the hub reads zeros.
        let file = File::create(setup.hubs[0].folder().join("bodies").join(&name));
        file.and_then(|file| file.set_len(length)).expect("a body");
        let path = format!("{BODIES}{name}");
        for (line, port) in lines.iter_mut().zip([own.ports[0], nginx.ports[0]]) {
            let times = (0..TIMES).map(|_| downloaded(port, &path, length));
            let least = times.min().expect("some times");
            line.points.push((length as f64, least.as_secs_f64()));
        }
        let memory = processes::peaks_kib(&processes).expect("processes that run");
        let memory = memory.iter().sum::<u64>() as f64 / 1024.0;
        lines[2].points.push((length as f64, memory));
    }
    own.stop();
    Series {
        title: "Bodies: seconds until a response has come through, and peak memory of all processes (VmHWM)",
        name: "bodies",
        x: "bytes of the body",
        y: "seconds; MiB",
        lines: lines.into(),
    }
}

/// A GET whose whole body comes.
fn downloaded(port: u16, path: &str, length: u64) -> Duration {
    let began = Instant::now();
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("the proxy listens");
    let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("a request");
    let mut buffer = vec![0; 1 << 16];
    let (mut head, mut body) = (Vec::new(), 0);
    loop {
        let count = stream.read(&mut buffer).expect("the answer");
        if count == 0 {
            break;
        }
        if body > 0 {
            body += count as u64;
            continue;
        }
        head.extend_from_slice(&buffer[..count]);
        let mut windows = head.windows(4);
        if let Some(end) = windows.position(|window| window == b"\r\n\r\n") {
            body = (head.len() - end - 4) as u64;
        }
    }
    assert!(head.starts_with(b"HTTP/1.1 200"), "{path}");
    assert_eq!(body, length, "{path}");
    began.elapsed()
}

/// Memory after so many requests over connections that are kept.
pub fn requests(setup: &mut Setup) -> Series {
    let own = OwnProxy::start(setup, Lines::default());
    let processes = own.processes();
    let mut lines = [
        Line::new("PSS, the most while asked"),
        Line::new("VmHWM, their sum"),
    ];
    for part in 1..=LOOKS {
        let requests = part * REQUESTS / LOOKS;
        eprintln!("{requests} requests over kept connections");
        let role = Role::SoMany {
            port: own.ports[0],
            path: "/".to_owned(),
            connections: ASKERS,
            requests: REQUESTS / LOOKS,
        };
        let mut pss = 0;
        let found: Measured = while_playing(&role, LOOK, || {
            pss = pss.max(processes::pss_kib(&processes).unwrap_or(0));
        });
        assert_eq!(found.micros.len(), REQUESTS / LOOKS, "all are answered");
        let peaks = processes::peaks_kib(&processes).expect("processes that run");
        let mebibytes = |kib: u64| kib as f64 / 1024.0;
        let after = [mebibytes(pss), mebibytes(peaks.iter().sum())];
        for (line, memory) in lines.iter_mut().zip(after) {
            line.points.push((requests as f64, memory));
        }
    }
    own.stop();
    setup.without_proxy();
    Series {
        title: "Requests over kept connections: memory of all processes of the proxy (32 connections)",
        name: "requests",
        x: "requests so far",
        y: "MiB",
        lines: lines.into(),
    }
}
