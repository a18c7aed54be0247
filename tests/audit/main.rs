//! `hsm-mtls audit`: what it finds of key, token, host and certificate, and the forms of its report.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

#[path = "../common/mod.rs"]
mod common;

mod attributes;
mod certificate;
mod conclusion;
mod environments;
mod extraction_probes;
mod host;
mod key;
mod key_copies;
mod report;
mod sig4;
mod token;
