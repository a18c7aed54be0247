//! Reading a PIN from its source: a file, a variable, a credential, a program or a person.

use std::env;
use std::fs::{File, Metadata};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::geteuid;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};

use super::guard::{Attendance, PinError};
use crate::config::pin::PinSource;

/// Longest PIN that is read, in bytes; vendors' forms (`user:password`) fit well.
const LONGEST_PIN: usize = 4096;
/// How long a PIN command may take.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);

/// A PIN as it was read.
#[derive(Clone)]
pub(super) struct Pin {
    pub(super) text: SecretString,
    /// Differs when the source has changed. None where that cannot be seen without a look at the
    /// PIN itself: systemd writes a credential anew at each start, a variable has no date.
    pub(super) version: Option<String>,
}

/// Reads the PIN. Its form is the vendor's business; only what no keyboard gives is refused.
pub(super) fn read(source: &PinSource, attendance: &Attendance) -> Result<Pin, PinError> {
    let wrong = |why: String| PinError::Source {
        pin_source: source.clone(),
        why,
    };
    let mut version = None;
    let text = match source {
        PinSource::File(path) => {
            let (text, meta) = read_file(path, 0o077).map_err(wrong)?;
            version = Some(format!(
                "{}:{}.{:09}",
                meta.ino(),
                meta.mtime(),
                meta.mtime_nsec()
            ));
            text
        }
        PinSource::Env(name) => match env::var(name) {
            Ok(pin) => SecretString::from(pin),
            Err(env::VarError::NotPresent) => return Err(wrong("it is not set".to_owned())),
            Err(env::VarError::NotUnicode(_)) => return Err(wrong("it is not UTF-8".to_owned())),
        },
        PinSource::Credential(name) => {
            let folder = env::var_os("CREDENTIALS_DIRECTORY").ok_or_else(|| {
                wrong("$CREDENTIALS_DIRECTORY is not set: not started by systemd".to_owned())
            })?;
            // systemd gives the service's user access by an ACL, which shows as the group's r.
            let path = PathBuf::from(folder).join(name);
            read_file(&path, 0o037).map_err(wrong)?.0
        }
        PinSource::Command(words) => run(words).map_err(wrong)?,
        PinSource::Prompt | PinSource::ProtectedPath => match attendance {
            Attendance::Attended(ask) => {
                ask("PIN of the token").map_err(|error| wrong(error.to_string()))?
            }
            Attendance::Unattended => return Err(PinError::NobodyThere(source.clone())),
        },
    };
    if text.expose_secret().is_empty() {
        return Err(wrong("it is empty".to_owned()));
    }
    // A file with a second line, say: sent as it is, it would cost one of few tries.
    if text.expose_secret().contains(['\n', '\r', '\0']) {
        return Err(wrong("it holds a line break within the PIN".to_owned()));
    }
    Ok(Pin { text, version })
}

/// Reads a PIN from a file whose mode has none of the `forbidden` bits.
fn read_file(path: &Path, forbidden: u32) -> Result<(SecretString, Metadata), String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    // The open file is asked, not the path: nobody can swap one for the other in between.
    let meta = file.metadata().map_err(|error| error.to_string())?;
    if !meta.is_file() {
        return Err("it is not a file".to_owned());
    }
    if meta.uid() != 0 && meta.uid() != geteuid().as_raw() {
        return Err("it belongs to another user".to_owned());
    }
    if meta.mode() & forbidden != 0 {
        return Err(format!(
            "its mode is {:03o}: others than its owner may use it",
            meta.mode() & 0o777
        ));
    }
    let text = text(&file)?;
    // Half of an old PIN and half of a new one would cost a try.
    let after = file.metadata().map_err(|error| error.to_string())?;
    let of = |meta: &Metadata| (meta.size(), meta.mtime(), meta.mtime_nsec());
    if of(&meta) != of(&after) {
        return Err("it was written to at this moment".to_owned());
    }
    Ok((text, meta))
}

fn run(words: &[String]) -> Result<SecretString, String> {
    let (program, arguments) = words.split_first().ok_or("it names no program")?;
    let deadline = Instant::now() + COMMAND_TIMEOUT;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let output = child.stdout.take().ok_or("it has no output")?;
    let (send, answer) = mpsc::sync_channel(1);
    // The first line is the PIN. What comes after it is not waited for: an agent that the program
    // leaves behind may hold its output open for ever.
    thread::spawn(move || send.send(first_line(output)));
    let pin = answer.recv_timeout(COMMAND_TIMEOUT);
    let status = end_of(&mut child, deadline)?;
    let pin = pin.map_err(|_| too_late())??;
    if !status.success() {
        return Err(format!("it ended with {status}"));
    }
    Ok(pin)
}

/// Waits for a program's end, and ends it at the deadline.
fn end_of(child: &mut Child, deadline: Instant) -> Result<std::process::ExitStatus, String> {
    loop {
        if let Some(status) = child.try_wait().map_err(|error| error.to_string())? {
            return Ok(status);
        }
        if Instant::now() >= deadline {
            // It may have ended by itself just now; either way it is gone.
            let _ = child.kill();
            let _ = child.wait();
            return Err(too_late());
        }
        // There is no wait with a time limit in the standard library.
        thread::park_timeout(Duration::from_millis(5));
    }
}

fn too_late() -> String {
    format!("it did not end within {} s", COMMAND_TIMEOUT.as_secs())
}

fn first_line(from: impl Read) -> Result<SecretString, String> {
    let mut line = Zeroizing::new(Vec::with_capacity(LONGEST_PIN + 2));
    let mut lines = BufReader::with_capacity(LONGEST_PIN, from).take(LONGEST_PIN as u64 + 1);
    lines
        .read_until(b'\n', &mut line)
        .map_err(|error| error.to_string())?;
    text(io::Cursor::new(&line[..]))
}

fn text(from: impl Read) -> Result<SecretString, String> {
    // Room for all of it at once: a growing buffer would leave copies of the PIN behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(LONGEST_PIN + 2));
    from.take(LONGEST_PIN as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    if bytes.len() > LONGEST_PIN {
        return Err(format!("it is longer than {LONGEST_PIN} bytes"));
    }
    let text = str::from_utf8(&bytes).map_err(|_| "it is not UTF-8".to_owned())?;
    let line = text.strip_suffix('\n').unwrap_or(text);
    Ok(SecretString::from(line.strip_suffix('\r').unwrap_or(line)))
}
