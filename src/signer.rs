//! The signer: the signing engine in a process of its own. The vendor's library, the PIN and the ledger are in no other
//! process.
//!
//! ```text
//! supervisor ── starts both, watches heartbeats, kills what hangs, restarts what ended
//!    ├─ signer      module, PIN, sessions, ledger; answers requests: describe the key, sign, report health
//!    └─ front end   TLS and HTTP; never maps the module, never sees the PIN
//! ```
//!
//! A vendor's PKCS#11 module is native code of unknown quality. In a process of its own it ends nothing else when it
//! crashes, and a call that hangs can be killed. An attacker who takes over the process that parses the network finds
//! neither PIN nor module there. The signer is sent messages, never hashes, and checks each: see `policy` and
//! `docs/signer.md`.
//!
//! A program that supervises its signer itself (the commands `verify` and `request`, and a library user) calls
//! [`identity`]. The proxy has three processes (`front_end_supervisor`).

mod channel;
mod channel_key;
mod channel_pool;
mod child_process;
#[cfg(feature = "front-end")]
pub mod config_reader;
mod error;
mod fd_passing;
#[cfg(feature = "front-end")]
mod file_watch;
mod frame;
#[cfg(feature = "front-end")]
pub mod front_end_supervisor;
pub mod hardening;
mod health;
mod heartbeat;
mod ignored_signals;
mod jwt_policy;
mod launch;
mod open_key;
mod pin_file_watch;
mod policy;
#[cfg(feature = "front-end")]
pub mod process_launcher;
mod rate_limit;
#[cfg(feature = "front-end")]
mod reload_protocol;
mod remote_key;
mod replacement;
mod request_handler;
pub mod sandbox;
mod sealed_configuration;
pub mod service;
pub mod service_user;
#[cfg(feature = "front-end")]
mod signer_group;
#[cfg(feature = "front-end")]
mod signer_plan;
pub mod signer_supervisor;
mod state;
#[cfg(feature = "front-end")]
mod supervisor_reload;
#[cfg(feature = "front-end")]
pub mod system_call_filter;
mod tls12_policy;
mod tls12_transcript;
#[cfg(feature = "front-end")]
mod watched_name;

use std::sync::Arc;
use std::time::Duration;

use rustix::event::Timespec;

use crate::config::Config;
use crate::diagnostic::Diagnostic as _;
use crate::engine::ReportedError;
use crate::identity::{Identity, IdentityFiles};
pub use error::SignerError;
pub use health::SignerHealth;
pub use remote_key::RemoteKey;
#[cfg(feature = "front-end")]
pub(crate) use remote_key::SignerChannels;
use signer_supervisor::{Launch, SupervisedSigner};

/// The maximum number of channels: each is a descriptor in three processes.
const MAX_CHANNELS: usize = 256;

/// The number of steps before a signer's first response, each with the timeout `start_timeout`: module, token, login, key.
const START_STEPS: u32 = 4;

/// The number of channels: one for each session of each key that signs, and one for health checks. So tokens of JWT Auth leave
/// handshakes their own.
pub fn channels(config: &Config) -> usize {
    let of_sig4 = config.for_sig4().map_or(0, |sig4| sig4.token.sessions);
    let sessions = config.token.sessions + of_sig4;
    sessions.min(MAX_CHANNELS - 1) + 1
}

/// The numbers of channels to the signers of a proxy, one for each token that holds a key for the connections.
#[cfg(feature = "front-end")]
pub fn channels_of_each(config: &Config) -> Vec<usize> {
    let config = config.clone().for_proxy();
    config.of_each_key_token().iter().map(channels).collect()
}

/// Opens chain and key as configured, with a signer process for the key: [`Identity::open`] with the module in another
/// process.
///
/// # Errors
/// One of the stages fails. An error of the signer process is as that process reported it.
pub fn identity(config: &Config, launch: Launch) -> Result<Identity, SignerError> {
    identity_over(channels(config), config, launch)
}

/// [`identity`] with so many channels: for a caller that signs less at once.
///
/// # Errors
/// As [`identity`].
pub fn identity_over(
    channels: usize,
    config: &Config,
    launch: Launch,
) -> Result<Identity, SignerError> {
    // Files first: an error in them is found without a login.
    let files = IdentityFiles::read(config)?;
    let (signer, sockets) = SupervisedSigner::start(launch, channels)?;
    let key = Arc::new(RemoteKey::connect(config, sockets, Some(signer))?);
    key.identity_of(config, files)
}

impl ReportedError {
    /// The form of an error that another process is sent.
    pub(crate) fn of(error: SignerError) -> Self {
        let (message, hint) = (error.to_string(), error.hint());
        let exit = error.exit_code() as u8;
        let transient = error.is_transient();
        let device_state = error.device_state().map(str::to_owned);
        let class = error.class();
        Self {
            message,
            hint,
            class: class.to_owned(),
            exit,
            transient,
            device_state,
        }
    }
}

/// A timeout of `poll`.
fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: duration.as_secs() as i64,
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}

fn not_understood(why: &str) -> SignerError {
    SignerError::Description {
        why: why.to_owned(),
    }
}
