//! The commands beside `audit` and `proxy`: what they take, write, print and end with.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

#[path = "../common/mod.rs"]
mod common;

mod cert_formats;
mod cert_install;
mod contracts;
mod csr;
mod evidence;
mod interrupted_login;
mod jwks_check;
mod jwks_servers;
mod jwks_verify;
mod jwt;
mod jwt_deviations;
mod jwt_second_token;
mod key_generation;
mod key_templates;
mod keys;
mod module_crash_and_hang;
mod onboarding;
mod output_files;
mod output_streams;
mod sig4;
mod sig4_refusals;
mod status;
mod status_live;
mod status_screen;
mod status_token;
mod status_trust;
mod terminal;
mod token_check;
mod token_load;
mod token_report;
mod trust_anchors;
mod trust_crl_servers;
mod trust_crls;
mod trust_show;
