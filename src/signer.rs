//! The engine in a process of its own: the vendor's library, the PIN and the ledger behind a wall.
//!
//! ```text
//! supervisor ── starts, watches, ends, starts again
//!    ├─ signer      module, PIN, sessions, ledger; answers: which key, sign this, and: how are you
//!    └─ front end   TLS and HTTP; never maps the module, never sees the PIN
//! ```
//!
//! A vendor's PKCS#11 module is native code of unknown quality. In a process of its own it takes
//! nothing with it when it crashes, a call that hangs can be ended, and whoever takes over the
//! process that parses the network finds neither PIN nor module there. The signer is sent messages,
//! never hashes, and looks at each: see [`SignerError`] and `docs/signer.md`.
//!
//! A program that is its own supervisor (the commands `verify` and `request`, and a library user)
//! calls [`identity`]; the proxy has three processes.

mod channel;
mod desk;
mod error;
mod frame;
#[cfg(feature = "proxy")]
pub mod front;
mod handover;
pub mod hardening;
mod health;
#[cfg(feature = "proxy")]
mod offer;
mod phase;
mod policy;
pub mod sandbox;
pub mod service;
#[cfg(feature = "proxy")]
mod succession;
pub mod supervisor;
mod walled;
mod watch;

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::config::pin::PinSource;
use crate::config::trust::Fingerprint;
use crate::engine::{EngineError, ReportedError, Sign, SignRequest, Signature};
use crate::error::Error;
use crate::identity::{Files, Identity, InToken};
use crate::key::public::PublicKey;
use crate::key::scheme::Scheme;
use crate::metrics::KeyMetrics;
use crate::token::holder::Holder;
use channel::{Channels, Reply};
pub use error::SignerError;
use frame::{Request, SignFrame};
use hardening::Part;
pub use health::SignerHealth;
use supervisor::{Launch, Supervised};
pub use walled::WalledKey;

/// The most channels: each is a descriptor in three processes.
const MOST_CHANNELS: usize = 256;

/// What comes before the first answer: module, token, login and key, each with `start_timeout`.
const STARTS: u32 = 4;

/// A signer that is well says at once how it is.
const AT_ONCE: Duration = Duration::from_secs(1);

/// What a signer says of its key.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    key: String,
    spki: String,
    schemes: Vec<String>,
    holder: Holder,
    certificate: Option<String>,
    hardening: Vec<Part>,
}

/// A key that signs in a signer process.
#[derive(Debug)]
pub struct RemoteKey {
    channels: Channels,
    /// For the question how it is: it must not wait behind signatures.
    apart: Option<Channels>,
    uri: String,
    public_key: PublicKey,
    spki: Fingerprint,
    schemes: Vec<Scheme>,
    timeout: Duration,
    meter: KeyMetrics,
    hardening: Vec<Part>,
    // Last: the signer goes when nobody can ask it any more.
    supervised: Option<Supervised>,
}

/// As many channels as sessions sign at once, and one to ask how the signer is.
pub fn channels(config: &Config) -> usize {
    config.token.sessions.min(MOST_CHANNELS - 1) + 1
}

/// Chain and key as configured, with a signer process for the key: as [`Identity::open`], but for
/// where the module is.
///
/// # Errors
/// Any of it fails; the error of the stage, in the signer's words where it is the signer's.
pub fn identity(config: &Config, launch: Launch) -> Result<Identity, Error> {
    // Files first: what can be said without the token costs no login.
    let files = Files::read(config)?;
    let (supervised, sockets) = Supervised::start(launch, channels(config))?;
    let (key, in_token) = RemoteKey::over(config, sockets, Some(supervised))?;
    files.identity(config, Arc::new(key), in_token)
}

impl RemoteKey {
    /// Asks a signer for its key.
    ///
    /// # Errors
    /// The signer has none, or there is no signer.
    pub fn over(
        config: &Config,
        mut sockets: Vec<OwnedFd>,
        supervised: Option<Supervised>,
    ) -> Result<(Self, InToken), Error> {
        let apart = (sockets.len() > 1).then(|| sockets.pop()).flatten();
        let apart = apart.map(|socket| Channels::new(vec![socket]));
        let channels = Channels::new(sockets);
        let patience = match &config.token.pin {
            // A person is not to be hurried.
            PinSource::Prompt | PinSource::ProtectedPath => Duration::from_secs(3600),
            _ => config.token.start_timeout * STARTS + config.token.timeout,
        };
        let json = match channels.ask(&Request::Describe, Instant::now() + patience)? {
            Reply::Described(json) => json,
            Reply::Failed(told) => return Err(EngineError::Reported(Box::new(told)).into()),
            Reply::Signed(_) | Reply::Health(_) => {
                return Err(not_understood("the answer to another question").into());
            }
        };
        let described: Description =
            serde_json::from_slice(&json).map_err(|error| not_understood(&error.to_string()))?;
        let spki = base64(&described.spki)?;
        let public_key = PublicKey::from_spki(&spki)
            .map_err(|kind| not_understood(&format!("a public key of an unknown kind: {kind}")))?;
        let schemes: Vec<_> = Scheme::ALL
            .into_iter()
            .filter(|scheme| described.schemes.iter().any(|name| name == scheme.name()))
            .collect();
        let mut schemes = schemes;
        // Best first, as the signer has them.
        schemes.sort_by_key(|scheme| {
            described
                .schemes
                .iter()
                .position(|name| name == scheme.name())
        });
        let certificate = described.certificate.as_deref().map(base64).transpose()?;
        let key = Self {
            channels,
            apart,
            meter: KeyMetrics::new(&described.key),
            uri: described.key,
            spki: public_key.fingerprint(),
            public_key,
            schemes,
            timeout: config.token.timeout,
            hardening: described.hardening,
            supervised,
        };
        let in_token = InToken {
            certificate,
            holder: Some(described.holder),
        };
        Ok((key, in_token))
    }

    /// What is in force in the signer process.
    pub fn hardening(&self) -> &[Part] {
        &self.hardening
    }

    /// The process id of the signer, where it is this process's own.
    pub fn pid(&self) -> Option<u32> {
        self.supervised.as_ref()?.pid()
    }

    fn ask(&self, request: &SignRequest<'_>) -> Result<Vec<u8>, EngineError> {
        channel::fits(request.message)?;
        let left = request.deadline.saturating_duration_since(Instant::now());
        let frame = SignFrame {
            key: self.spki.0,
            purpose: request.purpose,
            scheme: request.scheme,
            deadline: frame::clock() + left,
            peer: request.peer.name,
            interaction_id: request.peer.interaction_id,
            message: request.message,
        };
        match self.channels.ask(&Request::Sign(frame), request.deadline)? {
            Reply::Signed(bytes) => Ok(bytes),
            Reply::Failed(told) => Err(EngineError::Reported(Box::new(told))),
            Reply::Described(_) | Reply::Health(_) => Err(another_question()),
        }
    }

    /// How the signer is, in its own words. Blocks, for a second at the most.
    ///
    /// # Errors
    /// It does not answer ([`EngineError::SignerSilent`]).
    pub fn health(&self) -> Result<SignerHealth, EngineError> {
        let channels = self.apart.as_ref().unwrap_or(&self.channels);
        match channels.ask(&Request::Health, Instant::now() + AT_ONCE) {
            Ok(Reply::Health(json)) => SignerHealth::from_json(&json),
            Ok(Reply::Failed(told)) => Err(EngineError::Reported(Box::new(told))),
            Ok(Reply::Described(_) | Reply::Signed(_)) => Err(another_question()),
            Err(EngineError::Deadline(_) | EngineError::Stopped) => Err(EngineError::SignerSilent),
            Err(error) => Err(error),
        }
    }
}

impl Sign for RemoteKey {
    fn key_uri(&self) -> String {
        self.uri.clone()
    }

    fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    fn schemes(&self) -> &[Scheme] {
        &self.schemes
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.timeout
    }

    fn sign(&self, request: &SignRequest<'_>) -> Result<Signature, EngineError> {
        let started = Instant::now();
        let result = self.ask(request);
        let elapsed = started.elapsed();
        let class = result.as_ref().map_or_else(EngineError::class, |_| "good");
        self.meter.signature(request.purpose.name(), class, elapsed);
        let (waiting, in_use, most) = self.channels.in_use();
        self.meter.queue(waiting, in_use, most);
        result.map(|bytes| Signature { bytes, elapsed })
    }
}

impl ReportedError {
    /// What is said of an error to another process.
    pub(crate) fn of(error: Error) -> Self {
        let (message, hint) = (error.to_string(), error.hint());
        let exit = error.exit_code() as u8;
        let transient = error.is_transient();
        let class = match error {
            Error::Engine(error) => error.class(),
            Error::Token(error) => EngineError::from(error).class(),
            Error::Key(error) => EngineError::from(error).class(),
            Error::Ledger(error) => EngineError::from(error).class(),
            _ => "configuration",
        };
        Self {
            message,
            hint,
            class: class.to_owned(),
            exit,
            transient,
        }
    }
}

fn base64(text: &str) -> Result<Vec<u8>, SignerError> {
    STANDARD
        .decode(text)
        .map_err(|error| not_understood(&error.to_string()))
}

fn another_question() -> EngineError {
    EngineError::SignerGone {
        why: "it answered another question".to_owned(),
    }
}

fn not_understood(why: &str) -> SignerError {
    SignerError::Description {
        why: why.to_owned(),
    }
}
