//! The vendor's library: checked before it is mapped, loaded and initialised once per process.
//!
//! A module is native code that runs with all our rights and is handed the PIN. So the file and
//! every folder above it must belong to root or to us, and nobody else may write there.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};

use super::TokenError;
use super::fault::Fault;
use super::raw::RawSign;
use crate::config::TokenConfig;
use crate::config::trust::Fingerprint;

/// A PKCS#11 module, mapped and initialised.
#[derive(Debug)]
pub struct Module {
    path: PathBuf,
    pub(super) pkcs11: Pkcs11,
    pub(super) raw: RawSign,
    description: ModuleDescription,
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
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
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
        let raw = RawSign::load(path).map_err(|fault| not_a_module(fault.to_string()))?;
        // Workers call from several threads, so the module must use the system's locks.
        let args = CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK);
        match pkcs11.initialize(args) {
            // Something else in this process initialised it: just as good, but not ours to end.
            Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
            Err(error) => return Err(TokenError::Initialize(Fault::of(error))),
        }
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
        })
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
        let unsafe_at = |place: &Path, why: &str| TokenError::ModuleUnsafe {
            path: place.to_owned(),
            why: why.to_owned(),
        };
        if !file.is_file() {
            return Err(TokenError::ModuleLoad {
                path,
                detail: "it is not a file".to_owned(),
            });
        }
        let me = fs::metadata("/proc/self").map_err(missing)?.uid();
        for place in path.ancestors() {
            let meta = fs::metadata(place).map_err(missing)?;
            if meta.uid() != 0 && meta.uid() != me {
                return Err(unsafe_at(place, "it belongs to another user"));
            }
            // In a sticky folder (/tmp) nobody else can replace what is ours.
            let sticky = meta.is_dir() && meta.mode() & 0o1000 != 0;
            if meta.mode() & 0o022 != 0 && !sticky {
                let why = if meta.is_dir() {
                    "others may write to this folder, and so put another module there"
                } else {
                    "others may write to it"
                };
                return Err(unsafe_at(place, why));
            }
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
