//! What the tests stand on that is not the product: a token, a Trust Framework, hubs to call,
//! and a bank that has them.
#![allow(dead_code, reason = "each test uses its own part of the fixtures")]
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
pub mod blocking;
pub mod broken_stream;
pub mod by_hand;
pub mod chaos;
pub mod child_test;
pub mod contract;
pub mod disk;
pub mod early;
pub mod frames;
pub mod front_end;
pub mod harness;
pub mod hostile;
pub mod hub;
pub mod misbehaving;
pub mod mutation;
pub mod nginx;
pub mod openssl;
pub mod pem_forms;
pub mod poll;
pub mod programs;
pub mod proxy;
pub mod raw_answer;
pub mod recorded;
pub mod recording;
pub mod records;
pub mod remote;
pub mod renewal;
pub mod sign;
pub mod softhsm;
pub mod spy;
pub mod trust_framework;
pub mod walled;
pub mod wrong_pin;
