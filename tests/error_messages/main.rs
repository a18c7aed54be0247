//! What an operator reads when something is wrong: each message, hint and exit code.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

#[path = "../common/mod.rs"]
mod common;

mod certificate;
mod distinct;
mod file_access;
mod mechanism;
mod module;
mod standard_error;
mod token;
mod unsupported_keys;
mod untrusted_input;
