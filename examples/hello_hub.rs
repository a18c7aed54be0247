//! A `reqwest::Client` whose TLS key stays in the token, in ten lines.
//!
//! ```text
//! hello_hub CONFIG      the module's variables must be set, as `[[token]] env` has them
//! ```
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for the command line"
)]

use std::error::Error;
use std::process::ExitCode;

use hsm_mtls::{Attendance, Config};

const USAGE: &str =
    "usage: hello_hub CONFIG      prints what the first service of CONFIG says to GET /hello-mtls";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let path = match arguments.as_slice() {
        [help] if ["-h", "--help"].contains(&help.as_str()) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        [path] if !path.starts_with('-') => path,
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match hello(path).await {
        Ok(answer) => {
            println!("{answer}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn hello(path: &str) -> Result<String, Box<dyn Error>> {
    let config = Config::load(path.as_ref())?;
    let client = hsm_mtls::reqwest::client(&config, Attendance::Unattended)?;
    let url = format!("{}/hello-mtls", config.hub.services[0].origin);
    let answer = client.get(url).send().await?.error_for_status()?;
    Ok(answer.text().await?)
}
