//! `verify`: mutual TLS with both services of the hub, and the evidence file.

use std::path::PathBuf;

use crate::verify::evidence_file::Evidence;
use crate::verify::{self, OwnRevocation, VerifyReport};
use clap::Args;
use hsm_mtls::internal::certificate::revocation::REVOKED_HINT;
use hsm_mtls::internal::config::trust::Fingerprint;
use hsm_mtls::internal::exit_code::ExitCode;

use super::error::Error;
use super::output_file::{DEFAULT_MODE, OutputFile, OutputOption};
use super::{CommandError, Global, config, jwks, output, setup, signer};

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
    config::ignored_variable(&config)
        .iter()
        .for_each(|note| output::remark(note));
    // The file is checked before anything is sent: evidence that cannot be written would have to be made again.
    let option = OutputOption {
        content: "the evidence",
        path: args.evidence.as_deref(),
        force: args.force,
        mode: DEFAULT_MODE,
        json: global.json,
    };
    let file = OutputFile::claim(&option, &[&config])?;
    let to_stdout = file.as_ref().is_some_and(OutputFile::is_stdout);
    let open = || signer::identity(global, &config).map_err(Error::from);
    let mut verified = setup::runtime()?.block_on(verify::verify(&config, open));
    if let Ok(report) = &mut verified
        && let Some(sig4) = &mut report.sig4
    {
        sig4.key_set = Some(jwks::preflight(&config, &sig4.certificate)?);
    }
    let written = file.map_or(Ok(()), |file| {
        let evidence = match &verified {
            Ok(report) => Evidence::of(report),
            Err(error) => Evidence::of_failure(&config, error),
        };
        write_evidence(file, &evidence)
    });
    // The error of `verify` comes before that of the file.
    if let (Err(write_error), Err(_)) = (&written, &verified) {
        output::remark(&write_error.to_string());
    }
    let report = verified.map_err(CommandError::stage)?;
    if global.json {
        output::json(&report)?;
    } else if !to_stdout {
        print(&report)?;
    }
    written?;
    Ok(report.exit_code())
}

pub(super) fn print(report: &VerifyReport) -> Result<(), CommandError> {
    let certificate = &report.certificate;
    output::heading(&format!("C3 of the {} environment", report.environment))?;
    output::fields(&[
        ("subject", certificate.subject.clone()),
        ("issuer", certificate.issuer.clone()),
        ("valid until", certificate.not_after.clone()),
        ("x5t#S256", certificate.x5t_s256.clone()),
        ("key", certificate.key.clone()),
        (
            "pair",
            format!(
                "proved by a signed challenge in {:.1} ms",
                certificate.proof_millis
            ),
        ),
    ])?;
    print_revocation(certificate.revocation.as_ref())?;
    for service in &report.services {
        output::heading(&format!("\n{} ({})", service.name, service.origin))?;
        output::steps(service.steps.list())?;
        if let Some(id) = &service.interaction_id {
            output::fields(&[("x-fapi-interaction-id", id.clone())])?;
        }
    }
    if let Some(sig4) = &report.sig4 {
        output::heading("\nSig4, for JWT Auth")?;
        output::fields(&[
            ("kid", sig4.kid.clone()),
            ("valid until", sig4.not_after.clone()),
            ("key", sig4.key.clone()),
        ])?;
        print_revocation(sig4.revocation.as_ref())?;
        if let Some(key_set) = &sig4.key_set {
            output::fields(&[("JWKS", key_set.source.clone())])?;
            output::steps(key_set.steps.list())?;
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
    for (key, own) in report.revoked() {
        let detail = &own.detail;
        output::verdict(
            false,
            &format!("our {key} certificate is REVOKED: {detail}; {REVOKED_HINT}"),
        )?;
    }
    Ok(())
}

fn print_revocation(own: Option<&OwnRevocation>) -> Result<(), CommandError> {
    let row = own.map(|own| ("revocation", own.detail.clone()));
    output::fields(row.as_slice())
}

/// Writes the evidence file, and prints its path and its fingerprint, which go into the onboarding ticket.
fn write_evidence(file: OutputFile, evidence: &Evidence<'_>) -> Result<(), CommandError> {
    let mut text = serde_json::to_vec_pretty(evidence)?;
    text.push(b'\n');
    let path = file.path().display().to_string();
    file.write(&text)?;
    output::remark(&format!(
        "evidence is in {path} ({})",
        Fingerprint::of(&text)
    ));
    Ok(())
}
