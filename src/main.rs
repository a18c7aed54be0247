//! The command: parse, set up logs, run, print error and hint, exit code.

mod commands;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = commands::Cli::parse();
    let as_json = cli.global.json;
    commands::log::start(&cli.global);
    // A panic is a bug of ours and has an exit code of its own; the hook has printed it already.
    let code = match catch_unwind(AssertUnwindSafe(|| commands::run(cli))) {
        Ok(Ok(code)) => code,
        Ok(Err(error)) => commands::output::failure(&error, as_json),
        Err(_) => hsm_mtls::error::ExitCode::Bug,
    };
    ExitCode::from(code as u8)
}
