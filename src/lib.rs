//! Mutual TLS with a client key that never leaves its PKCS#11 token.
//!
//! hsm-mtls proves who a bank is on every outbound TLS connection. The private key stays in an HSM;
//! the handshake's signature is made there and verified here before it is sent.
//!
//! - `reqwest::client` (feature `reqwest`, on by default) makes a ready `reqwest::Client` from a configuration.
//! - [`Client`] is a client of its own: HTTP/1.1, a connection for each request.
//! - [`Tls`] makes the `rustls::ClientConfig` for another HTTP stack, and says what cannot be enforced on that path.
//!
//! ```no_run
//! use std::path::Path;
//!
//! use hsm_mtls::{Attendance, Config};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let config = Config::load(Path::new("/etc/hsm-mtls/preprod.toml"))?;
//! let client = hsm_mtls::reqwest::client(&config, Attendance::Unattended)?;
//! # Ok(())
//! # }
//! ```
//!
//! The command `hsm-mtls`, with the local proxy and the custody audit, is the package `hsm-mtls-cli`.
//!
//! # Stages
//!
//! ```text
//! a TOML file
//!     │ parse, don't validate
//!     ▼
//!  config ──► token ──► key ──► engine ──► certificate · csr · identity ──► tls ──► client
//!             one       one     deadline   chain and key, proved            one     one
//!             slot,     key,    verify     to be a pair                     rustls  mTLS
//!             one       its     record                                      signer  request
//!             login     SPKI
//! ```
//!
//! Each stage that uses the token writes into the ledger before and after. The stages from token to engine may run in
//! a process of their own, the signer. The modules below stand in the order of the stages; each uses those above it
//! only. `ARCHITECTURE.md` has the whole drawing.
//!
//! # The module's environment
//!
//! A program that uses this library sets the variables of `[[token]] env` before it starts any
//! thread: the module reads them whenever it likes, and changing them later is undefined. The
//! command does so by itself.

// What knows no stage.
mod accounts;
mod backoff;
mod diagnostic;
mod exit_code;
mod log_target;
mod lossy_writer;
pub mod metrics;
mod path_access;
mod path_permissions;
mod poison;
mod rfc3339;
mod standard_error;
mod truncated_list;
mod uuid_format;

// The stages, in their order.
mod config;
mod ledger;
mod token;

mod key;

mod engine;

mod certificate;
mod csr;
mod identity;
mod signer;
mod tls;

mod client;

pub use certificate::CertificateError;
pub use client::{Client, ClientError, HubResponse, INTERACTION_ID};
pub use config::{Config, ConfigError};
pub use diagnostic::Diagnostic;
pub use engine::{EngineError, Sign, SignRequest, Signature};
pub use exit_code::ExitCode;
pub use identity::{Identity, IdentityError};
pub use key::KeyError;
pub use ledger::{Ledger, LedgerError};
pub use tls::{Tls, TlsError};
pub use token::TokenError;
pub use token::guard::Attendance;

#[cfg(feature = "reqwest")]
pub use client::reqwest;

/// The stages as the command of this workspace uses them. It is no part of what this crate promises: anything here
/// may change with any version.
#[doc(hidden)]
pub mod internal {
    macro_rules! stages {
        ($($stage:ident),+ $(,)?) => {
            $(pub mod $stage {
                pub use crate::$stage::*;
            })+
        };
    }

    stages!(
        backoff,
        certificate,
        client,
        config,
        csr,
        diagnostic,
        engine,
        exit_code,
        identity,
        key,
        ledger,
        log_target,
        lossy_writer,
        metrics,
        path_permissions,
        poison,
        rfc3339,
        signer,
        standard_error,
        tls,
        token,
        truncated_list,
        uuid_format,
    );
}

#[cfg(test)]
mod error_tests;
