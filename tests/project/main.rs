//! The repository itself: structure of the sources, `deploy/`, the demo, and the scripts for tokens.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

#[path = "../common/mod.rs"]
mod common;

mod alerts;
mod architecture;
mod demo;
mod deploy;
mod hsm_families;
mod random_numbers;
mod regimes;
mod softhsm_scripts;
