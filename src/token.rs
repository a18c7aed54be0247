//! One token of a PKCS#11 module. The module is loaded once, the slot is found by the token's CK_TOKEN_INFO, and one
//! session keeps the login for as long as the token is in use.

mod call_gate;
pub mod description;
pub mod device_info;
mod error;
pub mod fault;
mod flag_names;
pub mod guard;
mod info;
mod info_calls;
mod initialize;
mod login;
mod login_scope;
pub mod mechanism_list;
pub mod module;
mod module_config;
mod module_dir;
mod module_file;
pub mod observed_behaviour;
pub mod operation;
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
use crate::config::profile::{Profile, ProfileChoice};
use crate::config::uri::Pkcs11Uri;
use crate::config::{SessionMode, TokenConfig};
use crate::ledger::Recorder;
use description::TokenDescription;
pub use error::TokenError;
use guard::{Attendance, LoginRecorder, LoginSettings, PinGuard};
use login_scope::LoginScope;
use mechanism_list::MechanismList;
use module::Module;
pub use module_config::config_obstacle;
pub use operation::TokenOperation;
pub use role::Role;
use session::Session;
use session_kind::SessionKind;
use slot_selection::select_slot;
pub use timeout::with_timeout;

/// A token of a module, and the login to it.
#[derive(Debug)]
pub struct Token {
    module: Arc<Module>,
    slot: Slot,
    description: TokenDescription,
    mechanisms: MechanismList,
    login_scope: LoginScope,
    role: Role,
    profile: ProfileChoice,
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
    // Who is logged in; `None` also if the token required no login. A lock of its own: calls are made under the other.
    logged_in_role: Mutex<Option<Role>>,
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
        let (slot, description, mechanisms) = found.map_err(|error| explain(error, config))?;
        let description = description.with_identity(config.identity);
        let role = Role::from(config.user);
        let profile = config.profile(Some(module.description().identification()));
        Ok(Self {
            guard: Arc::new(PinGuard::new(LoginSettings {
                token: description.id(),
                identity: description.identity(),
                source: config.pin.clone(),
                attendance,
                state_folder: config.state_folder(),
                recorder: LoginRecorder::of_token(&recorder, &description),
                user: role.user_type(),
                user_name: config.user_name.clone(),
                profile,
            })),
            recorder,
            uri: config.uri.clone(),
            state_folder: config.state_folder(),
            login_scope: LoginScope::new(config.login),
            role,
            profile,
            session_kind: SessionKind::new(
                match role {
                    // While the SO is logged in there are no read-only sessions.
                    Role::SecurityOfficer => SessionMode::ReadWrite,
                    _ => profile.session(config),
                },
                profile.keep_alive_call(config),
                profile.profile,
            ),
            timeout: config.timeout,
            start_timeout: config.start_timeout,
            module,
            slot,
            description,
            mechanisms,
            login_session: Mutex::new(None),
            logged_in_role: Mutex::new(None),
        })
    }

    /// Finds exactly one token, and returns what it says of itself (CK_TOKEN_INFO): without a session and without a login.
    ///
    /// # Errors
    /// The module cannot be loaded, or no token or several tokens match.
    pub fn describe(config: &TokenConfig) -> Result<TokenDescription, TokenError> {
        let (module, uri) = (Module::load(config)?, config.uri.clone());
        let found = with_timeout(TokenOperation::Token, config.start_timeout, move || {
            select_slot(&module, &uri)
        });
        let (_, description) = found.map_err(|error| explain(error, config))?;
        Ok(description)
    }

    /// Selects the same token again, in a slot that may have another number, and logs in with the PIN that the token
    /// accepted before.
    ///
    /// # Errors
    /// The token is not found, another token matches the URI now, or the login failed.
    pub(crate) fn reopen(&self) -> Result<Self, TokenError> {
        let (slot, description) = select_slot(&self.module, &self.uri)?;
        let description = description.with_identity(self.description.identity());
        if description.id() != self.description.id() {
            return Err(TokenError::AnotherToken {
                before: self.description.uri().to_string(),
                now: description.uri().to_string(),
            });
        }
        let token = Self {
            module: Arc::clone(&self.module),
            slot,
            description,
            mechanisms: self.mechanisms.clone(),
            login_scope: self.login_scope.clone(),
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
            logged_in_role: Mutex::new(None),
        };
        // Without `with_timeout`: the callers of a running engine have deadlines of their own, and each attempt with a
        // token that hangs would leave a thread.
        token.open_login_session(token.role)?;
        Ok(token)
    }

    /// The version of the PIN file, if it is another than that of the PIN that was sent last.
    pub(crate) fn changed_pin_file(&self) -> Option<String> {
        self.guard.changed_file()
    }

    /// Whether a PIN file that was changed has a PIN that was not seen there before.
    pub(crate) fn has_unseen_pin(&self) -> bool {
        self.guard.has_unseen_pin()
    }

    /// Whether the source of the PIN may have another one than the one that was sent last.
    pub(crate) fn may_have_new_pin(&self) -> bool {
        self.guard.may_have_new_pin()
    }

    /// Whether the source of the PIN has another one than the one that the token accepted. The next login sends it. A program
    /// is asked only while the token is there.
    ///
    /// # Errors
    /// The PIN file was changed, and what it has is no PIN.
    pub(crate) fn has_new_pin(&self) -> Result<bool, TokenError> {
        let is_possible =
            self.guard.may_have_new_pin() && select_slot(&self.module, &self.uri).is_ok();
        Ok(is_possible && self.guard.read_new_pin()?)
    }

    /// The role that logs in to sign.
    pub fn role(&self) -> Role {
        self.role
    }

    /// The same token with another PIN source, for another role or another user's name.
    pub fn with_pin_source(
        mut self,
        source: PinSource,
        attendance: Attendance,
        role: Role,
        user_name: Option<String>,
    ) -> Self {
        self.guard = Arc::new(PinGuard::new(LoginSettings {
            token: self.description.id(),
            identity: self.description.identity(),
            source,
            attendance,
            state_folder: self.state_folder.clone(),
            recorder: LoginRecorder::of_token(&self.recorder, &self.description),
            user: role.user_type(),
            user_name,
            profile: self.profile,
        }));
        self
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

    /// The family of the HSM.
    pub fn profile(&self) -> Profile {
        self.profile.profile
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

/// An error of the search for the token, with the file of the module's own that may be the reason.
fn explain(error: TokenError, config: &TokenConfig) -> TokenError {
    match error {
        TokenError::Empty | TokenError::NoMatch { .. } | TokenError::Call(_) => {
            module_config::explain_failure(error, config)
        }
        other => other,
    }
}
