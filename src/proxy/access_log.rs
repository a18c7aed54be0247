//! The access log: a line of JSON for each request. Never a header, a body or a query, because they
//! carry what the customer consents to.
//!
//! A thread of its own writes, so that a disk that hangs holds up no request.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use super::ProxyError;
use crate::config::proxy::AccessLog as Place;
use crate::rfc3339;

/// Lines are handed to the writer from this many bytes on, and every so often.
const BATCH: usize = 32 << 10;
pub(super) const INTERVAL: Duration = Duration::from_millis(200);
/// Batches that wait for a disk that does not keep up; more are lost, and counted.
const WAITING: usize = 64;

/// What a line says.
#[derive(Debug)]
pub(super) struct Line<'a> {
    pub(super) time: SystemTime,
    pub(super) uid: Option<u32>,
    pub(super) method: &'a str,
    pub(super) service: &'static str,
    pub(super) path: &'a str,
    pub(super) status: u16,
    pub(super) received: u64,
    pub(super) sent: u64,
    pub(super) took: Duration,
    /// `warm`, `new`, or nothing where the hub was not asked.
    pub(super) connection: Option<&'static str>,
    pub(super) stage: Option<&'static str>,
    /// Whether the answer was handed over to its end.
    pub(super) complete: bool,
    pub(super) interaction_id: &'a str,
}

/// The log.
#[derive(Debug)]
pub(super) struct AccessLog {
    lines: Mutex<Lines>,
    writer: Option<SyncSender<Batch>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Lines {
    text: String,
    /// The second that was written last, and how.
    second: (u64, String),
    lost: u64,
}

enum Batch {
    Lines(String),
    Into(Box<dyn Write + Send>),
    End,
}

impl AccessLog {
    /// # Errors
    /// The file cannot be opened.
    pub(super) fn open(place: &Place) -> Result<Self, ProxyError> {
        let target: Option<Box<dyn Write + Send>> = match place {
            Place::Off => None,
            Place::Stdout => Some(Box::new(io::stdout())),
            Place::File(path) => Some(Box::new(open(path)?)),
        };
        let mut log = Self {
            lines: Mutex::default(),
            writer: None,
            thread: Mutex::new(None),
        };
        if let Some(target) = target {
            let (send, receive) = sync_channel(WAITING);
            let thread = thread::Builder::new()
                .name("access-log".to_owned())
                .spawn(move || write(target, &receive))
                .map_err(ProxyError::System)?;
            log.writer = Some(send);
            log.thread = Mutex::new(Some(thread));
        }
        Ok(log)
    }

    /// Goes on in a new file of the same name: the old one was moved away.
    ///
    /// # Errors
    /// It cannot be opened; the old one stays.
    pub(super) fn reopen(&self, place: &Place) -> Result<(), ProxyError> {
        if let (Place::File(path), Some(writer)) = (place, &self.writer) {
            let file = open(path)?;
            self.flush();
            // A writer that is behind takes it when it gets there.
            let _ = writer.send(Batch::Into(Box::new(file)));
        }
        Ok(())
    }

    pub(super) fn add(&self, line: &Line<'_>) {
        if self.writer.is_none() {
            return;
        }
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.append(line);
        if lines.text.len() >= BATCH {
            self.hand_over(&mut lines);
        }
    }

    /// Hands what there is to the writer.
    pub(super) fn flush(&self) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if !lines.text.is_empty() {
            self.hand_over(&mut lines);
        }
    }

    fn hand_over(&self, lines: &mut Lines) {
        let Some(writer) = &self.writer else {
            return;
        };
        let text = std::mem::replace(&mut lines.text, String::with_capacity(BATCH / 8));
        if let Err(
            TrySendError::Full(Batch::Lines(text)) | TrySendError::Disconnected(Batch::Lines(text)),
        ) = writer.try_send(Batch::Lines(text))
        {
            let lost = text.lines().count() as u64;
            lines.lost += lost;
            super::traffic::log_lines_lost(lost);
            tracing::error!(
                lost = lines.lost,
                "the access log is not written fast enough"
            );
        }
    }

    /// Writes the rest, and waits for that.
    pub(super) fn end(&self) {
        self.flush();
        if let Some(writer) = &self.writer {
            let _ = writer.send(Batch::End);
        }
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

fn open(path: &Path) -> Result<File, ProxyError> {
    let file = File::options().append(true).create(true).open(path);
    file.map_err(|source| ProxyError::AccessLog {
        path: path.to_owned(),
        source,
    })
}

fn write(mut target: Box<dyn Write + Send>, batches: &Receiver<Batch>) {
    while let Ok(batch) = batches.recv() {
        match batch {
            Batch::Lines(text) => {
                let written = target
                    .write_all(text.as_bytes())
                    .and_then(|()| target.flush());
                if let Err(error) = written {
                    super::traffic::log_lines_lost(text.lines().count() as u64);
                    tracing::error!(%error, "the access log was not written");
                }
            }
            Batch::Into(another) => target = another,
            Batch::End => return,
        }
    }
}

impl Lines {
    fn append(&mut self, line: &Line<'_>) {
        let since = line
            .time
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        if self.second.0 != since.as_secs() || self.second.1.is_empty() {
            let text = rfc3339::of_unix(since.as_secs());
            self.second = (since.as_secs(), text.trim_end_matches('Z').to_owned());
        }
        let text = &mut self.text;
        // Writing into a String does not fail.
        let _ = write!(
            text,
            "{{\"time\":\"{}.{:03}Z\",\"uid\":",
            self.second.1,
            since.subsec_millis()
        );
        let _ = match line.uid {
            Some(uid) => write!(text, "{uid}"),
            None => text.write_str("null"),
        };
        text.push_str(",\"method\":");
        quote(text, line.method);
        let _ = write!(text, ",\"upstream\":\"{}\",\"path\":", line.service);
        quote(text, line.path);
        let _ = write!(
            text,
            ",\"status\":{},\"bytes_in\":{},\"bytes_out\":{},\"micros\":{}",
            line.status,
            line.received,
            line.sent,
            line.took.as_micros()
        );
        for (name, word) in [("connection", line.connection), ("stage", line.stage)] {
            if let Some(word) = word {
                let _ = write!(text, ",\"{name}\":\"{word}\"");
            }
        }
        if !line.complete {
            text.push_str(",\"complete\":false");
        }
        text.push_str(",\"interaction_id\":");
        quote(text, line.interaction_id);
        text.push_str("}\n");
    }
}

/// As a JSON string. What is no plain ASCII is escaped: the line is read on terminals too.
fn quote(text: &mut String, value: &str) {
    text.push('"');
    let plain = |byte: &u8| (0x20..0x7f).contains(byte) && *byte != b'"' && *byte != b'\\';
    if value.as_bytes().iter().all(plain) {
        text.push_str(value);
    } else {
        let mut units = [0; 2];
        for c in value.chars() {
            match c {
                '"' | '\\' => {
                    text.push('\\');
                    text.push(c);
                }
                ' '..='~' => text.push(c),
                c => {
                    for unit in c.encode_utf16(&mut units) {
                        let _ = write!(text, "\\u{unit:04x}");
                    }
                }
            }
        }
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_json_whatever_the_path_holds() {
        let mut lines = Lines::default();
        for path in ["/consents/1", "/a\"b\\c", "/ü/\u{1f600}\u{7f}\n"] {
            lines.append(&Line {
                time: SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_478_400_042),
                uid: Some(1000),
                method: "GET",
                service: "cm",
                path,
                status: 200,
                received: 0,
                sent: 17,
                took: Duration::from_micros(1234),
                connection: Some("warm"),
                stage: None,
                complete: true,
                interaction_id: "3f1c9d2e-5a64-4b7e-9f8d-0c2b7a6e1d35",
            });
            let line: serde_json::Value = serde_json::from_str(&lines.text).unwrap();
            assert_eq!(line["path"], path);
            assert_eq!(line["time"], "2026-11-24T00:00:00.042Z");
            assert_eq!(line["micros"], 1234);
            assert!(lines.text.is_ascii());
            lines.text.clear();
        }
    }
}
