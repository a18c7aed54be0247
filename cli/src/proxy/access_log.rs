//! The access log: a line of JSON for each request. It never contains a header, a body or a query, because they hold
//! what the customer consents to.
//!
//! A thread of its own writes it, so that a disk that hangs or a pipe that nobody reads delays no request.

use std::fmt::Write as _;
use std::fs::File;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use rustix::fs::OFlags;

use super::ProxyError;
use hsm_mtls::internal::config::proxy::AccessLog as AccessLogTarget;
use hsm_mtls::internal::lossy_writer::{LossyWriter, Notices, Target};
use hsm_mtls::internal::poison::IgnorePoison as _;
use hsm_mtls::internal::rfc3339;

/// Lines are handed to the writer when there are this many bytes, and in this interval.
const BATCH: usize = 32 << 10;
pub(super) const FLUSH_INTERVAL: Duration = Duration::from_millis(200);
/// The most bytes that are queued for a slow disk or reader. Lines beyond are lost, and counted.
const MAX_QUEUED: usize = 64 * BATCH;
/// How long the end of the proxy waits until the queue is written.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// One line of the log.
#[derive(Debug)]
pub(super) struct AccessLogEntry<'a> {
    pub(super) time: SystemTime,
    pub(super) uid: Option<u32>,
    pub(super) method: &'a str,
    pub(super) service: &'static str,
    pub(super) path: &'a str,
    pub(super) status: u16,
    pub(super) received: u64,
    pub(super) sent: u64,
    pub(super) took: Duration,
    /// `warm`, `new` or `resumed`. None: the request was not sent to the hub.
    pub(super) connection: Option<&'static str>,
    /// The stage of the problem, if there was one.
    pub(super) stage: Option<&'static str>,
    /// The response was handed over completely.
    pub(super) complete: bool,
    pub(super) interaction_id: &'a str,
    /// The id of the request's token, where JWT Auth is on.
    pub(super) jti: Option<&'a str>,
}

/// The access log. Without a writer it is off.
#[derive(Debug)]
pub(super) struct AccessLog {
    batch: Mutex<LineBatch>,
    writer: Option<LossyWriter>,
}

/// Lines that are not handed to the writer yet.
#[derive(Debug, Default)]
struct LineBatch {
    text: String,
    /// The Unix time of the last line, and its RFC 3339 form, which many lines share.
    second: (u64, String),
}

const NOTICES: Notices = Notices {
    lost: super::proxy_metrics::log_lines_lost,
    failing: |error| tracing::error!(error, "the access log is not written: lines are lost"),
    recovered: |lost| tracing::warn!(lost, "the access log is written again"),
};

impl AccessLog {
    /// # Errors
    /// The file cannot be opened.
    pub(super) fn open(config: &AccessLogTarget) -> Result<Self, ProxyError> {
        let target = match config {
            AccessLogTarget::Off => None,
            AccessLogTarget::Stdout => Some(Target::Standard(rustix::stdio::stdout())),
            AccessLogTarget::File(path) => Some(open(path)?),
        };
        Ok(Self {
            batch: Mutex::default(),
            writer: target
                .map(|target| LossyWriter::new("access-log", target, MAX_QUEUED, NOTICES, false)),
        })
    }

    /// Opens the file again, after the old one was renamed by log rotation.
    ///
    /// # Errors
    /// It cannot be opened; the old one stays in use.
    pub(super) fn reopen(&self, config: &AccessLogTarget) -> Result<(), ProxyError> {
        if let (AccessLogTarget::File(path), Some(writer)) = (config, &self.writer) {
            let file = open(path)?;
            self.flush();
            writer.switch_to(file);
        }
        Ok(())
    }

    pub(super) fn add(&self, entry: &AccessLogEntry<'_>) {
        let Some(writer) = &self.writer else {
            return;
        };
        let mut batch = self.batch.lock().ignore_poison();
        batch.append(entry);
        if batch.text.len() >= BATCH {
            writer.add(batch.take());
        }
    }

    /// Hands the lines so far to the writer.
    pub(super) fn flush(&self) {
        if let Some(writer) = &self.writer {
            let mut batch = self.batch.lock().ignore_poison();
            if !batch.text.is_empty() {
                writer.add(batch.take());
            }
        }
    }

    /// Hands over the last lines, and waits until they are written, up to a timeout.
    pub(super) fn close(&self) {
        self.flush();
        if let Some(writer) = &self.writer
            && !writer.flush(FLUSH_TIMEOUT)
        {
            tracing::error!("the access log was not written to its end");
        }
    }
}

/// Opens the file or named pipe. A pipe without a reader is an error at once, and does not block.
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

impl LineBatch {
    fn take(&mut self) -> Vec<u8> {
        let text = std::mem::replace(&mut self.text, String::with_capacity(BATCH / 8));
        text.into_bytes()
    }

    fn append(&mut self, entry: &AccessLogEntry<'_>) {
        let since = entry
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
        let _ = match entry.uid {
            Some(uid) => write!(text, "{uid}"),
            None => text.write_str("null"),
        };
        text.push_str(",\"method\":");
        quote(text, entry.method);
        let _ = write!(text, ",\"upstream\":\"{}\",\"path\":", entry.service);
        quote(text, entry.path);
        let _ = write!(
            text,
            ",\"status\":{},\"bytes_in\":{},\"bytes_out\":{},\"micros\":{}",
            entry.status,
            entry.received,
            entry.sent,
            entry.took.as_micros()
        );
        for (name, value) in [("connection", entry.connection), ("stage", entry.stage)] {
            if let Some(value) = value {
                let _ = write!(text, ",\"{name}\":\"{value}\"");
            }
        }
        if !entry.complete {
            text.push_str(",\"complete\":false");
        }
        text.push_str(",\"interaction_id\":");
        quote(text, entry.interaction_id);
        if let Some(jti) = entry.jti {
            let _ = write!(text, ",\"jti\":\"{jti}\"");
        }
        text.push_str("}\n");
    }
}

/// Appends a JSON string. All but printable ASCII is escaped, because lines are also read on terminals.
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
    fn a_line_is_json_whatever_the_path_contains() {
        let mut batch = LineBatch::default();
        for path in ["/consents/1", "/a\"b\\c", "/ü/\u{1f600}\u{7f}\n"] {
            batch.append(&AccessLogEntry {
                time: SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_478_400_042),
                uid: Some(1000),
                method: "GET",
                service: "pay",
                path,
                status: 200,
                received: 0,
                sent: 17,
                took: Duration::from_micros(1234),
                connection: Some("warm"),
                stage: None,
                complete: true,
                interaction_id: "3f1c9d2e-5a64-4b7e-9f8d-0c2b7a6e1d35",
                jti: None,
            });
            let line: serde_json::Value = serde_json::from_str(&batch.text).unwrap();
            assert_eq!(line["path"], path);
            assert_eq!(line["time"], "2026-11-24T00:00:00.042Z");
            assert_eq!(line["micros"], 1234);
            assert!(batch.text.is_ascii());
            batch.text.clear();
        }
    }
}
