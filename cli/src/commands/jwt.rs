//! `jwt mint`, `jwt show` and `jwt verify`: the tokens of JWT Auth by hand, to try a call or to find out why one is refused.

mod mint;
mod show;
mod token_input;
mod verify;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use hsm_mtls::internal::exit_code::ExitCode;

use super::jwks::Source;
use super::{CommandError, Global};
pub(super) use verify::judge_token;

#[derive(Subcommand)]
pub(super) enum JwtCommand {
    /// Sign one token and print it, for whoever has the C3 connection
    ///
    /// Who has the token is the bank for as long as it lives: it is printed to a pipe or a file only, unless --yes-print
    /// is given.
    Mint(MintArgs),
    /// Header and claims of a token, with the times in words; never its signature
    Show(ShowArgs),
    /// What the hub would say of a token, check by check
    ///
    /// Ends with 1 where a check fails. The hub also remembers the ids that it has seen, which is not checked.
    Verify(VerifyArgs),
}

#[derive(Args)]
pub(super) struct MintArgs {
    /// A JSON object of further claims; those that the configuration sets are refused
    ///
    /// The signer process signs none of them: the token is signed in the process of this command.
    #[arg(long, value_name = "FILE")]
    claims: Option<PathBuf>,
    /// Print the token also on a terminal, and with --json
    #[arg(long)]
    yes_print: bool,
}

#[derive(Args)]
pub(super) struct ShowArgs {
    /// The file with the token; - is standard input
    #[arg(default_value = "-")]
    file: PathBuf,
}

#[derive(Args)]
pub(super) struct VerifyArgs {
    /// The file with the token; - is standard input
    file: PathBuf,
    /// The key set: a file or an https URL; without it, `jwks` of [sig4] or the derived URL
    #[arg(long, value_name = "FILE|URL", value_parser = Source::parse)]
    jwks: Option<Source>,
    /// Judge it at this time, as 2026-11-24T14:45:11Z or in seconds after 1970, instead of now
    #[arg(long, value_name = "TIME", value_parser = verify::parse_time)]
    at: Option<u64>,
}

pub(super) fn run(global: &Global, command: JwtCommand) -> Result<ExitCode, CommandError> {
    match command {
        JwtCommand::Mint(args) => mint::mint(global, args),
        JwtCommand::Show(args) => show::show(global, &args),
        JwtCommand::Verify(args) => verify::verify(global, args),
    }
}
