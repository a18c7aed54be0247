//! The PKCS#11 token: login and PIN, signatures, faults of modules, and recovery.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

#[path = "../common/mod.rs"]
mod common;

mod call_count;
mod device_states;
mod ecdsa_encoding;
mod info_structures;
mod login_per_session;
mod login_role;
mod mechanism_faults;
mod mechanisms;
mod metrics;
mod no_pin;
mod persona_logins;
mod persona_outages;
mod personas;
mod pin_concurrent_logins;
mod pin_guard;
mod pin_secrecy;
mod pin_sources;
mod pin_under_other_names;
mod profiles;
mod public_key_mismatch;
mod quirks;
mod real_tokens;
mod recovery;
mod return_values;
mod session_kind;
mod session_loss;
mod slow_token;
mod start_deadlines;
mod state_folder;
mod token_identity;
mod user_name;
mod working_dir;
