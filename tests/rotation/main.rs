//! `rotate`: a key and its certificate are replaced by new ones, side by side, while a proxy serves; whatever interrupts it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

#[path = "../common/mod.rs"]
mod common;

mod by_hand;
mod c3;
mod crashes;
mod order;
mod real_tokens;
mod scene;
mod sig4;
