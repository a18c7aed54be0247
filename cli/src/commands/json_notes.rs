//! What is said beside a result. With `--json` standard error holds one JSON object at the most: so notes and
//! warnings are kept until the end, and are part of it.

use std::io;
use std::sync::Mutex;

use serde_json::{Value, json};
use tracing_subscriber::fmt::MakeWriter;

use hsm_mtls::internal::poison::IgnorePoison as _;

/// None: each is said at once.
static KEPT: Mutex<Option<Vec<String>>> = Mutex::new(None);

/// From now on they are kept.
pub(super) fn keep() {
    *KEPT.lock().ignore_poison() = Some(Vec::new());
}

/// Keeps one, where they are kept.
pub(super) fn add(text: &str) -> bool {
    let mut kept = KEPT.lock().ignore_poison();
    match kept.as_mut() {
        Some(notes) => {
            notes.push(text.to_owned());
            true
        }
        None => false,
    }
}

/// Those that were kept, and no more.
pub(super) fn take() -> Vec<String> {
    let mut kept = KEPT.lock().ignore_poison();
    kept.as_mut().map(std::mem::take).unwrap_or_default()
}

/// What another run of this program said on its standard error with `--json`.
#[derive(Default)]
pub(super) struct Said {
    /// The error, and its hint.
    pub(super) error: Option<(String, String)>,
    pub(super) notes: Vec<String>,
    /// Lines that are no such object: logs, where they were asked for.
    pub(super) lines: Vec<String>,
}

impl Said {
    pub(super) fn read(stderr: &[u8]) -> Self {
        let mut said = Self::default();
        for line in String::from_utf8_lossy(stderr).lines() {
            let object = serde_json::from_str::<Value>(line).ok();
            let Some(object) = object.filter(|object| object["schema"].is_u64()) else {
                said.lines.push(line.to_owned());
                continue;
            };
            let text = |name: &str| object[name].as_str().unwrap_or_default().to_owned();
            if object["error"].is_string() {
                said.error = Some((text("error"), text("hint")));
            }
            let notes = object["notes"].as_array().into_iter().flatten();
            said.notes
                .extend(notes.filter_map(Value::as_str).map(str::to_owned));
        }
        said
    }
}

/// The object of a command that went well, where there is something to be said.
pub(super) fn object() -> Option<Value> {
    let notes = take();
    (!notes.is_empty()).then(|| json!({ "schema": 0, "notes": notes }))
}

/// Keeps log lines among the notes.
pub(super) struct Lines;

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        Self
    }
}

impl io::Write for Lines {
    // The log writes a line at once.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        add(String::from_utf8_lossy(line).trim());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
