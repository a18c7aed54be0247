//! The PIN guard: a PIN is tried once, and only here.
//!
//! An HSM locks after a few wrong PINs, for every client at once. So nothing is tried while the
//! token's flags warn, and a PIN that was refused is never sent again by this process.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use aws_lc_rs::{digest, rand};
use cryptoki::error::{Error, RvError};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::TokenInfo;
use secrecy::{ExposeSecret, SecretString};
use thiserror::Error as ThisError;

use super::fault::Fault;
use super::pin;
use crate::config::pin::PinSource;

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
                    "{0} must hold the PIN and nothing else, and be its owner's alone: `chmod 600 {0}`",
                    path.display()
                ),
                PinSource::Env(name) => format!("set {name} for this process only, or use a file or a systemd credential"),
                PinSource::Credential(name) => {
                    format!("start under systemd (247 or later) with `LoadCredential={name}:/path` or LoadCredentialEncrypted")
                }
                PinSource::Command(_) => "run the command by hand: it must print the PIN and exit 0".to_owned(),
                PinSource::Prompt => "run this at a terminal, and type the PIN when asked".to_owned(),
                PinSource::ProtectedPath => "give [[token]] another `pin`: file, credential, command or prompt".to_owned(),
            },
            Self::NobodyThere(_) => {
                "run this at a terminal, or give [[token]] a `pin` that needs no person: file, credential or command"
                    .to_owned()
            }
            Self::Guarded { flag, .. } => match *flag {
                "CKF_USER_PIN_COUNT_LOW" | "CKF_SO_PIN_COUNT_LOW" => {
                    "check the PIN source, then run `hsm-mtls token check` at a terminal and answer yes: a right PIN resets the counter".to_owned()
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

/// Holds the source and the PIN once it was good.
pub struct PinGuard {
    token: Identity,
    source: PinSource,
    attendance: Attendance,
    good: OnceLock<SecretString>,
}

impl fmt::Debug for PinGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PinGuard")
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

impl PinGuard {
    pub(super) fn new(token: Identity, source: PinSource, attendance: Attendance) -> Self {
        Self {
            token,
            source,
            attendance,
            good: OnceLock::new(),
        }
    }

    /// C_Login, the only place that calls it. `info` reads CK_TOKEN_INFO: where its flags warn,
    /// nothing is sent. CKR_USER_ALREADY_LOGGED_IN is success: the login belongs to the
    /// application, not to the session.
    pub(super) fn log_in(
        &self,
        session: &Session,
        user: UserType,
        info: impl FnOnce() -> Result<TokenInfo, Fault>,
    ) -> Result<(), PinError> {
        // Eight clients that are opened at once must not all find the PIN untried, and the flags
        // are worth nothing if they were read before another's try.
        let flight = flight(&self.token);
        let _one = flight.lock().unwrap_or_else(PoisonError::into_inner);
        let info = &info().map_err(PinError::Call)?;
        self.check_flags(user, info)?;
        let pin = match (&self.source, self.good.get()) {
            (PinSource::ProtectedPath, _) => {
                self.check_keypad(info)?;
                None
            }
            (_, Some(pin)) => Some(pin.clone()),
            (source, None) => Some(pin::read(source, &self.attendance)?),
        };
        let mark = pin.as_ref().map(|pin| Mark::of(pin, user, &self.token));
        if let Some(fault) = mark.as_ref().and_then(refused_before) {
            return Err(PinError::RefusedBefore(fault));
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "the one place that logs in (law 6)"
        )]
        let answer = session.login(user, pin.as_ref());
        match answer {
            Ok(()) => {
                if let Some(pin) = pin {
                    // A second login keeps the first PIN: both were good.
                    let _ = self.good.set(pin);
                }
                Ok(())
            }
            // Somebody's earlier login; whether our PIN is any good was not looked at.
            Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
            Err(error) => {
                let fault = Fault::of(error);
                if !fault.refuses_login() {
                    return Err(PinError::Call(fault));
                }
                if let Some(mark) = mark {
                    lock_refused().push((mark, fault.clone()));
                }
                Err(PinError::Refused(fault))
            }
        }
    }

    /// Reads the token's flags as they bear on a login of `user`.
    fn check_flags(&self, user: UserType, info: &TokenInfo) -> Result<(), PinError> {
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
        );
        let found = [
            (locked, "the PIN is locked"),
            (last, "one more wrong PIN locks it"),
            (change, "the PIN is to be changed first"),
            (
                low,
                "a wrong PIN was tried lately, and nobody said that it may be tried again",
            ),
        ]
        .into_iter()
        .find_map(|(flag, meaning)| Some((flag?, meaning)));
        match found {
            None => Ok(()),
            Some((flag, _)) if Some(flag) == low && self.person_agrees(flag) => Ok(()),
            Some((flag, meaning)) => Err(PinError::Guarded { flag, meaning }),
        }
    }

    /// A terminal is no person: a container with a pty has one too. So somebody is asked.
    fn person_agrees(&self, flag: &str) -> bool {
        let Attendance::Attended(ask) = &self.attendance else {
            return false;
        };
        let question = format!(
            "{flag}: a wrong PIN was tried lately, and a few more lock the token. Shall the PIN from \
             the {} be tried all the same? Type yes to try it",
            self.source
        );
        ask(&question).is_ok_and(|answer| answer.expose_secret().trim() == "yes")
    }

    fn check_keypad(&self, info: &TokenInfo) -> Result<(), PinError> {
        if !info.protected_authentication_path() {
            return Err(PinError::Source {
                pin_source: self.source.clone(),
                why: "the token has none: CKF_PROTECTED_AUTHENTICATION_PATH is not set".to_owned(),
            });
        }
        // The module would wait at the keypad for as long as nobody comes.
        match self.attendance {
            Attendance::Attended(_) => Ok(()),
            Attendance::Unattended => Err(PinError::NobodyThere(self.source.clone())),
        }
    }
}

/// What a token is known by across the objects that stand for it in this process: its label, its
/// serial number and its manufacturer.
pub(super) type Identity = [String; 3];

/// One login at a time per token, whoever asks.
fn flight(token: &Identity) -> Arc<Mutex<()>> {
    static FLIGHTS: Mutex<BTreeMap<Identity, Arc<Mutex<()>>>> = Mutex::new(BTreeMap::new());
    let mut flights = FLIGHTS.lock().unwrap_or_else(PoisonError::into_inner);
    Arc::clone(flights.entry(token.clone()).or_default())
}

/// Which PIN was refused by which token: enough to know it again, useless to anybody else.
#[derive(PartialEq, Eq)]
struct Mark {
    token: Identity,
    so: bool,
    pin: [u8; 32],
}

/// PINs that were refused to this process. A program that opens its client in a loop until it works
/// would lock the HSM within seconds.
static REFUSED: Mutex<Vec<(Mark, Fault)>> = Mutex::new(Vec::new());

fn lock_refused() -> MutexGuard<'static, Vec<(Mark, Fault)>> {
    REFUSED.lock().unwrap_or_else(PoisonError::into_inner)
}

fn refused_before(mark: &Mark) -> Option<Fault> {
    let refused = lock_refused();
    let found = refused.iter().find(|(known, _)| known == mark);
    found.map(|(_, fault)| fault.clone())
}

impl Mark {
    fn of(pin: &SecretString, user: UserType, token: &Identity) -> Self {
        // Hashed with a salt of this process: the memory holds nothing to guess a PIN from later.
        static SALT: OnceLock<[u8; 32]> = OnceLock::new();
        let salt = SALT.get_or_init(|| {
            let mut salt = [0; 32];
            // Without randomness the marks still tell PINs apart.
            let _ = rand::fill(&mut salt);
            salt
        });
        let mut hash = digest::Context::new(&digest::SHA256);
        hash.update(salt);
        hash.update(pin.expose_secret().as_bytes());
        let mut marked = [0; 32];
        marked.copy_from_slice(hash.finish().as_ref());
        Self {
            token: token.clone(),
            so: matches!(user, UserType::So),
            pin: marked,
        }
    }
}
