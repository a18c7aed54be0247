//! What a run found, as the client's process hands it to the test's, and what the hub saw of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::common::hub::Hub;

pub struct Outcome {
    pub client: ClientOutcome,
    pub hub: HubOutcome,
}

/// What the client's process counted.
#[derive(Default, Deserialize, Serialize)]
pub struct ClientOutcome {
    pub seconds: u64,
    pub requests: u64,
    pub good: u64,
    /// By class of the error.
    pub failed: BTreeMap<String, u64>,
    /// Errors that the token does not explain; the first of them.
    pub unexplained: Vec<String>,
    /// Released by the engine, and refused by a verification that is not the engine's.
    pub wrong_signatures: u64,
    pub slowest_request_ms: u64,
    pub slowest_signature_ms: u64,
    /// Faults after which the token was well for two seconds, and a signature was still not made.
    pub not_recovered: Vec<String>,
    pub faults: Vec<FaultFelt>,
    /// Heap in use in KiB, each second.
    pub heap: Vec<u64>,
    /// Resident memory in KiB, each second.
    pub resident: Vec<u64>,
    pub most_threads: u64,
    pub files_at_the_end: u64,
}

/// A kind of fault, and what it did to those who asked meanwhile.
#[derive(Clone, Deserialize, Serialize)]
pub struct FaultFelt {
    pub fault: String,
    pub times: u64,
    pub requests: u64,
    pub failed: u64,
}

/// What the other side of the handshakes saw.
pub struct HubOutcome {
    pub good: u64,
    /// Handshakes that the client gave up.
    pub given_up: u64,
    /// CertificateVerify messages that did not verify.
    pub wrong_signatures: u64,
}

impl HubOutcome {
    pub fn of(hub: &Hub) -> Self {
        let mut outcome = Self {
            good: 0,
            given_up: 0,
            wrong_signatures: 0,
        };
        for connection in hub.connections() {
            match connection.handshake {
                Ok(()) => outcome.good += 1,
                // Without a CertificateVerify there is nothing that could be wrong with one.
                Err(_) if connection.signature_scheme.is_none() => outcome.given_up += 1,
                Err(_) => outcome.wrong_signatures += 1,
            }
        }
        outcome
    }
}
