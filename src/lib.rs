//! Mutual TLS with a client key that never leaves its PKCS#11 token.
//!
//! hsm-mtls proves who a bank is on every outbound TLS connection to the API hub of the UAE's Open Finance scheme. The
//! private key stays in an HSM, which makes the handshake's signature; this crate verifies the signature before it is
//! sent. A handshake carries the client certificate or fails: it is never anonymous.
//!
//! | entry point | for |
//! |---|---|
//! | `reqwest::client` (feature `reqwest`, on by default) | a ready `reqwest::Client` |
//! | [`Client`] | single requests over HTTP/1.1, a connection for each |
//! | [`Tls`] | a `rustls::ClientConfig` for another HTTP stack |
//! | [`Identity`] | certificate and key, opened once and shared by several clients |
//! | [`Ledger`] | an application's own store of the records of each use of the key |
//!
//! ```no_run
//! use std::path::Path;
//!
//! use hsm_mtls::{Attendance, Config};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let config = Config::load(Path::new("/etc/hsm-mtls/preprod.toml"))?;
//! let client = hsm_mtls::reqwest::client(&config, Attendance::Unattended)?;
//! let url = format!("{}/hello-mtls", config.hub.services[0].origin);
//! let response = client.get(url).send().await?;
//! # Ok(())
//! # }
//! ```
//!
//! Every error implements [`Diagnostic`]: its message says what is wrong, and its hint what to do.
//!
//! The command `hsm-mtls`, with the local proxy and the custody audit, is the package `hsm-mtls-cli`.
//!
//! # Modules
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
//! Each module uses only those to its left. An operation on the token is recorded in the ledger before it, and its
//! outcome after it. The modules from token to engine may run in a process of their own, the signer. `ARCHITECTURE.md`
//! has the whole drawing.
//!
//! # Threads and blocking
//!
//! [`Identity::open`] and [`Sign::sign`] block: they call the PKCS#11 module. Handshakes of [`Client`] and of the
//! `reqwest::Client` are polled on threads of their own, so that a slow token blocks no task of an async runtime.
//!
//! # Environment variables and working directory of the PKCS#11 module
//!
//! An application sets the variables of `[[token]] env` before it starts its first thread: the module may read its
//! environment at any time, and a change of the environment while other threads run is undefined behaviour. The
//! command does this by itself. The same holds for `working_dir`: the working directory is the application's, which changes
//! into it, or is started there.

// Independent of the stages.
mod access_diagnosis;
mod accounts;
mod backoff;
mod diagnostic;
mod exit_code;
mod log_target;
mod lossy_writer;
pub mod metrics;
mod owner_and_mode;
mod poison;
mod polling;
mod rfc3339;
mod shell_quote;
mod standard_error;
mod state_file;
mod truncated_list;
mod uuid_format;
mod working_dir;

// What is signed beside handshakes.
mod jwt_claims;

// The schemes, as data.
mod regime;

// The stages, in their order: each uses only those before it.
mod config;
mod ledger;
mod token;

mod key;

mod engine;

mod certificate;
mod csr;
mod identity;
mod jwks;
pub mod jwt;
mod tls;

mod signer;

mod client;

pub use certificate::CertificateError;
pub use client::{Client, ClientError, HubResponse, INTERACTION_ID};
pub use config::origin::Origin;
pub use config::{Config, ConfigError, HubConfig, HubService, Service};
pub use diagnostic::Diagnostic;
pub use engine::{EngineError, Peer, Purpose, Sign, SignRequest, Signature, SignatureFuture};
pub use exit_code::ExitCode;
pub use identity::{Identity, IdentityError, Sig4Error, SigningIdentity};
pub use key::KeyError;
pub use key::scheme::Scheme;
pub use ledger::{Entry, Ledger, LedgerError};
pub use tls::{Tls, TlsError};
pub use token::TokenError;
pub use token::guard::Attendance;

#[cfg(feature = "reqwest")]
pub use client::reqwest;

/// The modules that the command of this workspace uses. They are not part of the public interface: anything in them may
/// change with any version.
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
        jwks,
        jwt,
        jwt_claims,
        key,
        ledger,
        log_target,
        lossy_writer,
        metrics,
        owner_and_mode,
        poison,
        regime,
        rfc3339,
        signer,
        standard_error,
        state_file,
        tls,
        token,
        truncated_list,
        uuid_format,
        working_dir,
    );
}

#[cfg(test)]
mod error_tests;
