//! What the tests stand on that is not the product: a Trust Framework, and hubs to call.
#![allow(dead_code, reason = "each test uses its own part of the fixtures")]
#![allow(unreachable_pub, reason = "pub is what the tests may use")]
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a fixture that cannot be set up is a failed test"
)]

pub mod hub;
pub mod nginx;
pub mod trust_framework;
