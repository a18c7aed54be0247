//! The command: parse, set up logs, run, print error and hint, exit code.

mod commands;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use hsm_mtls::standard_error;

fn main() -> ExitCode {
    commands::log::prepare();
    let code = match commands::usage::parse() {
        Ok(cli) => run(cli),
        Err(code) => code,
    };
    standard_error::flush();
    ExitCode::from(code as u8)
}

fn run(cli: commands::Cli) -> hsm_mtls::exit_code::ExitCode {
    let as_json = cli.global.json;
    commands::log::start(&cli);
    if !cli.is_of_the_proxy() {
        standard_error::release();
    }
    // A panic is a bug of ours and has an exit code of its own; the hook has printed it already.
    match catch_unwind(AssertUnwindSafe(|| commands::run(cli))) {
        Ok(Ok(code)) => {
            commands::output::rest(as_json);
            code
        }
        Ok(Err(error)) => commands::output::failure(&error, as_json),
        Err(_) => commands::output::bug(as_json),
    }
}
