//! The ledger: every use of the key is on record, and a changed record is found.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

#[path = "../common/mod.rs"]
mod common;

mod concurrent_processes;
mod crashes;
mod disk_errors;
mod file_permissions;
mod fsync;
mod queries;
mod readers;
mod records;
mod tampering;
