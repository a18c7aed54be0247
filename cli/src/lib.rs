//! The command `hsm-mtls`: all that is not in the library of that name. A library crate of its own, so that the tests of the
//! workspace can use its modules; `main.rs` only calls [`main`].
//!
//! `commands` uses all other modules; `proxy`, `verify` and `audit` do not use one another.

pub mod audit;
pub mod check_steps;
pub mod proxy;
pub mod verify;

mod commands;

pub use commands::main;

#[cfg(test)]
mod error_tests;
