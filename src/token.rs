//! Exactly one token: the module loaded once, the slot found by what the token says of itself, one
//! login held for as long as the token is in use.

pub mod description;
pub mod fault;
mod gate;
pub mod guard;
pub mod holder;
pub mod mechanism;
pub mod module;
mod pin;
mod raw;
mod selection;
pub mod session;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cryptoki::session::UserType;
use cryptoki::slot::Slot;
use thiserror::Error;

use crate::config::pin::PinSource;
use crate::config::trust::Fingerprint;
use crate::config::uri::Pkcs11Uri;
use crate::config::{LoginPolicy, TokenConfig};
use description::TokenDescription;
use fault::Fault;
use guard::{Attendance, PinError, PinGuard};
use mechanism::Mechanisms;
use module::Module;
use session::{Access, Session};

/// Why there is no token to work with.
#[derive(Debug, Error)]
pub enum TokenError {
    /// The module's file cannot be found or read.
    #[error("the PKCS#11 module {} cannot be read: {source}", path.display())]
    ModuleMissing {
        /// As configured.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// Someone else could change the module.
    #[error("the PKCS#11 module is not loaded because of {}: {why}", path.display())]
    ModuleUnsafe {
        /// The file, or the folder above it.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The module is not the one that was pinned.
    #[error("the PKCS#11 module {} is not the pinned one: {found}, not {expected}", path.display())]
    ModuleChanged {
        /// The file.
        path: PathBuf,
        /// `module_sha256`
        expected: Fingerprint,
        /// What the file has.
        found: Fingerprint,
    },
    /// It is not a PKCS#11 module, or lacks a library.
    #[error("{} does not load as a PKCS#11 module: {detail}", path.display())]
    ModuleLoad {
        /// The file.
        path: PathBuf,
        /// What the linker or the module said.
        detail: String,
    },
    /// A variable of `env` is not what the configuration says.
    #[error(
        "the variable {name}, which the module reads, does not have the value of the configuration"
    )]
    EnvironmentNotApplied {
        /// The variable.
        name: String,
    },
    /// C_Initialize failed.
    #[error("the module does not initialise: {0}")]
    Initialize(Fault),
    /// No slot holds an initialised token.
    #[error("the module shows no initialised token")]
    Empty,
    /// No token matches.
    #[error("no token matches {uri}; there is: {}", candidates.join(", "))]
    NoMatch {
        /// What was asked for.
        uri: String,
        /// What there is.
        candidates: Vec<String>,
    },
    /// More than one token matches.
    #[error("{} tokens match {uri}: {}", candidates.len(), candidates.join(", "))]
    Ambiguous {
        /// What was asked for.
        uri: String,
        /// What matches.
        candidates: Vec<String>,
    },
    /// The login failed or was not tried.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// A call failed.
    #[error("the token failed: {0}")]
    Call(Fault),
}

impl TokenError {
    /// What to do next.
    pub fn hint(&self) -> String {
        match self {
            Self::ModuleMissing { .. } => {
                "install the HSM vendor's client (SoftHSM: `apt-get install softhsm2`) and write its path to `module`".to_owned()
            }
            Self::ModuleUnsafe { path, .. } => format!(
                "the module and each folder above it must belong to root or to you, and be writable by no other: \
                 `chmod go-w {0}`, or `chown root {0}`",
                path.display()
            ),
            Self::ModuleChanged { .. } => {
                "if the vendor's client was updated on purpose, write the new hash to `module_sha256`; if not, find out who changed it".to_owned()
            }
            Self::ModuleLoad { .. } => {
                "`module` must be the vendor's PKCS#11 library for this machine; `ldd` on it shows libraries that it lacks".to_owned()
            }
            Self::EnvironmentNotApplied { name } => {
                format!("a program that uses the library sets {name} before it starts any thread; the command does so by itself")
            }
            Self::Initialize(fault) => format!(
                "{}; a file that a variable there names may be missing",
                fault.advice()
            ),
            Self::Empty => {
                "check `env` of [[token]] and the vendor's client: without its configuration a module shows nothing. \
                 Only where there is no token yet: initialise one with the vendor's tool"
                    .to_owned()
            }
            Self::NoMatch { .. } => "correct `uri` of [[token]]; `hsm-mtls token list` shows what is there".to_owned(),
            Self::Ambiguous { .. } => "add `serial=` to `uri` of [[token]] so that it names exactly one".to_owned(),
            Self::Pin(error) => error.hint(),
            Self::Call(fault) => fault.advice().to_owned(),
        }
    }
}

/// Which role logs in (CK_USER_TYPE).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// CKU_USER
    User,
    /// CKU_SO
    SecurityOfficer,
    /// A role of the vendor, by number (a crypto officer, say).
    Vendor(u32),
}

impl Role {
    fn user_type(self) -> UserType {
        match self {
            Self::User => UserType::User,
            Self::SecurityOfficer => UserType::So,
            Self::Vendor(number) => UserType::VendorExtension(number),
        }
    }
}

/// One token of one module, and the login to it.
#[derive(Debug)]
pub struct Token {
    module: Arc<Module>,
    slot: Slot,
    description: TokenDescription,
    mechanisms: Mechanisms,
    policy: LoginPolicy,
    timeout: Duration,
    guard: Arc<PinGuard>,
    uri: Pkcs11Uri,
    state_folder: Option<PathBuf>,
    // Closing an application's last session logs it out and invalidates every handle, so one
    // session stays open for as long as the token is in use.
    held: Mutex<Option<Session>>,
}

impl Token {
    /// Loads the module, finds exactly one token, and logs the user in.
    ///
    /// # Errors
    /// Any of the three fails; see [`TokenError`].
    pub fn open(config: &TokenConfig, attendance: Attendance) -> Result<Arc<Self>, TokenError> {
        let token = Self::select(Module::load(config)?, config, attendance)?;
        token.log_in(Role::User)?;
        Ok(Arc::new(token))
    }

    /// Finds exactly one token, without a login.
    ///
    /// # Errors
    /// None or several match.
    pub fn select(
        module: Arc<Module>,
        config: &TokenConfig,
        attendance: Attendance,
    ) -> Result<Self, TokenError> {
        let (slot, description) = selection::one(&module, &config.uri)?;
        let mechanisms = module
            .call()
            .and_then(|pkcs11| Mechanisms::read(&pkcs11, slot))
            .map_err(TokenError::Call)?;
        Ok(Self {
            guard: Arc::new(PinGuard::new(
                description.identity(),
                config.pin.clone(),
                attendance,
                config.state_folder(),
            )),
            uri: config.uri.clone(),
            state_folder: config.state_folder(),
            policy: config.login,
            timeout: config.timeout,
            module,
            slot,
            description,
            mechanisms,
            held: Mutex::new(None),
        })
    }

    /// The same token, found anew and logged in to: its slot may have another number by now. The PIN
    /// that was good is used again.
    ///
    /// # Errors
    /// It is not there, another is in its place, or the login fails.
    pub(crate) fn again(&self) -> Result<Self, TokenError> {
        let (slot, description) = selection::one(&self.module, &self.uri)?;
        if description.identity() != self.description.identity() {
            return Err(TokenError::NoMatch {
                uri: self.description.uri().to_string(),
                candidates: vec![description.uri().to_string()],
            });
        }
        let token = Self {
            module: Arc::clone(&self.module),
            slot,
            description,
            mechanisms: self.mechanisms.clone(),
            policy: self.policy,
            timeout: self.timeout,
            guard: Arc::clone(&self.guard),
            uri: self.uri.clone(),
            state_folder: self.state_folder.clone(),
            held: Mutex::new(None),
        };
        token.log_in(Role::User)?;
        Ok(token)
    }

    /// Asks the token after the session that is held for the login: keeps it from being closed as
    /// idle, and tells early that it was.
    pub(crate) fn keep_alive(&self) -> Result<(), Fault> {
        // Where somebody is asking already, and perhaps waits for ever, nobody else is to wait too.
        let Ok(held) = self.held.try_lock() else {
            return Ok(());
        };
        held.as_ref().map_or(Ok(()), Session::is_alive)
    }

    /// The same token for another role, whose PIN has a source of its own.
    pub fn with_pin_source(mut self, source: PinSource, attendance: Attendance) -> Self {
        let (token, folder) = (self.description.identity(), self.state_folder.clone());
        self.guard = Arc::new(PinGuard::new(token, source, attendance, folder));
        self
    }

    /// Opens the session that is held, and logs in where the token wants it. The flags are read
    /// anew first; nothing is tried where they warn. Says whether C_Login was called.
    ///
    /// # Errors
    /// The PIN is guarded, missing or refused, or the session cannot be had.
    pub fn log_in(&self, role: Role) -> Result<bool, TokenError> {
        let access = match role {
            // CKR_SESSION_READ_ONLY_EXISTS: the SO can only be in read-write sessions.
            Role::SecurityOfficer => Access::ReadWrite,
            Role::User | Role::Vendor(_) => Access::ReadOnly,
        };
        let session = self.session(access)?;
        let wanted = match self.policy {
            LoginPolicy::Auto => self.description.login_required,
            LoginPolicy::Always => true,
            LoginPolicy::Never => false,
        };
        if wanted {
            let session = session.pkcs11().map_err(TokenError::Call)?;
            self.guard.log_in(&session, role.user_type())?;
        }
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        *held = Some(session);
        Ok(wanted)
    }

    /// Opens a further session; the login covers it.
    ///
    /// # Errors
    /// C_OpenSession failed.
    pub fn session(&self, access: Access) -> Result<Session, TokenError> {
        Session::open(&self.module, self.slot, access).map_err(TokenError::Call)
    }

    /// What the token says of itself.
    pub fn description(&self) -> &TokenDescription {
        &self.description
    }

    /// Whether module, slot and token are what `uri` names; an object's URI must not contradict the
    /// token that was selected.
    pub fn is_named_by(&self, uri: &Pkcs11Uri) -> bool {
        self.description.matches(uri, &self.module)
    }

    /// What it says that it can sign with.
    pub fn mechanisms(&self) -> &Mechanisms {
        &self.mechanisms
    }

    /// The module that shows it.
    pub fn module(&self) -> &Module {
        &self.module
    }

    /// When a signature that is asked for now must be there.
    pub fn deadline(&self) -> Instant {
        Instant::now() + self.timeout
    }

    pub(crate) fn guard(&self) -> &PinGuard {
        &self.guard
    }

    /// The most sessions that can sign at once: the token's limit less the one that is held.
    pub(crate) fn sessions_at_most(&self, wanted: usize) -> usize {
        self.description.max_sessions.map_or(wanted, |limit| {
            wanted
                .min(usize::try_from(limit).unwrap_or(wanted).saturating_sub(1))
                .max(1)
        })
    }
}
