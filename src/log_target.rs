//! Targets of log events that a command compares: it omits an event whose error it ends with, and shows those of the proxy's
//! lifecycle without `-v`.

/// The proxy is ready, a file was replaced, it was reloaded.
pub const LIFECYCLE: &str = "hsm_mtls::proxy::lifecycle";

/// A signature was not made: `engine` logs its class and its error.
pub const ENGINE: &str = "hsm_mtls::engine";

/// A request to the hub had no answer.
pub const CLIENT: &str = "hsm_mtls::client";

/// The signer process could not open its key.
pub const SIGNER_SERVICE: &str = "hsm_mtls::signer::service";
