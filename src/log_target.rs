//! Targets of log events that a command compares: it omits an event whose error it ends with.

/// A signature was not made: `engine` logs its class and its error.
pub const ENGINE: &str = "hsm_mtls::engine";

/// A request to the hub had no answer.
pub const CLIENT: &str = "hsm_mtls::client";

/// The signer process could not open its key.
pub const SIGNER_SERVICE: &str = "hsm_mtls::signer::service";
