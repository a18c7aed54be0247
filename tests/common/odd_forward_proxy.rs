//! A forward proxy of our own for what no real one does on request: it answers late, in halves, with something else, or ends the
//! connection; and one that passes all on and keeps every byte of it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;

/// What it does with a connection, after it has read the request.
#[derive(Clone, Debug)]
pub enum Does {
    /// Nothing: it reads on.
    Hangs,
    /// It sends this and closes.
    Answers(Vec<u8>),
    /// It resets the connection.
    Resets,
    /// It answers 200, and resets the connection once something came through the tunnel.
    ResetsTunnel,
    /// It answers 200, and reads on.
    SwallowsTunnel,
    /// It passes all on to this forward proxy.
    Relays(SocketAddr),
}

/// It stops when it is dropped.
pub struct OddForwardProxy {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    stopped: AtomicBool,
    connections: AtomicUsize,
    /// All that came, in both directions.
    seen: Mutex<Vec<u8>>,
}

impl OddForwardProxy {
    pub fn start(does: Does) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("its address");
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let (stream, does) = (stream.expect("a connection"), does.clone());
                shared.connections.fetch_add(1, Ordering::SeqCst);
                let state = Arc::clone(&shared);
                thread::spawn(move || serve(stream, &does, &state));
            }
        });
        Self { address, state }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// All bytes that passed.
    pub fn seen(&self) -> Vec<u8> {
        self.state
            .seen
            .lock()
            .expect("no thread has failed")
            .clone()
    }
}

impl Drop for OddForwardProxy {
    fn drop(&mut self) {
        self.state.stopped.store(true, Ordering::SeqCst);
        let _woken = TcpStream::connect(self.address);
    }
}

fn serve(mut stream: TcpStream, does: &Does, state: &State) {
    if let Does::Relays(to) = does {
        let Ok(mut other) = TcpStream::connect(to) else {
            return;
        };
        let clones = stream
            .try_clone()
            .and_then(|one| Ok((one, other.try_clone()?)));
        let (mut from, mut back) = clones.expect("a copy of a socket");
        thread::scope(|scope| {
            scope.spawn(|| copy(&mut from, &mut other, state));
            copy(&mut back, &mut stream, state);
        });
        return;
    }
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
        head.push(byte[0]);
    }
    state
        .seen
        .lock()
        .expect("no thread has failed")
        .extend(&head);
    let established = b"HTTP/1.1 200 Connection established\r\n\r\n";
    // The other end may be gone already.
    let _ended = match does {
        Does::Hangs | Does::Relays(_) => read_on(&mut stream),
        Does::Answers(bytes) => stream
            .write_all(bytes)
            .and_then(|()| stream.shutdown(Shutdown::Write))
            .and_then(|()| read_on(&mut stream)),
        Does::Resets => reset(&stream),
        Does::ResetsTunnel => stream
            .write_all(established)
            .and_then(|()| stream.read(&mut byte))
            .and_then(|_| reset(&stream)),
        Does::SwallowsTunnel => stream
            .write_all(established)
            .and_then(|()| read_on(&mut stream)),
    };
}

/// Reads until the other end closes.
fn read_on(stream: &mut TcpStream) -> std::io::Result<()> {
    std::io::copy(stream, &mut std::io::sink()).map(drop)
}

fn reset(stream: &TcpStream) -> std::io::Result<()> {
    Ok(set_socket_linger(stream, Some(Duration::ZERO))?)
}

fn copy(from: &mut TcpStream, to: &mut TcpStream, state: &State) {
    let mut block = vec![0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut block) {
        let bytes = block.get(..count).unwrap_or_default();
        state
            .seen
            .lock()
            .expect("no thread has failed")
            .extend(bytes);
        if to.write_all(bytes).is_err() {
            break;
        }
    }
    let _closed = to.shutdown(Shutdown::Write);
}
