//! The PIN guard: a PIN is tried once, and only here.
//!
//! An HSM locks after a few wrong PINs, for every client at once. So nothing is tried while the
//! token's flags warn, and a PIN that was refused is never sent again by this process.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError, mpsc};
use std::time::Duration;
use std::{env, thread};

use cryptoki::error::{Error, RvError};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::TokenInfo;
use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;
use thiserror::Error as ThisError;

use super::fault::{Fault, FaultClass};
use crate::config::pin::PinSource;

/// Longest PIN that is read, in bytes; vendors' forms (`user:password`) fit well.
const LONGEST_PIN: usize = 4096;
/// How long a PIN command may take.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);

/// Asks a person for a PIN; the text says which.
pub type AskPerson = dyn Fn(&str) -> io::Result<SecretString> + Send + Sync;

/// Whether a person is there: to type a PIN, and to answer for a try when few are left.
pub enum Attendance {
    /// A service, a script, CI.
    Unattended,
    /// Someone at a terminal.
    Attended(Box<AskPerson>),
}

/// Why there is no login.
#[derive(Debug, ThisError)]
pub enum PinError {
    /// The source gave no PIN.
    #[error("no PIN from {pin_source}: {why}")]
    Source {
        /// Where it should have come from.
        pin_source: PinSource,
        /// What is wrong there.
        why: String,
    },
    /// The source is a person, and none is there.
    #[error("the PIN comes from {0}, and nobody is at a terminal")]
    NobodyThere(PinSource),
    /// The token's flags forbid a try. Nothing was sent.
    #[error("no PIN was sent: the token says {flag} ({meaning})")]
    Guarded {
        /// The CKF_ flag.
        flag: &'static str,
        /// What it means.
        meaning: &'static str,
    },
    /// The token refused the PIN.
    #[error("the token refused the PIN: {0}")]
    Refused(Fault),
    /// This PIN was refused before, and is not sent a second time.
    #[error("no PIN was sent: the token refused this PIN before ({0})")]
    RefusedBefore(Fault),
    /// C_Login failed for a reason that is not the PIN.
    #[error("the login failed: {0}")]
    Call(Fault),
}

impl PinError {
    /// What to do next.
    pub fn hint(&self) -> String {
        match self {
            Self::Source { pin_source, .. } => match pin_source {
                PinSource::File(path) => format!(
                    "write the PIN, and nothing else, to {0}, and `chmod 600 {0}`",
                    path.display()
                ),
                PinSource::Env(name) => format!("set {name} for this process only, or use a file or a systemd credential"),
                PinSource::Credential(name) => {
                    format!("start under systemd with `LoadCredential={name}:/path` (or LoadCredentialEncrypted)")
                }
                PinSource::Command(_) => "run the command by hand: it must print the PIN and exit 0".to_owned(),
                PinSource::Prompt | PinSource::ProtectedPath => "run this at a terminal".to_owned(),
            },
            Self::NobodyThere(_) => {
                "run this at a terminal, or give [[token]] a `pin` that needs no person: file, credential or command"
                    .to_owned()
            }
            Self::Guarded { flag, .. } => match *flag {
                "CKF_USER_PIN_COUNT_LOW" | "CKF_SO_PIN_COUNT_LOW" => {
                    "check the PIN source, then log in once at a terminal: a right PIN resets the counter".to_owned()
                }
                _ => "the token's administrator (SO) has to reset or change the PIN with the vendor's tool".to_owned(),
            },
            Self::Refused(_) | Self::RefusedBefore(_) => {
                "do not try again before the PIN source is corrected: a few wrong tries lock the token for everyone".to_owned()
            }
            Self::Call(fault) => fault.advice().to_owned(),
        }
    }
}

/// Holds the source, the PIN once it was good, and the memory of a refusal.
pub struct PinGuard {
    source: PinSource,
    attendance: Attendance,
    good: OnceLock<SecretString>,
    refused: OnceLock<Fault>,
    // One login at a time: two threads that both find the token logged out must not both try.
    single_flight: Mutex<()>,
}

impl std::fmt::Debug for PinGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PinGuard")
            .field("source", &self.source)
            .field("refused", &self.refused.get().is_some())
            .finish_non_exhaustive()
    }
}

impl PinGuard {
    pub(super) fn new(source: PinSource, attendance: Attendance) -> Self {
        Self {
            source,
            attendance,
            good: OnceLock::new(),
            refused: OnceLock::new(),
            single_flight: Mutex::new(()),
        }
    }

    /// Reads the token's flags as they bear on a login of `user`. Nothing is sent.
    pub(super) fn check_flags(&self, user: UserType, info: &TokenInfo) -> Result<(), PinError> {
        let so = matches!(user, UserType::So);
        let flag = |user_flag: (bool, &'static str), so_flag: (bool, &'static str)| {
            let (set, name) = if so { so_flag } else { user_flag };
            set.then_some(name)
        };
        let locked = flag(
            (info.user_pin_locked(), "CKF_USER_PIN_LOCKED"),
            (info.so_pin_locked(), "CKF_SO_PIN_LOCKED"),
        );
        let last = flag(
            (info.user_pin_final_try(), "CKF_USER_PIN_FINAL_TRY"),
            (info.so_pin_final_try(), "CKF_SO_PIN_FINAL_TRY"),
        );
        let change = flag(
            (info.user_pin_to_be_changed(), "CKF_USER_PIN_TO_BE_CHANGED"),
            (info.so_pin_to_be_changed(), "CKF_SO_PIN_TO_BE_CHANGED"),
        );
        let low = flag(
            (info.user_pin_count_low(), "CKF_USER_PIN_COUNT_LOW"),
            (info.so_pin_count_low(), "CKF_SO_PIN_COUNT_LOW"),
        )
        .filter(|_| matches!(self.attendance, Attendance::Unattended));
        let found = [
            (locked, "the PIN is locked"),
            (last, "one more wrong PIN locks it"),
            (change, "the PIN is to be changed first"),
            (
                low,
                "a wrong PIN was tried lately, and nobody is at a terminal",
            ),
        ]
        .into_iter()
        .find_map(|(flag, meaning)| Some((flag?, meaning)));
        match found {
            Some((flag, meaning)) => Err(PinError::Guarded { flag, meaning }),
            None => Ok(()),
        }
    }

    /// C_Login, the only place that calls it. CKR_USER_ALREADY_LOGGED_IN is success: the login
    /// belongs to the application, not to the session.
    pub(super) fn log_in(&self, session: &Session, user: UserType) -> Result<(), PinError> {
        let _one = self
            .single_flight
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(fault) = self.refused.get() {
            return Err(PinError::RefusedBefore(fault.clone()));
        }
        let pin = match (&self.source, self.good.get()) {
            (PinSource::ProtectedPath, _) => {
                // The module would wait at the keypad for as long as nobody comes.
                if matches!(self.attendance, Attendance::Unattended) {
                    return Err(PinError::NobodyThere(self.source.clone()));
                }
                None
            }
            (_, Some(pin)) => Some(pin.clone()),
            (_, None) => Some(self.read()?),
        };
        #[expect(
            clippy::disallowed_methods,
            reason = "the one place that logs in (law 6)"
        )]
        let answer = session.login(user, pin.as_ref());
        match answer {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {
                if let Some(pin) = pin {
                    // A second login keeps the first PIN: both were good.
                    let _ = self.good.set(pin);
                }
                Ok(())
            }
            Err(error) => {
                let fault = Fault::of(error);
                if fault.class() != FaultClass::Pin {
                    return Err(PinError::Call(fault));
                }
                let _ = self.refused.set(fault.clone());
                Err(PinError::Refused(fault))
            }
        }
    }

    fn read(&self) -> Result<SecretString, PinError> {
        let wrong = |why: String| PinError::Source {
            pin_source: self.source.clone(),
            why,
        };
        let pin = match &self.source {
            PinSource::File(path) => read_file(path).map_err(wrong)?,
            PinSource::Env(name) => match env::var(name) {
                Ok(pin) => SecretString::from(pin),
                Err(env::VarError::NotPresent) => return Err(wrong("it is not set".to_owned())),
                Err(env::VarError::NotUnicode(_)) => {
                    return Err(wrong("it is not UTF-8".to_owned()));
                }
            },
            PinSource::Credential(name) => {
                let folder = env::var_os("CREDENTIALS_DIRECTORY").ok_or_else(|| {
                    wrong("$CREDENTIALS_DIRECTORY is not set: not started by systemd".to_owned())
                })?;
                read_file(&PathBuf::from(folder).join(name)).map_err(wrong)?
            }
            PinSource::Command(words) => run(words).map_err(wrong)?,
            PinSource::Prompt | PinSource::ProtectedPath => match &self.attendance {
                Attendance::Attended(ask) => {
                    ask("PIN of the token").map_err(|error| wrong(error.to_string()))?
                }
                Attendance::Unattended => return Err(PinError::NobodyThere(self.source.clone())),
            },
        };
        if secrecy::ExposeSecret::expose_secret(&pin).is_empty() {
            return Err(wrong("it is empty".to_owned()));
        }
        Ok(pin)
    }
}

/// Reads a PIN from a file that only its owner can read.
fn read_file(path: &Path) -> Result<SecretString, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    // The open file is asked, not the path: nobody can swap one for the other in between.
    let meta = file.metadata().map_err(|error| error.to_string())?;
    let me = fs::metadata("/proc/self").map_err(|error| error.to_string())?;
    if !meta.is_file() {
        return Err("it is not a file".to_owned());
    }
    if meta.uid() != 0 && meta.uid() != me.uid() {
        return Err("it belongs to another user".to_owned());
    }
    if meta.mode() & 0o077 != 0 {
        return Err(format!(
            "its mode is {:03o}: others than its owner may use it",
            meta.mode() & 0o777
        ));
    }
    text(file)
}

fn run(words: &[String]) -> Result<SecretString, String> {
    let (program, arguments) = words.split_first().ok_or("it names no program")?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let output = child.stdout.take().ok_or("it has no output")?;
    let (send, answer) = mpsc::sync_channel(1);
    thread::spawn(move || send.send(text(output)));
    let pin = answer.recv_timeout(COMMAND_TIMEOUT).map_err(|_| {
        // It may have ended by itself just now; either way it is gone.
        let _ = child.kill();
        let _ = child.wait();
        format!("it gave no answer within {} s", COMMAND_TIMEOUT.as_secs())
    })?;
    let status = child.wait().map_err(|error| error.to_string())?;
    if !status.success() {
        return Err(format!("it ended with {status}"));
    }
    pin
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
