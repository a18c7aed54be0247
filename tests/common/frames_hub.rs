//! A hub that answers in HTTP/2 frame by frame, as no server library can be told to. It does not look at the request.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::misbehaving::Behaviour;
use super::misbehaving::answer::Answer;
use super::misbehaving::certificate::server_config;
use super::trust_framework::TrustFramework;

const PREFACE: usize = 24;
const FRAME_HEAD: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// What a frame may hold where nothing else was agreed on.
const PIECE: usize = 16 << 10;

/// A frame of an answer.
#[derive(Clone, Debug)]
pub enum Part {
    /// Fields, `:status` first, or trailers.
    Fields(Vec<(String, String)>),
    Data(Vec<u8>),
}

/// Fields as they are written in tests.
pub fn fields(all: &[(&str, &str)]) -> Part {
    let owned = all
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Part::Fields(owned.collect())
}

/// Listens until the process ends; its threads hold nothing but sockets.
pub struct FramesHub {
    addr: SocketAddr,
    answer: Arc<Mutex<Vec<Part>>>,
}

impl FramesHub {
    pub fn start(framework: &TrustFramework) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let addr = listener.local_addr().expect("the port's number");
        let established = Behaviour::Answer(Answer::Established);
        let mut tls = server_config(framework, &rustls::version::TLS13, established);
        Arc::get_mut(&mut tls)
            .expect("nobody has it yet")
            .alpn_protocols = vec![b"h2".to_vec()];
        let answer = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&answer);
        thread::spawn(move || {
            for tcp in listener.incoming() {
                let (tls, told) = (Arc::clone(&tls), Arc::clone(&told));
                thread::spawn(move || {
                    // A client that leaves is no fault of the hub.
                    let _left = tcp.and_then(|tcp| serve(tcp, tls, &told));
                });
            }
        });
        Self { addr, answer }
    }

    pub fn port(&self) -> u16 {
        self.addr.port()
    }

    /// What each request is answered from now on. The last frame ends the stream.
    pub fn answers(&self, parts: &[Part]) {
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = parts.to_vec();
    }
}

fn serve(tcp: TcpStream, tls: Arc<ServerConfig>, told: &Mutex<Vec<Part>>) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let connection = ServerConnection::new(tls).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(connection, tcp);
    stream.read_exact(&mut [0; PREFACE])?;
    stream.write_all(&frame(SETTINGS, 0, 0, &[]))?;
    loop {
        let mut head = [0; FRAME_HEAD];
        stream.read_exact(&mut head)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        stream.read_exact(&mut payload)?;
        let (kind, flags) = (head[3], head[4]);
        let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        match kind {
            SETTINGS | PING if flags & ACK == 0 => {
                let echo = if kind == PING { &payload[..] } else { &[] };
                stream.write_all(&frame(kind, ACK, 0, echo))?;
            }
            HEADERS | DATA if flags & END_STREAM != 0 => {
                let parts = told.lock().unwrap_or_else(PoisonError::into_inner).clone();
                for (at, part) in parts.iter().enumerate() {
                    let ends = at + 1 == parts.len();
                    stream.write_all(&part.frames(id, ends))?;
                }
            }
            _ => {}
        }
        stream.flush()?;
    }
}

impl Part {
    fn frames(&self, stream: u32, ends: bool) -> Vec<u8> {
        let end = if ends { END_STREAM } else { 0 };
        let (kind, bytes) = match self {
            Self::Data(bytes) => return frame(DATA, end, stream, bytes),
            Self::Fields(fields) => (HEADERS, literal(fields)),
        };
        let mut pieces: Vec<&[u8]> = bytes.chunks(PIECE).collect();
        let last = pieces.pop().unwrap_or_default();
        let mut frames = Vec::new();
        for (at, piece) in pieces.iter().enumerate() {
            let (kind, flags) = if at == 0 {
                (kind, end)
            } else {
                (CONTINUATION, 0)
            };
            frames.extend(frame(kind, flags, stream, piece));
        }
        let (kind, flags) = match pieces.is_empty() {
            true => (kind, end | END_HEADERS),
            false => (CONTINUATION, END_HEADERS),
        };
        frames.extend(frame(kind, flags, stream, last));
        frames
    }
}

/// Each field as a literal that is not indexed (RFC 7541, section 6.2.2).
fn literal(fields: &[(String, String)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        for text in [name, value] {
            // A length, with 7 bits in its first byte (section 5.1).
            let length = text.len();
            if length < 127 {
                bytes.push(length as u8);
            } else {
                bytes.push(127);
                let mut rest = length - 127;
                while rest >= 128 {
                    bytes.push((rest % 128) as u8 | 128);
                    rest /= 128;
                }
                bytes.push(rest as u8);
            }
            bytes.extend_from_slice(text.as_bytes());
        }
    }
    bytes
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}
