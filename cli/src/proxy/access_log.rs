//! The access log: a line of JSON for each request. Never a header, a body or a query, because they
//! carry what the customer consents to.
//!
//! A thread of its own writes, so that a disk that hangs, or a pipe that nobody reads, holds up no request.

use std::fmt::Write as _;
use std::fs::File;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use rustix::fs::OFlags;

use super::ProxyError;
use hsm_mtls::internal::config::proxy::AccessLog as Place;
use hsm_mtls::internal::lossy_writer::{LossyWriter, Notices, Target};
use hsm_mtls::internal::poison::IgnorePoison as _;
use hsm_mtls::internal::rfc3339;

/// Lines are handed to the writer from this many bytes on, and every so often.
const BATCH: usize = 32 << 10;
pub(super) const INTERVAL: Duration = Duration::from_millis(200);
/// Bytes that wait for a disk or a reader that does not keep up; more are lost, and counted.
const MOST: usize = 64 * BATCH;
/// How long the end of the proxy waits for it.
const FAREWELL: Duration = Duration::from_secs(2);

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
    writer: Option<LossyWriter>,
}

#[derive(Debug, Default)]
struct Lines {
    text: String,
    /// The second that was written last, and how.
    second: (u64, String),
}

const NOTICES: Notices = Notices {
    lost: super::metrics::log_lines_lost,
    failing: |error| tracing::error!(error, "the access log is not written: lines are lost"),
    recovered: |lost| tracing::warn!(lost, "the access log is written again"),
};

impl AccessLog {
    /// # Errors
    /// The file cannot be opened.
    pub(super) fn open(place: &Place) -> Result<Self, ProxyError> {
        let target = match place {
            Place::Off => None,
            Place::Stdout => Some(Target::Standard(rustix::stdio::stdout())),
            Place::File(path) => Some(open(path)?),
        };
        Ok(Self {
            lines: Mutex::default(),
            writer: target
                .map(|target| LossyWriter::new("access-log", target, MOST, NOTICES, false)),
        })
    }

    /// Goes on in a new file of the same name: the old one was moved away.
    ///
    /// # Errors
    /// It cannot be opened; the old one stays.
    pub(super) fn reopen(&self, place: &Place) -> Result<(), ProxyError> {
        if let (Place::File(path), Some(writer)) = (place, &self.writer) {
            let file = open(path)?;
            self.flush();
            writer.turn_to(file);
        }
        Ok(())
    }

    pub(super) fn add(&self, line: &Line<'_>) {
        let Some(writer) = &self.writer else {
            return;
        };
        let mut lines = self.lines.lock().ignore_poison();
        lines.append(line);
        if lines.text.len() >= BATCH {
            writer.add(lines.take());
        }
    }

    /// Hands what there is to the writer.
    pub(super) fn flush(&self) {
        if let Some(writer) = &self.writer {
            let mut lines = self.lines.lock().ignore_poison();
            if !lines.text.is_empty() {
                writer.add(lines.take());
            }
        }
    }

    /// Writes the rest, and waits for that, but not for ever.
    pub(super) fn end(&self) {
        self.flush();
        if let Some(writer) = &self.writer
            && !writer.flush(FAREWELL)
        {
            tracing::error!("the access log was not written to its end");
        }
    }
}

/// A pipe that nobody has open for reading is an error, and nothing to wait for.
fn open(path: &Path) -> Result<Target, ProxyError> {
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = File::options()
        .append(true)
        .create(true)
        .custom_flags(flags)
        .open(path);
    file.map(|file| Target::Owned(file.into()))
        .map_err(|source| ProxyError::AccessLog {
            path: path.to_owned(),
            source,
        })
}

impl Lines {
    fn take(&mut self) -> Vec<u8> {
        let text = std::mem::replace(&mut self.text, String::with_capacity(BATCH / 8));
        text.into_bytes()
    }

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
