//! Mutual TLS with a client key that never leaves its PKCS#11 token.
//!
//! hsm-mtls proves who a bank is on every outbound TLS connection. The private key stays in an HSM;
//! the handshake's signature is made there and verified here before it is sent.
//!
//! ```text
//! a TOML file
//!     │ parse, don't validate
//!     ▼
//!  config ──► token ──► key ──► engine ──► certificate · csr · identity ──► tls ──► client ──► verify
//!             one       one     deadline   chain and key, proved            one      one
//!             slot,     key,    verify     to be a pair                     rustls   mTLS
//!             one       its     record                                      signer   request
//!             login     SPKI
//! ```
//!
//! Each stage that uses the token writes into the `ledger` first, and after it. From token to engine all
//! may be in a process of its own: `signer` stands for it then. The `audit` is on nobody's way: it reads token,
//! key, configuration and ledger, and writes a report.
//!
//! Arrows only go to the right: a stage uses those before it and knows nothing of those after it.
//! The modules stand in that order.
//!
//! A program that uses the library sets the variables of `[[token]] env` before it starts any
//! thread: the module reads them whenever it likes, and changing them later is undefined. The
//! command does so by itself.
//!
//! With the `reqwest` feature, `client::reqwest` makes a ready client in a few lines. With
//! another HTTP stack, [`tls::Tls::unwatched_client_config`] gives the `rustls::ClientConfig`, and
//! says what cannot be enforced on that path.

pub mod config;
pub mod ledger;
pub mod token;

pub mod key;

pub mod engine;

pub mod certificate;
pub mod csr;
pub mod identity;

pub mod signer;

pub mod tls;

pub mod client;

#[cfg(feature = "proxy")]
pub mod proxy;

#[cfg(feature = "audit")]
pub mod audit;

pub mod check_steps;
pub mod verify;

pub mod diagnostic;
pub mod exit_code;
pub mod metrics;
pub mod standard_error;

mod accounts;
#[doc(hidden)]
pub mod backoff;
mod lossy_writer;
mod path_access;
mod path_permissions;
#[doc(hidden)]
pub mod poison;
mod rfc3339;
mod truncated_list;

#[cfg(test)]
mod error_tests;
