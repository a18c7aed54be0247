//! One token of a PKCS#11 module. The module is loaded once, the slot is found by the token's CK_TOKEN_INFO, and one
//! session keeps the login for as long as the token is in use.

mod call_gate;
pub mod description;
pub mod device_info;
mod error;
pub mod fault;
pub mod guard;
mod info;
mod info_calls;
mod initialize;
pub mod mechanism_list;
pub mod module;
mod module_config;
pub mod pin;
mod raw;
mod role;
pub mod session;
mod session_call;
mod session_kind;
mod slot_selection;
mod timeout;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cryptoki::slot::Slot;

use crate::config::pin::PinSource;
use crate::config::profile::Profile;
use crate::config::uri::Pkcs11Uri;
use crate::config::{LoginPolicy, SessionMode, TokenConfig};
use crate::ledger::Recorder;
use crate::poison::IgnorePoison as _;
use description::TokenDescription;
pub use error::TokenError;
use fault::Fault;
use guard::{Attendance, CountLow, LoginRecorder, PinGuard};
use mechanism_list::MechanismList;
use module::Module;
pub use module_config::config_obstacle;
pub use role::Role;
use session::{Access, Session};
use session_kind::SessionKind;
use slot_selection::select_slot;
pub use timeout::TokenOperation;
pub use timeout::with_timeout;

/// A token of a module, and the login to it.
#[derive(Debug)]
pub struct Token {
    module: Arc<Module>,
    slot: Slot,
    description: TokenDescription,
    mechanisms: MechanismList,
    policy: LoginPolicy,
    role: Role,
    profile: Profile,
    session_kind: SessionKind,
    timeout: Duration,
    start_timeout: Duration,
    guard: Arc<PinGuard>,
    recorder: Recorder,
    uri: Pkcs11Uri,
    state_folder: Option<PathBuf>,
    // An application's login and handles end with its last session, so this session stays open for as long as the token
    // is in use.
    login_session: Mutex<Option<Session>>,
}

impl Token {
    /// Loads the module, finds exactly one token, and logs the user in.
    ///
    /// # Errors
    /// One of these steps failed: [`TokenError`].
    pub fn open(
        config: &TokenConfig,
        attendance: Attendance,
        recorder: Recorder,
    ) -> Result<Arc<Self>, TokenError> {
        let token = Self::select(Module::load(config)?, config, attendance, recorder)?;
        token.log_in(token.role())?;
        Ok(Arc::new(token))
    }

    /// Finds exactly one token, without a login.
    ///
    /// # Errors
    /// No token or several tokens match.
    pub fn select(
        module: Arc<Module>,
        config: &TokenConfig,
        attendance: Attendance,
        recorder: Recorder,
    ) -> Result<Self, TokenError> {
        let (searched, uri) = (Arc::clone(&module), config.uri.clone());
        let found = with_timeout(TokenOperation::Token, config.start_timeout, move || {
            let (slot, description) = select_slot(&searched, &uri)?;
            let mechanisms = MechanismList::read(&searched, slot).map_err(TokenError::Call)?;
            Ok::<_, TokenError>((slot, description, mechanisms))
        });
        let (slot, description, mechanisms) =
            found.map_err(|error| match error.of_profile(config.profile()) {
                error @ (TokenError::Empty | TokenError::NoMatch { .. } | TokenError::Call(_)) => {
                    module_config::explain_failure(error, config)
                }
                other => other,
            })?;
        let role = Role::from(config.user);
        Ok(Self {
            guard: Arc::new(PinGuard::new(
                description.id(),
                config.pin.clone(),
                attendance,
                config.state_folder(),
                LoginRecorder::of_token(&recorder, &description),
                role.user_type(),
                config.profile(),
            )),
            recorder,
            uri: config.uri.clone(),
            state_folder: config.state_folder(),
            policy: config.login,
            role,
            profile: config.profile(),
            session_kind: SessionKind::new(
                match role {
                    // While the SO is logged in there are no read-only sessions.
                    Role::SecurityOfficer => SessionMode::ReadWrite,
                    _ => config.session(),
                },
                config.keep_alive_call(),
                config.profile(),
            ),
            timeout: config.timeout,
            start_timeout: config.start_timeout,
            module,
            slot,
            description,
            mechanisms,
            login_session: Mutex::new(None),
        })
    }

    /// Selects the same token again, in a slot that may have another number, and logs in with the PIN that the token
    /// accepted before.
    ///
    /// # Errors
    /// The token is not found, another token matches the URI now, or the login failed.
    pub(crate) fn reopen(&self) -> Result<Self, TokenError> {
        let (slot, description) =
            select_slot(&self.module, &self.uri).map_err(|error| error.of_profile(self.profile))?;
        if description.id() != self.description.id() {
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
            role: self.role,
            profile: self.profile,
            session_kind: self.session_kind.clone(),
            timeout: self.timeout,
            start_timeout: self.start_timeout,
            guard: Arc::clone(&self.guard),
            recorder: self.recorder.clone(),
            uri: self.uri.clone(),
            state_folder: self.state_folder.clone(),
            login_session: Mutex::new(None),
        };
        // Without `with_timeout`: the callers of a running engine have deadlines of their own, and each attempt with a
        // token that hangs would leave a thread.
        let required = token.requires_login();
        let session = token.login(token.role, required)()?;
        token.keep_login_session(session);
        Ok(token)
    }

    /// Makes the keep-alive call in the login session: keeps an idle connection to the HSM open, and detects early that it
    /// was closed.
    pub(crate) fn keep_alive(&self) -> Result<(), Fault> {
        // A call of another thread may hang in that session: this thread must not wait for it.
        let Ok(session) = self.login_session.try_lock() else {
            return Ok(());
        };
        session.as_ref().map_or(Ok(()), Session::keep_alive)
    }

    /// The fault as this token's family means its return value.
    pub(crate) fn as_its_family_means(&self, fault: Fault) -> Fault {
        fault.of_profile(self.profile)
    }

    /// The role that logs in to sign.
    pub fn role(&self) -> Role {
        self.role
    }

    /// The same token with another PIN source, for another role.
    pub fn with_pin_source(
        mut self,
        source: PinSource,
        attendance: Attendance,
        role: Role,
    ) -> Self {
        let (token, folder) = (self.description.id(), self.state_folder.clone());
        let recorder = LoginRecorder::of_token(&self.recorder, &self.description);
        let user = role.user_type();
        self.guard = Arc::new(PinGuard::new(
            token,
            source,
            attendance,
            folder,
            recorder,
            user,
            self.profile,
        ));
        self
    }

    /// Opens the login session, and logs in if the token requires it. The PIN flags of CK_TOKEN_INFO are read first, and
    /// no PIN is sent while one warns. Returns whether a login was required.
    ///
    /// # Errors
    /// No PIN was sent or the token refused it, or C_OpenSession failed.
    pub fn log_in(&self, role: Role) -> Result<bool, TokenError> {
        let required = self.requires_login();
        let login = self.login(role, required);
        let session = match self.guard.needs_operator() {
            // There is no timeout for an operator who types a PIN.
            true => login()?,
            false => with_timeout(TokenOperation::Login, self.start_timeout, login)?,
        };
        self.keep_login_session(session);
        Ok(required)
    }

    /// Writes the operator's acceptance of CKF_USER_PIN_COUNT_LOW for one login of a service without a terminal. No PIN is
    /// sent.
    ///
    /// # Errors
    /// The token reports another PIN flag too, it refused an earlier PIN of this source, the source has no PIN, or the
    /// acceptance cannot be written.
    pub fn accept_count_low(&self, role: Role) -> Result<CountLow, TokenError> {
        let (module, slot) = (Arc::clone(&self.module), self.slot);
        let kind = self.session_kind.clone();
        let guard = Arc::clone(&self.guard);
        with_timeout(TokenOperation::Token, self.start_timeout, move || {
            let session =
                Session::open(&module, slot, role.access(), &kind).map_err(TokenError::Call)?;
            let session = session.pkcs11().map_err(TokenError::Call)?;
            Ok(guard.accept_count_low(&session, role.user_type())?)
        })
    }

    fn requires_login(&self) -> bool {
        match self.policy {
            LoginPolicy::Auto => self.description.login_required,
            LoginPolicy::Always => true,
            LoginPolicy::Never => false,
        }
    }

    /// Opens a session and logs in if that is required. It is a closure, so that it can run with a timeout.
    fn login(
        &self,
        role: Role,
        required: bool,
    ) -> impl FnOnce() -> Result<Session, TokenError> + Send + use<> {
        let (module, slot) = (Arc::clone(&self.module), self.slot);
        let kind = self.session_kind.clone();
        let guard = Arc::clone(&self.guard);
        move || {
            let session =
                Session::open(&module, slot, role.access(), &kind).map_err(TokenError::Call)?;
            if required {
                let session = session.pkcs11().map_err(TokenError::Call)?;
                guard.log_in(&session, role.user_type())?;
            }
            Ok(session)
        }
    }

    fn keep_login_session(&self, session: Session) {
        *self.login_session.lock().ignore_poison() = Some(session);
    }

    /// Opens a further session; the login covers it.
    ///
    /// # Errors
    /// C_OpenSession failed.
    pub fn session(&self, access: Access) -> Result<Session, TokenError> {
        Session::open(&self.module, self.slot, access, &self.session_kind).map_err(TokenError::Call)
    }

    /// The token's CK_TOKEN_INFO and CK_SLOT_INFO.
    pub fn description(&self) -> &TokenDescription {
        &self.description
    }

    /// Whether module, slot and token match `uri`: an object's URI must not contradict the selected token.
    pub fn matches_uri(&self, uri: &Pkcs11Uri) -> bool {
        self.description.matches(uri, &self.module)
    }

    /// The mechanisms that the token claims.
    pub fn mechanisms(&self) -> &MechanismList {
        &self.mechanisms
    }

    /// The token's module.
    pub fn module(&self) -> &Module {
        &self.module
    }

    /// The deadline of a signature that is requested now.
    pub fn deadline(&self) -> Instant {
        Instant::now() + self.timeout
    }

    /// The timeout of each step before the first signature.
    pub fn start_timeout(&self) -> Duration {
        self.start_timeout
    }

    /// The ledger's recorder for operations on this token.
    pub(crate) fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    pub(crate) fn guard(&self) -> &PinGuard {
        &self.guard
    }

    /// The number of sessions for signatures: at most `wanted`, and at most the token's limit minus the login session.
    pub(crate) fn session_limit(&self, wanted: usize) -> usize {
        self.description.max_sessions.map_or(wanted, |limit| {
            wanted
                .min(usize::try_from(limit).unwrap_or(wanted).saturating_sub(1))
                .max(1)
        })
    }
}
