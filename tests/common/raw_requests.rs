//! A proxy in front of a hub that keeps every byte, and requests written byte by byte.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::bank::Bank;
use super::proxy::{Ports, Proxy, body, status};
use super::raw_answer::RawAnswer;
use super::raw_hub::{RawHub, RawRequest, Then};

pub struct Scene {
    pub bank: Bank,
    pub hub: RawHub,
    pub proxy: Proxy,
    pub host: String,
    ports: Ports,
}

pub fn scene() -> Scene {
    scene_with("", "")
}

/// With further lines of [proxy], and further listeners.
pub fn scene_with(lines: &str, listeners: &str) -> Scene {
    let mut bank = Bank::new();
    bank.certify("p-256");
    let hub = RawHub::start(&bank.framework);
    bank.hub_at(hub.port());
    let ports = Proxy::configure(&mut bank, lines, listeners);
    let proxy = Proxy::start(&bank, ports);
    let host = format!("localhost:{}", hub.port());
    Scene {
        bank,
        hub,
        proxy,
        host,
        ports,
    }
}

/// A head that ends the connection, so that the answer has an end.
pub fn head(first: &str, lines: &[&str]) -> Vec<u8> {
    let mut text = format!("{first}\r\n");
    for line in lines {
        text.push_str(line);
        text.push_str("\r\n");
    }
    (text + "\r\n").into_bytes()
}

impl Scene {
    /// What the proxy says: every status of what comes back.
    pub fn statuses(&self, bytes: &[u8]) -> Vec<u16> {
        let answer = self.proxy.raw(bytes);
        let text = String::from_utf8_lossy(&answer).into_owned();
        let starts = text.match_indices("HTTP/1.1 ").map(|(at, _)| at);
        starts.map(|at| status(&text[at..])).collect()
    }

    /// What the listener on a TCP port says.
    pub fn over_tcp(&self, bytes: &[u8]) -> RawAnswer {
        said_at(self.ports.tcp, bytes)
    }

    /// What the operators' listener says.
    pub fn of_operations(&self, bytes: &[u8]) -> RawAnswer {
        said_at(self.ports.operations, bytes)
    }

    pub fn refused(&self, name: &str, bytes: &[u8], expected: u16) {
        assert_eq!(self.statuses(bytes), [expected], "{name}");
        assert_eq!(self.hub.requests(), [], "{name}: the hub was asked");
    }

    /// The one request that the hub saw.
    pub fn forwarded(&self, name: &str, bytes: &[u8]) -> RawRequest {
        assert_eq!(self.statuses(bytes), [200], "{name}");
        let mut seen = self.hub.requests();
        assert_eq!(seen.len(), 1, "{name}: {seen:?}");
        let seen = seen.remove(0);
        let hosts: Vec<_> = seen
            .head
            .iter()
            .filter(|line| line.starts_with("host"))
            .collect();
        assert_eq!(hosts, [&format!("host: {}", self.host)], "{name}");
        seen
    }
}

fn said_at(address: SocketAddr, bytes: &[u8]) -> RawAnswer {
    let mut stream = TcpStream::connect(address).expect("the proxy listens");
    stream.write_all(bytes).expect("it reads");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("it answers");
    RawAnswer::of(&answer)
}

/// The values of a field, as the hub saw them.
pub fn values<'a>(raw: &'a RawRequest, name: &str) -> Vec<&'a str> {
    let fields = raw.head.iter().filter_map(|line| line.split_once(": "));
    let fields = fields.filter(|(found, _)| *found == name);
    fields.map(|(_, value)| value).collect()
}

/// A refusal is a problem of ours, says so, and ends the connection.
pub fn refused(scene: &Scene, name: &str, bytes: &[u8], status: u16, stage: &str) -> RawAnswer {
    let found = RawAnswer::of(&scene.proxy.raw(bytes));
    assert_eq!(found.status, status, "{name}: {found:?}");
    let kind = found.all("content-type");
    assert_eq!(kind, ["application/problem+json"], "{name}");
    assert_eq!(found.all("connection"), ["close"], "{name}");
    assert_eq!(found.all("date").len(), 1, "{name}");
    let problem = body(&found.text());
    assert_eq!(problem["stage"], stage, "{name}: {problem}");
    assert_eq!(problem["status"], status, "{name}");
    assert_eq!(scene.hub.requests(), [], "{name}: the hub was asked");
    found
}

/// What the application gets of the hub's answer to a GET.
pub fn passed(scene: &Scene, answer: impl Into<Vec<u8>>, then: Then) -> RawAnswer {
    passed_to(scene, GET, answer, then)
}

pub fn passed_to(scene: &Scene, line: &str, answer: impl Into<Vec<u8>>, then: Then) -> RawAnswer {
    scene.hub.answers(answer, then);
    RawAnswer::of(&scene.proxy.raw(&head(line, &[HOST, CLOSE])))
}

/// An answer of 200 with these lines and this body.
pub fn ok(lines: &str, body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{lines}\r\n{body}")
}

pub fn names(raw: &RawRequest) -> Vec<&str> {
    let lines = raw.head.iter().skip(1);
    let mut names: Vec<_> = lines
        .map(|line| line.split(':').next().expect("a name"))
        .collect();
    names.sort_unstable();
    names
}

pub const HOST: &str = "Host: localhost";
pub const CLOSE: &str = "Connection: close";
pub const GET: &str = "GET /cm/consents HTTP/1.1";
pub const POST: &str = "POST /cm/consents HTTP/1.1";
