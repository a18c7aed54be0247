//! HTTP/2 by hand, of a hub that ends its first requests with a code of RFC 9113 and answers those after them: no server
//! library can be told to say that it did not process what it has.
//!
//! Nothing is decoded of a request's head. What it is shows in its body.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::lowering::{
    ACK, DATA, END_HEADERS, END_STREAM, HEADERS, OK, PING, PREFACE, RST_STREAM, SETTINGS, frame,
    next, settings,
};

const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

/// What it does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// RST_STREAM with this code.
    Reset(u32),
    /// GOAWAY with this code, which says that no stream was processed, or that this one may have been.
    GoAway { code: u32, processed: bool },
    /// A frame that must not come: a CONTINUATION of nothing.
    Malformed,
    /// The head of an answer that never ends, while the body is read on.
    Begun,
}

/// How requests are ended.
#[derive(Clone, Debug)]
pub struct Endings {
    pub how: How,
    /// So many are, over all connections.
    pub times: Arc<AtomicUsize>,
    /// Once so many bytes of the body have come, or all.
    pub after: usize,
    /// Streams that the client has ended by RST_STREAM.
    pub resets: Arc<AtomicUsize>,
}

impl Endings {
    pub fn new(how: How, times: usize, after: usize) -> Self {
        Self {
            how,
            times: Arc::new(AtomicUsize::new(times)),
            after,
            resets: Arc::default(),
        }
    }

    /// How many requests are still to be ended.
    pub fn left(&self) -> usize {
        self.times.load(Ordering::SeqCst)
    }

    /// Serves a connection until the client leaves; each request that is answered is told to `record`.
    pub async fn serve(
        &self,
        mut io: impl AsyncRead + AsyncWrite + Unpin,
        record: impl Fn(Bytes),
    ) -> io::Result<()> {
        let mut come = BytesMut::new();
        let mut greeted = false;
        let mut open: BTreeMap<u32, BytesMut> = BTreeMap::new();
        io.write_all(&settings(100)).await?;
        io.flush().await?;
        loop {
            if io.read_buf(&mut come).await? == 0 {
                return Ok(());
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
                    HEADERS => drop(open.insert(got.stream, BytesMut::new())),
                    RST_STREAM => {
                        self.resets.fetch_add(1, Ordering::SeqCst);
                        open.remove(&got.stream);
                    }
                    DATA => {
                        let length = u32::try_from(got.payload.len()).expect("a short frame");
                        if length > 0 {
                            for stream in [0, got.stream] {
                                let more = frame(WINDOW_UPDATE, 0, stream, &length.to_be_bytes());
                                io.write_all(&more).await?;
                            }
                        }
                        if let Some(body) = open.get_mut(&got.stream) {
                            body.extend_from_slice(&got.payload);
                        }
                    }
                    _ => {}
                }
                let request = matches!(got.kind, HEADERS | DATA);
                let Some(body) = open.get(&got.stream).filter(|_| request) else {
                    continue;
                };
                let whole = got.flags & END_STREAM != 0;
                let enough = whole || (got.kind == DATA && body.len() >= self.after);
                if enough && self.takes_one() {
                    open.remove(&got.stream);
                    io.write_all(&self.end(got.stream)).await?;
                } else if whole {
                    let body = open.remove(&got.stream).unwrap_or_default();
                    record(body.freeze());
                    io.write_all(&frame(HEADERS, END_HEADERS | END_STREAM, got.stream, &OK))
                        .await?;
                }
            }
            io.flush().await?;
        }
    }

    fn takes_one(&self) -> bool {
        let taken = self
            .times
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                left.checked_sub(1)
            });
        taken.is_ok()
    }

    fn end(&self, stream: u32) -> Vec<u8> {
        match self.how {
            How::Reset(code) => frame(RST_STREAM, 0, stream, &code.to_be_bytes()),
            How::GoAway { code, processed } => {
                let last = if processed { stream } else { 0 };
                let payload = [last.to_be_bytes(), code.to_be_bytes()].concat();
                let goaway = frame(GOAWAY, 0, 0, &payload);
                // What it may have processed is given up.
                let reset = match processed {
                    true => frame(RST_STREAM, 0, stream, &code.to_be_bytes()),
                    false => Vec::new(),
                };
                [goaway, reset].concat()
            }
            How::Begun => frame(HEADERS, END_HEADERS, stream, &OK),
            How::Malformed => frame(CONTINUATION, END_HEADERS, stream, &OK),
        }
    }
}
