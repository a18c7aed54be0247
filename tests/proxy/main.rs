//! `hsm-mtls proxy` as a service: who may call it, its processes, life cycle, health and logs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

#[path = "../common/mod.rs"]
mod common;

mod access_control;
mod browser_requests;
mod ca_generations;
mod client_programs;
mod failures;
mod hostile_callers;
mod hostile_heads;
mod jwt_auth;
mod jwt_hub_clock;
mod jwt_key_set;
mod jwt_outages;
mod jwt_reload;
mod jwt_second_token;
mod jwt_verdicts;
mod key_renewal;
mod large_crl;
mod lifecycle;
mod operations;
mod output_streams;
mod ownership;
mod pin_change;
mod plain_regime;
mod processes;
mod readiness;
mod reload_watch;
mod resumption;
mod revocation;
mod root_start;
mod same_user;
mod several_certificates;
mod several_tokens;
mod token_states;
mod users;
