//! Notes and warnings of a command. With `--json` standard error is at most one JSON object: notes are buffered until
//! the end, and become its member `notes`.

use std::io;
use std::sync::Mutex;

use serde_json::{Value, json};
use tracing_subscriber::fmt::MakeWriter;

use hsm_mtls::internal::poison::IgnorePoison as _;

/// The buffered notes; `None` where each note is printed at once.
static BUFFER: Mutex<Option<Vec<String>>> = Mutex::new(None);

/// Buffers notes from now on.
pub(super) fn start_buffering() {
    *BUFFER.lock().ignore_poison() = Some(Vec::new());
}

/// Adds a note to the buffer. False where notes are not buffered.
pub(super) fn add(text: &str) -> bool {
    let mut buffer = BUFFER.lock().ignore_poison();
    match buffer.as_mut() {
        Some(notes) => {
            notes.push(text.to_owned());
            true
        }
        None => false,
    }
}

/// Takes the notes out of the buffer.
pub(super) fn take() -> Vec<String> {
    let mut buffer = BUFFER.lock().ignore_poison();
    buffer.as_mut().map(std::mem::take).unwrap_or_default()
}

/// The standard error of another process of this program that ran with `--json`.
#[derive(Default)]
pub(super) struct ChildStderr {
    /// The error and its hint.
    pub(super) error: Option<(String, String)>,
    pub(super) notes: Vec<String>,
    /// All other lines: logs, where `-v` is given.
    pub(super) log_lines: Vec<String>,
}

impl ChildStderr {
    pub(super) fn parse(stderr: &[u8]) -> Self {
        let mut parsed = Self::default();
        for line in String::from_utf8_lossy(stderr).lines() {
            let object = serde_json::from_str::<Value>(line).ok();
            let Some(object) = object.filter(|object| object["schema"].is_u64()) else {
                parsed.log_lines.push(line.to_owned());
                continue;
            };
            let text = |name: &str| object[name].as_str().unwrap_or_default().to_owned();
            if object["error"].is_string() {
                parsed.error = Some((text("error"), text("hint")));
            }
            let notes = object["notes"].as_array().into_iter().flatten();
            parsed
                .notes
                .extend(notes.filter_map(Value::as_str).map(str::to_owned));
        }
        parsed
    }
}

/// The JSON object of a command that succeeded; `None` where there are no notes.
pub(super) fn success_object() -> Option<Value> {
    let notes = take();
    (!notes.is_empty()).then(|| json!({ "schema": 0, "notes": notes }))
}

/// Writes log lines into the buffer of notes.
pub(super) struct NoteWriter;

impl MakeWriter<'_> for NoteWriter {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        Self
    }
}

impl io::Write for NoteWriter {
    // The log layer writes a whole line with each call.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        add(String::from_utf8_lossy(line).trim());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
