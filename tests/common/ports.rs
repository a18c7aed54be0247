//! Ports for servers that are started later.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the ports that Linux gives to connections (`ip_local_port_range`): nothing else takes one of these
/// before its server does.
const FIRST: u16 = 20_000;
const COUNT: u32 = 12_000;

/// A port of 127.0.0.1 at which nobody listens. Each call of a process has another one.
pub fn unused() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Test binaries that run at the same time begin in different places.
    let start = std::process::id() * 61;
    loop {
        let next = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = FIRST + ((start + next) % COUNT) as u16;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}
