//! Exactly one token: the module loaded once, the slot found by what the token says of itself, one
//! login held for as long as the token is in use.

pub mod description;
mod error;
pub mod fault;
mod gate;
pub mod guard;
pub mod holder;
pub mod mechanism;
pub mod module;
mod module_files;
pub mod pin;
mod raw;
mod role;
mod selection;
pub mod session;
mod start;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cryptoki::slot::Slot;

use crate::config::pin::PinSource;
use crate::config::uri::Pkcs11Uri;
use crate::config::{LoginPolicy, TokenConfig};
use crate::ledger::Recorder;
use crate::poison::IgnorePoison as _;
use description::TokenDescription;
pub use error::TokenError;
use fault::Fault;
use guard::{Attendance, CountLow, PinGuard, Register};
use mechanism::Mechanisms;
use module::Module;
pub use module_files::in_the_way;
pub use role::Role;
use session::{Access, Session};
pub use start::Start;
pub use start::in_time;

/// One token of one module, and the login to it.
#[derive(Debug)]
pub struct Token {
    module: Arc<Module>,
    slot: Slot,
    description: TokenDescription,
    mechanisms: Mechanisms,
    policy: LoginPolicy,
    timeout: Duration,
    start_timeout: Duration,
    guard: Arc<PinGuard>,
    recorder: Recorder,
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
    pub fn open(
        config: &TokenConfig,
        attendance: Attendance,
        recorder: Recorder,
    ) -> Result<Arc<Self>, TokenError> {
        let token = Self::select(Module::load(config)?, config, attendance, recorder)?;
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
        recorder: Recorder,
    ) -> Result<Self, TokenError> {
        let (looked_in, uri) = (Arc::clone(&module), config.uri.clone());
        let found = in_time(Start::Token, config.start_timeout, move || {
            let (slot, description) = selection::one(&looked_in, &uri)?;
            let mechanisms = looked_in
                .call()
                .and_then(|pkcs11| Mechanisms::read(&pkcs11, slot))
                .map_err(TokenError::Call)?;
            Ok::<_, TokenError>((slot, description, mechanisms))
        });
        let (slot, description, mechanisms) = found.map_err(|error| match error {
            TokenError::Empty | TokenError::NoMatch { .. } | TokenError::Call(_) => {
                module_files::explained(error, config)
            }
            other => other,
        })?;
        Ok(Self {
            guard: Arc::new(PinGuard::new(
                description.identity(),
                config.pin.clone(),
                attendance,
                config.state_folder(),
                register(&recorder, &description),
            )),
            recorder,
            uri: config.uri.clone(),
            state_folder: config.state_folder(),
            policy: config.login,
            timeout: config.timeout,
            start_timeout: config.start_timeout,
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
            start_timeout: self.start_timeout,
            guard: Arc::clone(&self.guard),
            recorder: self.recorder.clone(),
            uri: self.uri.clone(),
            state_folder: self.state_folder.clone(),
            held: Mutex::new(None),
        };
        // No deadline here: it is the callers of a running engine that have theirs, and a thread for
        // each attempt at a token that hangs would be one too many.
        let wanted = token.wants_login();
        let session = token.login(Role::User, wanted)()?;
        token.hold(session);
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
        let register = register(&self.recorder, &self.description);
        self.guard = Arc::new(PinGuard::new(token, source, attendance, folder, register));
        self
    }

    /// Opens the session that is held, and logs in where the token wants it. The flags are read
    /// anew first; nothing is tried where they warn. Says whether C_Login was called.
    ///
    /// # Errors
    /// The PIN is guarded, missing or refused, or the session cannot be had.
    pub fn log_in(&self, role: Role) -> Result<bool, TokenError> {
        let wanted = self.wants_login();
        let login = self.login(role, wanted);
        let session = match self.guard.typed() {
            // A person takes the time that it takes.
            true => login()?,
            false => in_time(Start::Login, self.start_timeout, login)?,
        };
        self.hold(session);
        Ok(wanted)
    }

    /// Writes down that an operator answers for one login although the token says
    /// CKF_USER_PIN_COUNT_LOW: where nobody is at a terminal when the service starts. Nothing is sent.
    ///
    /// # Errors
    /// The token warns of more than that, an earlier PIN of this source was refused, what the source has
    /// is no PIN, or it cannot be written down.
    pub fn accept_count_low(&self, role: Role) -> Result<CountLow, TokenError> {
        let (module, slot) = (Arc::clone(&self.module), self.slot);
        let guard = Arc::clone(&self.guard);
        in_time(Start::Token, self.start_timeout, move || {
            let session = Session::open(&module, slot, role.access()).map_err(TokenError::Call)?;
            let session = session.pkcs11().map_err(TokenError::Call)?;
            Ok(guard.accept_count_low(&session, role.user_type())?)
        })
    }

    fn wants_login(&self) -> bool {
        match self.policy {
            LoginPolicy::Auto => self.description.login_required,
            LoginPolicy::Always => true,
            LoginPolicy::Never => false,
        }
    }

    /// A session, logged in.
    fn login(
        &self,
        role: Role,
        wanted: bool,
    ) -> impl FnOnce() -> Result<Session, TokenError> + Send + use<> {
        let (module, slot) = (Arc::clone(&self.module), self.slot);
        let guard = Arc::clone(&self.guard);
        move || {
            let session = Session::open(&module, slot, role.access()).map_err(TokenError::Call)?;
            if wanted {
                let session = session.pkcs11().map_err(TokenError::Call)?;
                guard.log_in(&session, role.user_type())?;
            }
            Ok(session)
        }
    }

    fn hold(&self, session: Session) {
        *self.held.lock().ignore_poison() = Some(session);
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

    /// How long each step before the first signature may take.
    pub fn start_timeout(&self) -> Duration {
        self.start_timeout
    }

    /// Where what is done with it is recorded.
    pub(crate) fn recorder(&self) -> &Recorder {
        &self.recorder
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

fn register(recorder: &Recorder, description: &TokenDescription) -> Register {
    Register {
        recorder: recorder.clone(),
        token: description.uri().to_string(),
    }
}
