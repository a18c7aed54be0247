//! The signer process: its separation from the front end, its supervision, and its protocol.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

#[path = "../common/mod.rs"]
mod common;

mod health;
mod hostile_front_end;
mod hung_calls;
mod module_crashes;
mod privilege_separation;
mod reload_protocol;
mod replacement;
