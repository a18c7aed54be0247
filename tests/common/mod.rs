//! Test fixtures: a token, a Trust Framework, hubs to call, and a bank that has them.
#![allow(
    dead_code,
    reason = "each test binary uses its own part of the fixtures"
)]
#![allow(unreachable_pub, reason = "pub is what the tests may use")]
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a fixture that cannot be set up is a failed test"
)]

pub mod addresses;
pub mod applications;
pub mod audit;
pub mod bank;
pub mod blocking_client;
pub mod broken_stream;
pub mod chaos;
pub mod child_test;
pub mod contract;
pub mod der_mutation;
pub mod early_hub;
pub mod error_report;
pub mod failing_disk;
pub mod forward_proxy;
pub mod frames_hub;
pub mod generated_page;
pub mod hostile_front_end;
pub mod hsm_config;
pub mod hub;
pub mod json_schema;
pub mod jwt_verdicts;
pub mod kryoptic_token;
pub mod ledger_file;
pub mod ledger_records;
pub mod misbehaving;
pub mod nginx;
pub mod nss_token;
pub mod odd_forward_proxy;
pub mod opencryptoki;
pub mod openssl;
pub mod paced_requests;
pub mod pem_forms;
pub mod persona;
pub mod pin_change;
pub mod pkcs11_spy;
pub mod poll;
pub mod ports;
pub mod procfs;
pub mod programs;
pub mod proxy;
pub mod published_files;
pub mod published_keys;
pub mod raw_answer;
pub mod raw_hub;
pub mod raw_requests;
pub mod remote_token;
pub mod renewal;
pub mod second_token;
pub mod service_users;
pub mod sig4;
pub mod sig4_onboarding;
pub mod signer_process;
pub mod softhsm;
pub mod system_call;
pub mod three_processes;
pub mod tls12_handshake;
pub mod token_objects;
pub mod tpm_token;
pub mod trust_framework;
pub mod whole_path;
pub mod whole_rotation;
pub mod wrong_pin;
