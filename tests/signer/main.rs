//! The signer process: its separation from the front end, its supervision, and its protocol.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

#[path = "../common/mod.rs"]
mod common;

mod front_end_system_calls;
mod health;
mod hostile_front_end;
mod hung_calls;
mod jwt_requests;
mod module_crashes;
mod older_kernels;
mod privilege_separation;
mod reload_protocol;
mod replacement;
mod supervisor_system_calls;
mod system_call_arguments;
mod tls12_handshakes;
mod tls12_messages;
