//! The command: parse, set up logs, run, print error and hint, exit code.

mod commands;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = match commands::usage::parse() {
        Ok(cli) => cli,
        Err(code) => return ExitCode::from(code as u8),
    };
    let as_json = cli.global.json;
    commands::log::start(&cli);
    // A panic is a bug of ours and has an exit code of its own; the hook has printed it already.
    let code = match catch_unwind(AssertUnwindSafe(|| commands::run(cli))) {
        Ok(Ok(code)) => {
            commands::output::rest(as_json);
            code
        }
        Ok(Err(error)) => commands::output::failure(&error, as_json),
        Err(_) => commands::output::bug(as_json),
    };
    ExitCode::from(code as u8)
}
