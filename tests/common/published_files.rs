//! A server that publishes files for everybody, over plain HTTP, as a CA's CRL server does. It answers byte for byte what it was
//! told to.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use super::ports;

#[derive(Default)]
struct State {
    answer: Vec<u8>,
    heads: Vec<String>,
}

/// Listens until the process ends.
pub struct PublishedFiles {
    port: u16,
    state: Arc<Mutex<State>>,
}

impl PublishedFiles {
    pub fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("the port's number").port();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for tcp in listener.incoming() {
                // A client that leaves is no fault of the server.
                let _left = tcp.and_then(|tcp| serve(&tcp, &shared));
            }
        });
        Self { port, state }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/issuer.crl", self.port)
    }

    /// Answers 200 with this content from now on.
    pub fn publish(&self, content: &[u8]) {
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n",
            content.len()
        );
        self.answer([head.as_bytes(), content].concat());
    }

    /// Answers these bytes from now on, and ends the connection.
    pub fn answer(&self, bytes: impl Into<Vec<u8>>) {
        self.state.lock().expect("no panic").answer = bytes.into();
    }

    /// The heads of the requests so far, which are forgotten.
    pub fn heads(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().expect("no panic").heads)
    }

    /// A URL at which nobody listens.
    pub fn nowhere() -> String {
        format!("http://127.0.0.1:{}/issuer.crl", ports::unused())
    }
}

fn serve(mut tcp: &TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut head = String::new();
    let mut reader = BufReader::new(tcp);
    while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head)? > 0 {}
    let answer = {
        let mut state = state.lock().expect("no panic");
        state.heads.push(head);
        state.answer.clone()
    };
    tcp.write_all(&answer)
}
