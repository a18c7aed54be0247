//! A hub that keeps every byte that it is sent, and answers what it takes for a request, with what
//! it is told to. It reads as strictly as HTTP is written: what is not exactly that is kept as it
//! came, and not answered.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::misbehaving::Behaviour;
use super::misbehaving::answer::Answer;
use super::misbehaving::certificate::server_config;
use super::trust_framework::TrustFramework;

/// A request, byte for byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawRequest {
    /// The lines of its head, without their ends.
    pub head: Vec<String>,
    pub body: Vec<u8>,
}

/// What comes after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// The next request.
    Next,
    /// The end of TLS, and of TCP.
    End,
    /// The end of TCP without that of TLS.
    Cut,
}

#[derive(Default)]
struct Kept {
    requests: Vec<RawRequest>,
    /// What came and is no request.
    rest: Vec<u8>,
    /// What is answered; None: 200 and `ok`.
    answer: Option<(Vec<u8>, Then)>,
}

/// Listens until the process ends; its threads hold nothing but sockets.
pub struct RawHub {
    addr: SocketAddr,
    kept: Arc<Mutex<Kept>>,
}

impl RawHub {
    pub fn start(framework: &TrustFramework) -> Self {
        Self::start_as(framework, Behaviour::Answer(Answer::Established))
    }

    /// A server for everybody: it asks for no client certificate.
    pub fn start_public(framework: &TrustFramework) -> Self {
        Self::start_as(framework, Behaviour::NeverAsks)
    }

    fn start_as(framework: &TrustFramework, behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let addr = listener.local_addr().expect("the port's number");
        let tls = server_config(framework, &rustls::version::TLS13, behaviour);
        let kept = Arc::new(Mutex::new(Kept::default()));
        let book = Arc::clone(&kept);
        thread::spawn(move || {
            for tcp in listener.incoming() {
                let (tls, book) = (Arc::clone(&tls), Arc::clone(&book));
                thread::spawn(move || {
                    // A client that leaves is no fault of the hub.
                    let _left = tcp.and_then(|tcp| serve(tcp, tls, &book));
                });
            }
        });
        Self { addr, kept }
    }

    pub fn port(&self) -> u16 {
        self.addr.port()
    }

    /// What each request is answered from now on, byte for byte.
    pub fn answers(&self, bytes: impl Into<Vec<u8>>, then: Then) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.answer = Some((bytes.into(), then));
    }

    /// The requests since the last look.
    pub fn requests(&self) -> Vec<RawRequest> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(
            kept.rest.is_empty(),
            "bytes that are no request: {:?}",
            String::from_utf8_lossy(&kept.rest)
        );
        std::mem::take(&mut kept.requests)
    }
}

fn serve(tcp: TcpStream, tls: Arc<ServerConfig>, book: &Mutex<Kept>) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let connection = ServerConnection::new(tls).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(connection, tcp);
    let mut come = Vec::new();
    let mut piece = [0; 16384];
    loop {
        let length = stream.read(&mut piece).unwrap_or(0);
        let mut kept = book.lock().unwrap_or_else(PoisonError::into_inner);
        if length == 0 {
            kept.rest.extend_from_slice(&come);
            return Ok(());
        }
        come.extend_from_slice(&piece[..length]);
        let mut answers = 0;
        while let Some((raw, end)) = request(&come) {
            kept.requests.push(raw);
            come.drain(..end);
            answers += 1;
        }
        let good = || {
            (
                b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_vec(),
                Then::Next,
            )
        };
        let (answer, then) = kept.answer.clone().unwrap_or_else(good);
        drop(kept);
        for _ in 0..answers {
            stream.write_all(&answer)?;
            if then == Then::End {
                stream.conn.send_close_notify();
            }
            stream.flush()?;
            if then != Then::Next {
                return stream.sock.shutdown(Shutdown::Write);
            }
        }
    }
}

/// The request at the beginning, and where it ends. None: there is none yet.
fn request(bytes: &[u8]) -> Option<(RawRequest, usize)> {
    let end = find(bytes, b"\r\n\r\n")?;
    let text = String::from_utf8(bytes[..end].to_vec()).ok()?;
    let head: Vec<String> = text.split("\r\n").map(str::to_owned).collect();
    if head.iter().any(|line| line.contains(['\r', '\n', '\0'])) {
        return None;
    }
    let field = |name: &str| {
        let mut lines = head.iter().skip(1).filter_map(|line| line.split_once(": "));
        lines.find(|(found, _)| found.eq_ignore_ascii_case(name))
    };
    let start = end + 4;
    let (body, end) = match (field("content-length"), field("transfer-encoding")) {
        (None, None) => (Vec::new(), start),
        (Some((_, length)), None) => {
            let length: usize = length.parse().ok()?;
            (bytes.get(start..start + length)?.to_vec(), start + length)
        }
        (None, Some((_, "chunked"))) => chunks(bytes, start)?,
        _ => return None,
    };
    Some((RawRequest { head, body }, end))
}

fn chunks(bytes: &[u8], mut at: usize) -> Option<(Vec<u8>, usize)> {
    let mut body = Vec::new();
    loop {
        let line = find(&bytes[at..], b"\r\n")?;
        let size = std::str::from_utf8(&bytes[at..at + line]).ok()?;
        let size = usize::from_str_radix(size, 16).ok()?;
        at += line + 2;
        body.extend_from_slice(bytes.get(at..at + size)?);
        at += size;
        if bytes.get(at..at + 2)? != b"\r\n" {
            return None;
        }
        at += 2;
        if size == 0 {
            return Some((body, at));
        }
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|found| found == wanted)
}
