//! An application that writes all of its request before it reads anything, as the simplest clients do.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::proxy::{Ports, Proxy, TOKEN, status};

/// Longer than anything that is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// Sizes of bodies: below and above what the sockets keep by themselves.
pub const SIZES: [usize; 5] = [64 << 10, 300 << 10, (1 << 20) + 1, 3 << 20, 16 << 20];

pub const HOST: &str = "Host: localhost\r\n";

/// Where the proxy listens.
#[derive(Clone, Debug)]
pub enum Place {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

impl Place {
    pub fn connect(&self) -> Wire {
        let wire = match self {
            Self::Unix(path) => Wire::Unix(UnixStream::connect(path).expect("the proxy listens")),
            Self::Tcp(address) => {
                Wire::Tcp(TcpStream::connect(address).expect("the proxy listens"))
            }
        };
        let limited = match &wire {
            Wire::Unix(wire) => wire
                .set_read_timeout(Some(PATIENCE))
                .and(wire.set_write_timeout(Some(PATIENCE))),
            Wire::Tcp(wire) => wire
                .set_read_timeout(Some(PATIENCE))
                .and(wire.set_write_timeout(Some(PATIENCE))),
        };
        limited.expect("time-outs");
        wire
    }

    /// Writes all, then reads one answer. An error where not all could be written.
    pub fn call(&self, head: &[u8], body: &[u8]) -> Result<Answer, String> {
        let mut wire = self.connect();
        wire.send(head)?;
        wire.send(body)?;
        wire.answer()
    }
}

/// A connection.
#[derive(Debug)]
pub enum Wire {
    Unix(UnixStream),
    Tcp(TcpStream),
}

/// An answer that came as a whole.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Wire {
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.write_all(bytes)
            .map_err(|error| format!("not all was taken: {error}"))
    }

    /// Waits until there is something to read, without reading it.
    pub fn until_readable(&self) {
        let mut waits = [PollFd::new(self, PollFlags::IN)];
        let patience = Timespec::try_from(PATIENCE).expect("a time");
        assert_eq!(poll(&mut waits, Some(&patience)), Ok(1), "nothing came");
    }

    /// Reads an answer whose length is said.
    pub fn answer(&mut self) -> Result<Answer, String> {
        let failed = |error: io::Error| format!("no whole answer: {error}");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.read_exact(&mut byte).map_err(failed)?;
            head.push(byte[0]);
        }
        let head = String::from_utf8_lossy(&head).to_lowercase();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let length = length.map_or(0, |length| length.parse().expect("a length"));
        let mut body = vec![0; length];
        self.read_exact(&mut body).map_err(failed)?;
        Ok(Answer {
            status: status(&head.to_uppercase()),
            head,
            body,
        })
    }
}

impl Answer {
    pub fn closes(&self) -> bool {
        self.head.contains("\r\nconnection: close\r\n")
    }
}

impl Read for Wire {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(wire) => wire.read(into),
            Self::Tcp(wire) => wire.read(into),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(wire) => wire.write(bytes),
            Self::Tcp(wire) => wire.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Unix(wire) => wire.as_fd(),
            Self::Tcp(wire) => wire.as_fd(),
        }
    }
}

/// A body in chunks, as it is written.
pub fn chunked(body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(body.len() + body.len() / 1024 + 64);
    for chunk in body.chunks(65_537) {
        bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        bytes.extend_from_slice(chunk);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}

/// The end of a head and a body of this size, its length said in both ways that there are.
pub fn framings(size: usize) -> [(String, Vec<u8>); 2] {
    let body = vec![b'a'; size];
    let chunks = chunked(&body);
    [
        (format!("Content-Length: {size}\r\n\r\n"), body),
        ("Transfer-Encoding: chunked\r\n\r\n".to_owned(), chunks),
    ]
}

/// Both kinds of socket, and the beginning of a path there.
pub fn places(proxy: &Proxy, ports: Ports) -> [(Place, String); 2] {
    [
        (Place::Unix(proxy.socket()), String::new()),
        (Place::Tcp(ports.tcp), format!("/{TOKEN}")),
    ]
}

/// The answer comes as a whole to who writes all before reading; what follows on a connection that is
/// not said to end is served.
pub fn reaches(place: &Place, first: &str, fields: &str, expected: u16, sizes: &[usize]) {
    for size in sizes {
        for (end, body) in framings(*size) {
            let what = format!("{place:?} {first:?} {fields:?} {size} {end:?}");
            let mut wire = place.connect();
            let head = format!("{first} HTTP/1.1\r\n{fields}{end}");
            wire.send(head.as_bytes())
                .and_then(|()| wire.send(&body))
                .unwrap_or_else(|error| panic!("{what}: {error}"));
            let answer = wire
                .answer()
                .unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(answer.status, expected, "{what}: {answer:?}");
            if answer.closes() || !answer.head.contains("interaction-id") {
                let mut rest = Vec::new();
                wire.read_to_end(&mut rest).expect("an end");
                assert!(rest.is_empty(), "{what}: {rest:?}");
            } else {
                let next = format!("GET /nowhere HTTP/1.1\r\n{HOST}\r\n");
                wire.send(next.as_bytes())
                    .unwrap_or_else(|error| panic!("{what}: {error}"));
                let next = wire
                    .answer()
                    .unwrap_or_else(|error| panic!("{what}: {error}"));
                assert!(matches!(next.status, 401 | 404), "{what}: {next:?}");
            }
        }
    }
}
