//! `ledger verify` checks the hash chain of the ledger; `ledger show` prints its records.

mod follow;
mod show;
mod time_range;
mod use_counts;

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use hsm_mtls::internal::engine::Purpose;
use hsm_mtls::internal::exit_code::ExitCode;
use hsm_mtls::internal::ledger::hash_chain::ChainHead;
use hsm_mtls::internal::ledger::record_reader::RecordReader;
use hsm_mtls::internal::ledger::verify::{self, ChainSummary, VerifyError};
use serde_json::{Value, json};

use super::{CommandError, Global, output, setup};

/// All purposes.
const PURPOSES: [Purpose; 6] = [
    Purpose::Tls13ClientAuth,
    Purpose::Tls12ClientAuth,
    Purpose::Csr,
    Purpose::Proof,
    Purpose::SelfTest,
    Purpose::Jwt,
];

#[derive(Subcommand)]
pub(super) enum LedgerCommand {
    /// Check that no record was changed, removed or put in; ends with 1 and its number where one was
    Verify {
        /// A head that was exported earlier: shows whether the end was cut off since
        #[arg(long, value_name = "SEQ:HASH")]
        expect_head: Option<ChainHead>,
    },
    /// What the key was used for, when, and for whom
    ///
    /// With --json each record as it stands in the file, a line each.
    Show(ShowArgs),
}

#[derive(Args)]
pub(super) struct ShowArgs {
    /// From this time on (UTC): a day as 2026-11-24, or as far as 2026-11-24T14:45:11.2
    #[arg(long, value_name = "TIME", value_parser = time_range::parse_time)]
    since: Option<time_range::Time>,
    /// Until this time, with all that begins with it
    #[arg(long, value_name = "TIME", value_parser = time_range::parse_time)]
    until: Option<time_range::Time>,
    /// What the key was used for
    #[arg(long, value_parser = PossibleValuesParser::new(PURPOSES.map(Purpose::name)))]
    purpose: Option<String>,
    /// A host, or a host:port
    #[arg(long)]
    peer: Option<String>,
    /// Only how many, by day, purpose, result and key
    #[arg(long)]
    counts: bool,
    /// Go on with what comes, until interrupted
    #[arg(long)]
    follow: bool,
}

pub(super) fn run(global: &Global, command: &LedgerCommand) -> Result<ExitCode, CommandError> {
    match command {
        LedgerCommand::Verify { expect_head } => verify(global, expect_head.as_ref()),
        LedgerCommand::Show(args) => show(global, args),
    }
}

fn verify(global: &Global, expected: Option<&ChainHead>) -> Result<ExitCode, CommandError> {
    match verify::verify(&ledger_file(global)?, expected) {
        Ok(summary) => {
            if global.json {
                output::json(&json!({ "schema": 0, "holds": true, "history": summary }))?;
            } else {
                print(&summary, expected)?;
            }
            Ok(ExitCode::Good)
        }
        Err(VerifyError::Unreadable(error)) => Err(CommandError::stage(error)),
        Err(flaw) => {
            if global.json {
                output::json(&json!({
                    "schema": 0,
                    "holds": false,
                    "flaw": flaw.to_string(),
                    "sequence": flaw.sequence(),
                    "history": Value::Null,
                }))?;
            } else {
                output::verdict(false, "the chain does NOT hold")?;
                output::line(&format!("  {flaw}"))?;
                output::remark("keep the files as they are: they are evidence");
            }
            Ok(ExitCode::Finding)
        }
    }
}

fn show(global: &Global, args: &ShowArgs) -> Result<ExitCode, CommandError> {
    time_range::check(args)?;
    let reader = RecordReader::open(&ledger_file(global)?).map_err(CommandError::stage)?;
    show::show(global, args, reader)
}

/// The configured ledger file.
///
/// # Errors
/// No ledger is configured.
fn ledger_file(global: &Global) -> Result<PathBuf, CommandError> {
    let configured = setup::whole_config_to_read(global)?
        .ledger
        .map(|ledger| ledger.file);
    configured.ok_or_else(|| {
        CommandError::usage(
            "the configuration names no ledger",
            "write `file` into [ledger]: from then on each use of the key is recorded there",
        )
    })
}

/// Prints the summary of a chain that is intact.
fn print(summary: &ChainSummary, expected: Option<&ChainHead>) -> Result<(), CommandError> {
    let files: Vec<_> = summary.files.iter().map(|file| file.display()).collect();
    let mut rows = vec![("records", format!("{} to {}", summary.first, summary.last))];
    rows.extend(files.iter().map(|file| ("file", file.to_string())));
    rows.push(("signatures asked for", summary.attempts.to_string()));
    if !summary.unfinished.is_empty() {
        let numbers: Vec<_> = summary.unfinished.iter().map(u64::to_string).collect();
        rows.push((
            "without an outcome",
            format!(
                "record {}: the process was ended, or is at it",
                numbers.join(", ")
            ),
        ));
    }
    if summary.repairs > 0 {
        let lines = format!("{} lines that a crash tore, accounted for", summary.repairs);
        rows.push(("repairs", lines));
    }
    if summary.torn > 0 {
        let bytes = format!(
            "{} bytes without an end; the next record accounts for them",
            summary.torn
        );
        rows.push(("torn", bytes));
    }
    rows.push(("head", summary.head.clone()));
    output::verdict(true, "the chain holds")?;
    output::fields(&rows)?;
    if expected.is_none() {
        output::remark(
            "whether its end was cut off shows only with --expect-head and a head that was kept elsewhere",
        );
    }
    Ok(())
}
