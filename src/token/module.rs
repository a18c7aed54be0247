//! The vendor's library: checked before it is mapped, loaded and initialised once per process.
//!
//! A module is native code that runs with all our rights and is handed the PIN. So the file and every
//! folder and link on the way to it must belong to root or to us, and nobody else may write there.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};

use super::TokenError;
use super::fault::Fault;
use super::gate::{Gate, Inside, Shut};
use super::module_files;
use super::raw::RawCalls;
use super::start::{Start, in_time};
use crate::config::TokenConfig;
use crate::config::trust::Fingerprint;
use crate::ledger::{Completion, Entry, Failure, Initialize, Process, Recorder};
use crate::metrics;
use crate::path_permissions::{WritableBy, writable_by_others};
use crate::poison::IgnorePoison as _;

/// A PKCS#11 module, mapped and initialised.
#[derive(Debug)]
pub struct Module {
    path: PathBuf,
    pkcs11: Pkcs11,
    pub(super) raw: Option<RawCalls>,
    description: ModuleDescription,
    gate: Gate,
    // Something else in this process called C_Initialize before us: it is not ours to end.
    ours: bool,
}

/// Somebody is inside the module: it is not initialised again meanwhile.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pkcs11: &'a Pkcs11,
    inside: Inside<'a>,
}

impl Deref for Call<'_> {
    type Target = Pkcs11;

    fn deref(&self) -> &Pkcs11 {
        self.pkcs11
    }
}

impl Call<'_> {
    /// Which C_Initialize the handles of now are of.
    pub(super) fn generation(&self) -> u64 {
        self.inside.generation()
    }
}

/// What a module says of itself (CK_INFO).
#[derive(Clone, Debug)]
pub struct ModuleDescription {
    /// libraryDescription
    pub description: String,
    /// manufacturerID
    pub manufacturer: String,
    /// libraryVersion
    pub version: (u8, u8),
    /// cryptokiVersion
    pub cryptoki: (u8, u8),
}

/// A module is initialised again this often at the most.
const PAUSE: Duration = Duration::from_millis(100);
/// How long the calls that are inside get to come back.
const PATIENCE: Duration = Duration::from_secs(2);

/// Workers call from several threads, so the module must use the system's locks.
fn arguments() -> CInitializeArgs {
    CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)
}

/// One owner of each module per process: C_Initialize is once, and the last handle that a second
/// owner dropped must not take the sessions of the first. There is no C_Finalize at exit: with some
/// modules it crashes in their own destructors (SoftHSMv2#729, libp11#500).
static LOADED: Mutex<BTreeMap<PathBuf, Arc<Module>>> = Mutex::new(BTreeMap::new());

impl Module {
    /// Checks the file, maps it and calls C_Initialize; a module that is loaded already is shared.
    ///
    /// # Errors
    /// The file is missing or not safe, its environment is not in place, or it is not a PKCS#11
    /// module that initialises.
    pub fn load(config: &TokenConfig) -> Result<Arc<Self>, TokenError> {
        Self::check_environment(config)?;
        let path = Self::check_file(config)?;
        let loaded = in_time(Start::Module, config.start_timeout, move || {
            Self::load_file(path)
        });
        loaded.map_err(|error| match error {
            TokenError::Initialize(_) => module_files::explained(error, config),
            other => other,
        })
    }

    fn load_file(path: PathBuf) -> Result<Arc<Self>, TokenError> {
        let mut loaded = LOADED.lock().ignore_poison();
        if let Some(module) = loaded.get(&path) {
            return Ok(Arc::clone(module));
        }
        let module = Arc::new(Self::initialize(&path)?);
        loaded.insert(path, Arc::clone(&module));
        Ok(module)
    }

    fn initialize(path: &Path) -> Result<Self, TokenError> {
        let not_a_module = |detail: String| TokenError::ModuleLoad {
            path: path.to_owned(),
            detail,
        };
        let pkcs11 = Pkcs11::new(path).map_err(|error| match error {
            Error::LibraryLoading(error) => not_a_module(error.to_string()),
            other => not_a_module(Fault::of(other).to_string()),
        })?;
        let raw = RawCalls::load(path).map_err(|fault| not_a_module(fault.to_string()))?;
        let ours = match pkcs11.initialize(arguments()) {
            Ok(()) => true,
            // Something else in this process initialised it: just as good, but not ours to end.
            Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => false,
            Err(error) => return Err(TokenError::Initialize(Fault::of(error))),
        };
        let info = pkcs11
            .get_library_info()
            .map_err(|error| TokenError::Initialize(Fault::of(error)))?;
        let version = |version: cryptoki::types::Version| (version.major(), version.minor());
        let description = ModuleDescription {
            description: info.library_description().to_owned(),
            manufacturer: info.manufacturer_id().to_owned(),
            version: version(info.library_version()),
            cryptoki: version(info.cryptoki_version()),
        };
        Ok(Self {
            path: path.to_owned(),
            pkcs11,
            raw,
            description,
            gate: Gate::default(),
            ours,
        })
    }

    /// Goes inside, for as long as the answer lives.
    pub(super) fn call(&self) -> Result<Call<'_>, Fault> {
        self.called(self.gate.enter())
            .ok_or_else(|| Fault::answer("the module has been initialising for too long"))
    }

    /// Goes inside at once, or not at all.
    pub(super) fn call_now(&self) -> Option<Call<'_>> {
        self.called(self.gate.enter_now())
    }

    fn called<'a>(&'a self, inside: Option<Inside<'a>>) -> Option<Call<'a>> {
        let pkcs11 = &self.pkcs11;
        inside.map(|inside| Call { pkcs11, inside })
    }

    /// Which C_Initialize the handles of now are of.
    pub(crate) fn generation(&self) -> u64 {
        self.gate.generation()
    }

    /// C_Finalize and C_Initialize: what heals a module whose process, daemon or connection behind
    /// it has gone. Every session and object handle of `generation`, the one that failed, ends with
    /// it, also those of other users of this module in this process. Nobody may be inside, so a
    /// call that hangs prevents it.
    ///
    /// # Errors
    /// A call hangs, the module is not ours to initialise, or C_Initialize fails.
    pub(crate) fn initialize_again(
        &self,
        generation: u64,
        recorder: &Recorder,
    ) -> Result<(), TokenError> {
        if !self.ours {
            return Err(TokenError::Initialize(Fault::answer(
                "something else in this process initialised the module, so it is not ours to do it again",
            )));
        }
        if self.generation() != generation {
            return Ok(());
        }
        let begun = recorder
            .begin(&Entry::Initialize(Initialize {
                module: &self.path.to_string_lossy(),
                process: Process::current(),
            }))
            .map_err(TokenError::Ledger)?;
        let renewed = self.gate.renew(generation, PAUSE, PATIENCE, || {
            #[expect(
                clippy::disallowed_methods,
                reason = "nobody is inside, and it is ours"
            )]
            let ended = self.pkcs11.clone().finalize();
            // Whatever it said: what counts is whether C_Initialize succeeds now.
            drop(ended);
            self.pkcs11.initialize(arguments()).map_err(Fault::of)
        });
        if let Ok(result) = &renewed {
            metrics::initialized_again(result.is_ok());
        }
        let not_called = |class| Failure {
            class,
            ckr: None,
            function: None,
        };
        match &renewed {
            Ok(Ok(())) => begun
                .finish(Completion::default())
                .map_err(TokenError::Ledger)?,
            Ok(Err(fault)) => begun.fail(fault.failure()),
            Err(Shut::AlreadyDone) => begun.fail(not_called("already-done")),
            Err(Shut::StillInside(_)) => begun.fail(not_called("call-hangs")),
        }
        match renewed {
            Ok(Ok(())) => {
                tracing::warn!(module = %self.path.display(), "the module was initialised again");
                Ok(())
            }
            Ok(Err(fault)) => Err(TokenError::Initialize(fault)),
            Err(Shut::AlreadyDone) => Ok(()),
            Err(Shut::StillInside(calls)) => Err(TokenError::Initialize(Fault::answer(format!(
                "{calls} calls hang in the module, and it cannot be initialised under them"
            )))),
        }
    }

    /// The file that was mapped, links resolved.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// SHA-256 of the file as it is now.
    ///
    /// # Errors
    /// It cannot be read any more.
    pub fn fingerprint(&self) -> io::Result<Fingerprint> {
        fs::read(&self.path).map(|bytes| Fingerprint::of(&bytes))
    }

    /// What the module says of itself.
    pub fn description(&self) -> &ModuleDescription {
        &self.description
    }

    /// The module reads its variables with getenv at any time, from any thread. Changing the
    /// environment under running threads is undefined, so it has to be right from the start.
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

    /// Who could swap or edit the file? Returns the path with its links resolved.
    fn check_file(config: &TokenConfig) -> Result<PathBuf, TokenError> {
        let missing = |source| TokenError::ModuleMissing {
            path: config.module.clone(),
            source,
        };
        let path = fs::canonicalize(&config.module).map_err(missing)?;
        let file = fs::metadata(&path).map_err(missing)?;
        if !file.is_file() {
            return Err(TokenError::ModuleLoad {
                path,
                detail: "it is not a file".to_owned(),
            });
        }
        // WritableBy the name that was configured: whoever can turn a link on the way to it chooses the module.
        let loose = writable_by_others(&config.module).map_err(missing)?;
        if let Some(first) = loose.first() {
            let why = match (first.by, first.is_folder) {
                (WritableBy::Owner(_), _) => "it belongs to another user",
                (_, true) => "others may write to this folder, and so put another module there",
                (_, false) => "others may write to it",
            };
            return Err(TokenError::ModuleUnsafe {
                path: first.place.clone(),
                why: why.to_owned(),
            });
        }
        if let Some(pin) = config.module_sha256 {
            let found = fs::read(&path)
                .map(|bytes| Fingerprint::of(&bytes))
                .map_err(missing)?;
            if found != pin {
                return Err(TokenError::ModuleChanged {
                    path,
                    expected: pin,
                    found,
                });
            }
        }
        Ok(path)
    }
}
