//! A hub that responds as soon as it has the head of a request, without a library: what it does with the body is not
//! what a library would do.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::misbehaving::Behaviour;
use super::misbehaving::answer::Answer;
use super::misbehaving::certificate::server_config;
use super::trust_framework::TrustFramework;

/// How long a connection is held, at the most.
const HELD: Duration = Duration::from_secs(60);

/// What becomes of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// The connection is closed at once: what was on its way is answered with a reset.
    Closes,
    /// The connection stays as it is, and nothing is read.
    ReadsNothing,
    /// All of it is read, and the connection closed with the client's end, as was said.
    ReadsAll,
}

/// Listens until the process ends; its threads hold nothing but sockets.
pub struct EarlyHub {
    port: u16,
}

impl EarlyHub {
    /// HTTP/1.1 of this status, with a body of so many bytes.
    pub fn start(framework: &TrustFramework, status: u16, length: usize, then: Then) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("the port's number").port();
        let tls = server_config(
            framework,
            &rustls::version::TLS13,
            Behaviour::Answer(Answer::Established),
        );
        thread::spawn(move || {
            for tcp in listener.incoming() {
                let tls = Arc::clone(&tls);
                thread::spawn(move || {
                    // A client that leaves is no fault of the hub.
                    let _left = tcp.and_then(|tcp| serve(tcp, tls, status, length, then));
                });
            }
        });
        Self { port }
    }

    pub fn port(&self) -> u16 {
        self.port
    }
}

fn serve(
    tcp: TcpStream,
    tls: Arc<ServerConfig>,
    status: u16,
    length: usize,
    then: Then,
) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    tcp.set_read_timeout(Some(HELD))?;
    let connection = ServerConnection::new(tls).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(connection, tcp);
    let mut come = Vec::new();
    let mut piece = [0; 4096];
    while !come.windows(4).any(|four| four == b"\r\n\r\n") {
        match stream.read(&mut piece)? {
            0 => return Ok(()),
            length => come.extend_from_slice(&piece[..length]),
        }
    }
    let closes = match then {
        Then::ReadsAll => "connection: close\r\n",
        Then::Closes | Then::ReadsNothing => "",
    };
    let head = format!("HTTP/1.1 {status} Early\r\ncontent-length: {length}\r\n{closes}\r\n");
    stream.write_all(head.as_bytes())?;
    stream.write_all(&vec![b'e'; length])?;
    stream.flush()?;
    match then {
        Then::Closes => Ok(()),
        // Until the client has gone: an error of the socket is what it takes to know.
        Then::ReadsNothing => {
            let probe = stream.sock.try_clone()?;
            let gone = || probe.take_error().map(|error| error.is_some());
            let ends = std::time::Instant::now() + HELD;
            while std::time::Instant::now() < ends && !gone()? {
                thread::park_timeout(Duration::from_millis(50));
            }
            Ok(())
        }
        Then::ReadsAll => io::copy(&mut stream, &mut io::sink()).map(|_| ()),
    }
}
