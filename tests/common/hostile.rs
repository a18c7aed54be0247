//! A proxy before a hub that keeps the bytes, and requests written byte by byte.

use super::bank::Bank;
use super::proxy::{Proxy, status};
use super::recording::{Raw, RecordingHub};

pub struct Scene {
    _bank: Bank,
    pub hub: RecordingHub,
    pub proxy: Proxy,
    pub host: String,
}

pub fn scene() -> Scene {
    let mut bank = Bank::new();
    bank.certify("p-256");
    let hub = RecordingHub::start(&bank.framework);
    bank.hub_at(hub.port());
    let ports = Proxy::configure(&mut bank, "", "");
    let proxy = Proxy::start(&bank, ports);
    let host = format!("localhost:{}", hub.port());
    Scene {
        _bank: bank,
        hub,
        proxy,
        host,
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

    pub fn refused(&self, name: &str, bytes: &[u8], expected: u16) {
        assert_eq!(self.statuses(bytes), [expected], "{name}");
        assert_eq!(self.hub.requests(), [], "{name}: the hub was asked");
    }

    /// The one request that the hub saw.
    pub fn forwarded(&self, name: &str, bytes: &[u8]) -> Raw {
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

pub fn names(raw: &Raw) -> Vec<&str> {
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
