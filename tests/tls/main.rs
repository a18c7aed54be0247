//! TLS to the hub: certificates of both sides, addresses, and the diagnosis of a handshake that fails.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

#[path = "../common/mod.rs"]
mod common;

mod addresses;
mod certificate_validity;
mod client_certificate;
mod diagnoses;
mod generations;
mod handshake_runs;
mod jwt_layer;
mod nginx;
mod server_trust;
