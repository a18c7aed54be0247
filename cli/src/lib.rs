//! The command `hsm-mtls`: what it does beside what the library of that name does. `main.rs` runs it, and the tests of
//! the workspace look into it.
//!
//! `commands` is at the top and uses all others; `proxy`, `verify` and `audit` know nothing of one another.

pub mod audit;
pub mod check_steps;
pub mod proxy;
pub mod verify;

mod commands;

pub use commands::main;

#[cfg(test)]
mod error_tests;
