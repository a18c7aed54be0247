//! The configuration file: what is refused, and what `config check` says of a good one.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

#[path = "../common/mod.rs"]
mod common;

mod environments;
mod invalid;
mod log_folder;
mod named_files;
mod ownership;
mod proxy;
mod sig4;
mod users;
