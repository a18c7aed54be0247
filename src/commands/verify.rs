//! `verify`: shows the certificate to CM and HH, and keeps evidence of it.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use hsm_mtls::config::trust::Fingerprint;
use hsm_mtls::error::ExitCode;
use hsm_mtls::verify::evidence::Evidence;
use hsm_mtls::verify::{self, Report};

use super::{CommandError, Global, VerifyArgs, output, signer, start};

pub(super) fn verify(global: &Global, args: VerifyArgs) -> Result<ExitCode, CommandError> {
    let config = start::config(global)?;
    // Before anything is sent: a proof that cannot be kept is a proof to be made again.
    let file = args.evidence.map(EvidenceFile::create).transpose()?;
    let open = || signer::identity(global, &config);
    let verified = start::runtime()?.block_on(verify::verify(&config, open));
    let kept = file.map_or(Ok(()), |file| {
        file.keep(&match &verified {
            Ok(report) => Evidence::of(report),
            Err(error) => Evidence::of_failure(&config, error),
        })
    });
    // What was found comes first, also where it could not be kept.
    if let (Err(unkept), Err(_)) = (&kept, &verified) {
        output::remark(&unkept.to_string());
    }
    let report = verified.map_err(CommandError::Stage)?;
    if global.json {
        output::json(&report)?;
    } else {
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

/// A new file: earlier evidence, or what a slip of the keyboard names, is never overwritten.
struct EvidenceFile {
    path: PathBuf,
    file: File,
}

impl EvidenceFile {
    fn create(path: PathBuf) -> Result<Self, CommandError> {
        let file = File::create_new(&path).map_err(|error| unkept(&path, &error))?;
        Ok(Self { path, file })
    }

    fn keep(mut self, evidence: &Evidence<'_>) -> Result<(), CommandError> {
        let mut text = serde_json::to_vec_pretty(evidence)?;
        text.push(b'\n');
        self.file
            .write_all(&text)
            .and_then(|()| self.file.sync_all())
            .map_err(|error| unkept(&self.path, &error))?;
        output::remark(&format!(
            "evidence is in {} ({})",
            self.path.display(),
            Fingerprint::of(&text)
        ));
        Ok(())
    }
}

fn unkept(path: &Path, error: &std::io::Error) -> CommandError {
    CommandError::usage(
        format!("the evidence cannot be kept in {}: {error}", path.display()),
        "name a file that does not exist yet, in a folder that this user can write to; evidence is never overwritten",
    )
}
