//! `verify`: shows the certificate to CM and HH, and keeps evidence of it.

use std::path::PathBuf;

use crate::verify::evidence::Evidence;
use crate::verify::{self, Report};
use clap::Args;
use hsm_mtls::internal::config::trust::Fingerprint;
use hsm_mtls::internal::exit_code::ExitCode;

use super::error::Error;
use super::output_file::{OutputFile, USUAL, Wanted};
use super::{CommandError, Global, output, setup, signer};

#[derive(Args)]
pub(super) struct VerifyArgs {
    /// Keep a record for the onboarding ticket in this file: JSON, in words first, without secrets
    #[arg(long, value_name = "FILE")]
    evidence: Option<PathBuf>,
    /// Replace a file that is there; what the configuration names is never written over
    #[arg(long, requires = "evidence")]
    force: bool,
}

pub(super) fn verify(global: &Global, args: VerifyArgs) -> Result<ExitCode, CommandError> {
    let config = setup::config(global)?;
    // Before anything is sent: a proof that cannot be kept is a proof to be made again.
    let wanted = args.evidence.as_deref().map(|path| Wanted {
        what: "the evidence",
        path,
        force: args.force,
        mode: USUAL,
    });
    let file = wanted.map(|wanted| OutputFile::claim(&wanted, &[&config]));
    let file = file.transpose()?;
    if global.json {
        OutputFile::beside_json(file.as_ref())?;
    }
    let alone = file.as_ref().is_some_and(OutputFile::is_stdout);
    let open = || signer::identity(global, &config).map_err(Error::from);
    let verified = setup::runtime()?.block_on(verify::verify(&config, open));
    let kept = file.map_or(Ok(()), |file| {
        let evidence = match &verified {
            Ok(report) => Evidence::of(report),
            Err(error) => Evidence::of_failure(&config, error),
        };
        keep(file, &evidence)
    });
    // What was found comes first, also where it could not be kept.
    if let (Err(unkept), Err(_)) = (&kept, &verified) {
        output::remark(&unkept.to_string());
    }
    let report = verified.map_err(CommandError::stage)?;
    if global.json {
        output::json(&report)?;
    } else if !alone {
        print(&report)?;
    }
    kept?;
    Ok(report.exit_code())
}

fn print(report: &Report) -> Result<(), CommandError> {
    let shown = &report.certificate;
    output::heading(&format!("C3 of the {} environment", report.environment))?;
    output::fields(&[
        ("subject", shown.subject.clone()),
        ("issuer", shown.issuer.clone()),
        ("valid until", shown.not_after.clone()),
        ("x5t#S256", shown.x5t_s256.clone()),
        ("key", shown.key.clone()),
        (
            "pair",
            format!(
                "proved by a signed challenge in {:.1} ms",
                shown.proof_millis
            ),
        ),
    ])?;
    for service in &report.services {
        output::heading(&format!("\n{} ({})", service.name, service.origin))?;
        output::steps(service.steps.list())?;
        if let Some(id) = &service.interaction_id {
            output::fields(&[("x-fapi-interaction-id", id.clone())])?;
        }
    }
    output::line("")?;
    for service in &report.services {
        let state = if service.established {
            "established"
        } else {
            "NOT established"
        };
        output::verdict(
            service.established,
            &format!("{}: mutual TLS {state}", service.name),
        )?;
    }
    Ok(())
}

/// Says where it is, and what it has to be: for the ticket.
fn keep(file: OutputFile, evidence: &Evidence<'_>) -> Result<(), CommandError> {
    let mut text = serde_json::to_vec_pretty(evidence)?;
    text.push(b'\n');
    let place = file.path().display().to_string();
    file.keep(&text)?;
    output::remark(&format!(
        "evidence is in {place} ({})",
        Fingerprint::of(&text)
    ));
    Ok(())
}
