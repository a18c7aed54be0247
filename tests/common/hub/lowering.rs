//! HTTP/2 by hand, of a hub that takes fewer streams after a while and refuses those that were on
//! their way already, as RFC 9113 lets it: no server library can be told to.
//!
//! Nothing is decoded of a request's head. What it is shows in its body.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, Method};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, sleep_until};

use super::SeenRequest;
use super::answer::ClientNames;

pub(super) const PREFACE: usize = 24;
const FRAME_HEAD: usize = 9;
pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const ACK: u8 = 1;
pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
const REFUSED_STREAM: [u8; 4] = [0, 0, 0, 7];
const MAX_CONCURRENT_STREAMS: [u8; 2] = [0, 3];
/// `:status: 200`, from the static table.
pub(super) const OK: [u8; 1] = [0x88];

/// When it lowers what it takes.
#[derive(Clone)]
pub struct Lowering {
    /// Streams that it takes at first.
    pub first: u32,
    /// Those that it takes then.
    pub then: u32,
    /// After so many streams of a connection.
    pub after: usize,
    /// Its first words come only after the first stream.
    pub late: bool,
    /// Streams that it refused.
    pub refused: Arc<AtomicUsize>,
}

/// What is remembered of a request.
pub fn seen(body: Bytes, client: Option<&ClientNames>, connection: usize) -> SeenRequest {
    SeenRequest {
        method: Method::POST,
        path_and_query: String::from_utf8_lossy(&body).into_owned(),
        headers: HeaderMap::new(),
        body,
        client_subject: client.map(|names| names.subject.clone()),
        connection,
    }
}

pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    pub(super) payload: Bytes,
}

impl Lowering {
    /// Serves a connection until the client leaves; each request that is taken is told to `record`.
    pub async fn serve(
        &self,
        mut io: impl AsyncRead + AsyncWrite + Unpin,
        thinks: Duration,
        record: impl Fn(Bytes),
    ) -> io::Result<()> {
        let mut limit = self.first;
        let mut come = BytesMut::new();
        let mut greeted = false;
        // Requests that are on their way, and those that are being thought about.
        let mut open: BTreeMap<u32, BytesMut> = BTreeMap::new();
        let mut thought: VecDeque<(Instant, u32)> = VecDeque::new();
        let mut taken = 0;
        let mut told = false;
        let mut greets = self.late;
        if !greets {
            io.write_all(&settings(limit)).await?;
            io.flush().await?;
        }
        loop {
            let due = thought.front().map(|(due, _)| *due);
            tokio::select! {
                read = io.read_buf(&mut come) => if read? == 0 {
                    return Ok(());
                },
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    let (_, stream) = thought.pop_front().expect("it is due");
                    io.write_all(&frame(HEADERS, END_HEADERS | END_STREAM, stream, &OK)).await?;
                }
            }
            if !greeted && come.len() >= PREFACE {
                come.advance(PREFACE);
                greeted = true;
            }
            while let Some(got) = greeted.then(|| next(&mut come)).flatten() {
                match got.kind {
                    SETTINGS if got.flags & ACK == 0 => {
                        io.write_all(&frame(SETTINGS, ACK, 0, &[])).await?;
                    }
                    PING if got.flags & ACK == 0 => {
                        io.write_all(&frame(PING, ACK, 0, &got.payload)).await?;
                    }
                    HEADERS if open.len() + thought.len() >= limit as usize => {
                        // Only now it says so: what was sent before was sent in good faith.
                        if !told {
                            told = true;
                            io.write_all(&settings(limit)).await?;
                        }
                        self.refused.fetch_add(1, Ordering::SeqCst);
                        io.write_all(&frame(RST_STREAM, 0, got.stream, &REFUSED_STREAM))
                            .await?;
                    }
                    HEADERS => {
                        open.insert(got.stream, BytesMut::new());
                        if std::mem::take(&mut greets) {
                            io.write_all(&settings(limit)).await?;
                        }
                        taken += 1;
                        if taken == self.after {
                            limit = self.then;
                        }
                    }
                    RST_STREAM => {
                        open.remove(&got.stream);
                        thought.retain(|(_, stream)| *stream != got.stream);
                    }
                    DATA => {
                        // Of a stream that was refused, some was on its way.
                        if let Some(body) = open.get_mut(&got.stream) {
                            body.extend_from_slice(&got.payload);
                        }
                    }
                    _ => {}
                }
                let whole = matches!(got.kind, HEADERS | DATA) && got.flags & END_STREAM != 0;
                let Some(body) = whole.then(|| open.remove(&got.stream)).flatten() else {
                    continue;
                };
                record(body.freeze());
                thought.push_back((Instant::now() + thinks, got.stream));
            }
            io.flush().await?;
        }
    }
}

pub(super) fn settings(streams: u32) -> Vec<u8> {
    let setting = [&MAX_CONCURRENT_STREAMS[..], &streams.to_be_bytes()].concat();
    frame(SETTINGS, 0, 0, &setting)
}

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short frame");
    let mut frame = length.to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A frame that has come as a whole.
pub(super) fn next(come: &mut BytesMut) -> Option<Frame> {
    let head = come.get(..FRAME_HEAD)?;
    let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
    if come.len() < FRAME_HEAD + length {
        return None;
    }
    let head = come.split_to(FRAME_HEAD);
    Some(Frame {
        kind: head[3],
        flags: head[4],
        stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]),
        payload: come.split_to(length).freeze(),
    })
}
