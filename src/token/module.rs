//! The PKCS#11 module: its file is checked before it is mapped, and it is loaded and initialised once per process.

use std::collections::BTreeMap;
use std::io;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cryptoki::context::Pkcs11;
use cryptoki::error::Error;

use super::TokenError;
use super::call_gate::{ActiveCall, CallGate, NotReinitialized};
use super::fault::Fault;
pub use super::info::ModuleDescription;
use super::info_calls::InfoCalls;
use super::initialize::call_initialize;
use super::module_config;
use super::module_dir;
use super::module_file;
use super::operation::TokenOperation;
use super::raw::RawCalls;
use super::timeout::with_timeout;
use crate::config::TokenConfig;
use crate::config::initialize::InitializeString;
use crate::config::profile::{Profile, ProfileChoice};
use crate::config::trust::Fingerprint;
use crate::ledger::{Completion, Entry, Failure, Initialize, Process, Recorder};
use crate::metrics;
use crate::poison::IgnorePoison as _;

/// A PKCS#11 module, mapped and initialised.
#[derive(Debug)]
pub struct Module {
    path: PathBuf,
    pkcs11: Pkcs11,
    pub(super) raw: Option<RawCalls>,
    description: ModuleDescription,
    initialize: Option<InitializeString>,
    profile: Profile,
    gate: CallGate,
    /// When a session of this process last signed.
    last_signature: Mutex<Option<Instant>>,
    // False if other code in this process called C_Initialize first: then this crate must not call C_Finalize.
    initialized_here: bool,
}

/// Access to the module's functions; the module is not reinitialised while this exists.
#[derive(Debug)]
pub(super) struct ModuleCall<'a> {
    module: &'a Module,
    active: ActiveCall<'a>,
}

impl Deref for ModuleCall<'_> {
    type Target = Pkcs11;

    fn deref(&self) -> &Pkcs11 {
        &self.module.pkcs11
    }
}

impl ModuleCall<'_> {
    /// The module's information functions.
    pub(super) fn information(&self) -> InfoCalls<'_> {
        InfoCalls {
            pkcs11: &self.module.pkcs11,
            raw: self.module.raw.as_ref(),
            profile: self.module.profile,
        }
    }

    /// The functions that are called directly; `None` where their list cannot be obtained.
    pub(super) fn raw(&self) -> Option<&RawCalls> {
        self.module.raw.as_ref()
    }

    /// The generation of the handles that this call may use.
    pub(super) fn generation(&self) -> u64 {
        self.active.generation()
    }
}

/// The least time between two reinitialisations of a module.
const MIN_REINIT_INTERVAL: Duration = Duration::from_millis(100);
/// How long a reinitialisation waits for the calls in progress.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// The modules of this process. Each is loaded once: C_Initialize may be called once per process, and one user's C_Finalize
/// would end the sessions of another. C_Finalize is not called at exit: some modules crash in their own destructors after
/// it (SoftHSMv2#729, libp11#500).
static LOADED: Mutex<BTreeMap<PathBuf, Arc<Module>>> = Mutex::new(BTreeMap::new());

impl Module {
    /// Checks the file, maps it and calls C_Initialize; a module that is loaded already is shared.
    ///
    /// # Errors
    /// The file is missing or not safe, a variable of `env` is not set, `working_dir` is
    /// not safe or not this process's working directory, the file is no PKCS#11 module, or
    /// C_Initialize fails.
    pub fn load(config: &TokenConfig) -> Result<Arc<Self>, TokenError> {
        let path = Self::check(config)?;
        let (initialize, profile) = (config.initialize.clone(), config.profile(None));
        let loaded = with_timeout(TokenOperation::Module, config.start_timeout, move || {
            Self::load_file(path, initialize, profile)
        });
        loaded.map_err(|error| match error {
            TokenError::Initialize(_) => module_config::explain_failure(error, config),
            other => other,
        })
    }

    /// Checks what must be right before the file is mapped. Returns its path with links resolved.
    fn check(config: &TokenConfig) -> Result<PathBuf, TokenError> {
        Self::check_environment(config)?;
        if let Some(folder) = &config.working_dir {
            module_dir::check(folder)?;
        }
        module_file::check(config)
    }

    fn load_file(
        path: PathBuf,
        initialize: Option<InitializeString>,
        profile: ProfileChoice,
    ) -> Result<Arc<Self>, TokenError> {
        let mut loaded = LOADED.lock().ignore_poison();
        if let Some(module) = loaded.get(&path) {
            if module.initialize != initialize {
                return Err(TokenError::Initialize(Fault::answer(
                    "this process has initialised the module with another `initialize`",
                )));
            }
            return Ok(Arc::clone(module));
        }
        let module = Arc::new(Self::initialize(&path, initialize, profile)?);
        loaded.insert(path, Arc::clone(&module));
        Ok(module)
    }

    fn initialize(
        path: &Path,
        initialize: Option<InitializeString>,
        profile: ProfileChoice,
    ) -> Result<Self, TokenError> {
        let not_a_module = |detail: String| TokenError::ModuleLoad {
            path: path.to_owned(),
            detail,
        };
        let pkcs11 = Pkcs11::new(path).map_err(|error| match error {
            Error::LibraryLoading(error) => not_a_module(error.to_string()),
            other => not_a_module(Fault::of(other).to_string()),
        })?;
        let raw = RawCalls::load(path).map_err(|fault| not_a_module(fault.to_string()))?;
        let initialized_here = call_initialize(&pkcs11, raw.as_ref(), initialize.as_ref())
            .map_err(|fault| TokenError::Initialize(fault.of_profile(profile.profile)))?;
        let information = InfoCalls {
            pkcs11: &pkcs11,
            raw: raw.as_ref(),
            profile: profile.profile,
        };
        let description = information.module().map_err(TokenError::Initialize)?;
        let profile = profile.confirmed(description.identification()).profile;
        Ok(Self {
            path: path.to_owned(),
            pkcs11,
            raw,
            description,
            initialize,
            profile,
            gate: CallGate::default(),
            last_signature: Mutex::new(None),
            initialized_here,
        })
    }

    /// Begins a call; waits while the module is being reinitialised.
    pub(super) fn call(&self) -> Result<ModuleCall<'_>, Fault> {
        self.gate
            .enter()
            .map(|active| self.admit(active))
            .ok_or_else(|| Fault::answer("the module has been initialising for too long"))
    }

    /// Begins a call without a wait. `None`: the module is being reinitialised.
    pub(super) fn try_call(&self) -> Option<ModuleCall<'_>> {
        self.gate.try_enter().map(|active| self.admit(active))
    }

    fn admit<'a>(&'a self, active: ActiveCall<'a>) -> ModuleCall<'a> {
        ModuleCall {
            module: self,
            active,
        }
    }

    /// How many times the module was reinitialised: handles of an earlier generation are stale.
    pub(crate) fn generation(&self) -> u64 {
        self.gate.generation()
    }

    /// Records that a session has signed.
    pub(super) fn signed(&self) {
        *self.last_signature.lock().ignore_poison() = Some(Instant::now());
    }

    /// Calls C_Finalize and C_Initialize, to recover a module whose daemon or connection to the HSM was lost. All session
    /// and object handles of `generation`, the one whose handles failed, become invalid, also those of other users of this
    /// module in this process. No call may be in progress, so a call that hangs prevents it.
    ///
    /// A module that has signed since `failed_since`, for whomever, serves, and is left alone: returns whether it was
    /// reinitialised.
    ///
    /// # Errors
    /// A call hangs, other code initialised the module first, or C_Initialize fails.
    pub(crate) fn reinitialize(
        &self,
        generation: u64,
        failed_since: Instant,
        recorder: &Recorder,
    ) -> Result<bool, TokenError> {
        if !self.initialized_here {
            return Err(TokenError::Initialize(Fault::answer(
                "something else in this process initialised the module, so it is not ours to do it again",
            )));
        }
        if self.generation() != generation {
            return Ok(true);
        }
        let serves = || {
            let last = *self.last_signature.lock().ignore_poison();
            last.is_some_and(|at| at >= failed_since)
        };
        if serves() {
            return Ok(false);
        }
        let entry = recorder
            .begin(&Entry::Initialize(Initialize {
                module: &self.path.to_string_lossy(),
                process: Process::current(),
            }))
            .map_err(TokenError::Ledger)?;
        let reinitialized = self.gate.drain_and_run(
            generation,
            MIN_REINIT_INTERVAL,
            DRAIN_TIMEOUT,
            serves,
            || {
                #[expect(
                    clippy::disallowed_methods,
                    reason = "no call is in progress, and this crate initialised the module"
                )]
                let finalized = self.pkcs11.clone().finalize();
                // Only the result of C_Initialize matters.
                drop(finalized);
                call_initialize(&self.pkcs11, self.raw.as_ref(), self.initialize.as_ref())
                    .map(|_| ())
                    .map_err(|fault| fault.of_profile(self.profile))
            },
        );
        if let Ok(result) = &reinitialized {
            metrics::module_reinitialized(result.is_ok());
        }
        let not_called = |class| Failure {
            class,
            ckr: None,
            function: None,
        };
        match &reinitialized {
            Ok(Ok(())) => entry
                .finish(Completion::default())
                .map_err(TokenError::Ledger)?,
            Ok(Err(fault)) => entry.fail(fault.failure()),
            Err(NotReinitialized::AlreadyDone) => entry.fail(not_called("already-done")),
            Err(NotReinitialized::Unneeded) => entry.fail(not_called("serves")),
            Err(NotReinitialized::CallsInProgress(_)) => entry.fail(not_called("call-hangs")),
        }
        match reinitialized {
            Ok(Ok(())) => {
                tracing::warn!(module = %self.path.display(), "the module was initialised again");
                Ok(true)
            }
            Ok(Err(fault)) => Err(TokenError::Initialize(fault)),
            Err(NotReinitialized::AlreadyDone) => Ok(true),
            Err(NotReinitialized::Unneeded) => Ok(false),
            Err(NotReinitialized::CallsInProgress(calls)) => {
                Err(TokenError::Initialize(Fault::answer(format!(
                    "{calls} calls hang in the module, and it cannot be initialised under them"
                ))))
            }
        }
    }

    /// The file that was mapped, links resolved.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// SHA-256 of the file's current content.
    ///
    /// # Errors
    /// The file cannot be read any more.
    pub fn fingerprint(&self) -> io::Result<Fingerprint> {
        Fingerprint::of_file(&self.path)
    }

    /// The module's CK_INFO.
    pub fn description(&self) -> &ModuleDescription {
        &self.description
    }

    /// Checks that the variables of `env` are set. The module may call getenv at any time in any thread, and a change of the
    /// environment while threads run is undefined, so they cannot be set at this point.
    fn check_environment(config: &TokenConfig) -> Result<(), TokenError> {
        match config
            .env
            .iter()
            .find(|(name, value)| std::env::var_os(name).is_none_or(|now| now != value.as_str()))
        {
            Some((name, _)) => Err(TokenError::EnvironmentNotApplied { name: name.clone() }),
            None => Ok(()),
        }
    }
}
