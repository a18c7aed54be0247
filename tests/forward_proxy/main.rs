//! The way to the hub through a forward proxy: real ones, what they refuse, what goes wrong with them, and what they get to see.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

#[path = "../common/mod.rs"]
mod common;

mod failures;
mod fetches;
mod library;
mod local_proxy;
mod real_ones;
mod secrets;
mod setting;
