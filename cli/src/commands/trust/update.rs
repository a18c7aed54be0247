//! `trust update`: fetches, checks and writes CAs and CRLs, step by step. A step that fails leaves its file as it was, and keeps
//! no other from being taken.

use std::path::PathBuf;

use hsm_mtls::internal::diagnostic::Diagnostic;
use hsm_mtls::internal::exit_code::ExitCode;
use serde_json::json;

use super::super::error::Error;
use super::super::{CommandError, Global, output, setup};
use super::{UpdateArgs, anchors, crls};
use crate::check_steps::Steps;

pub(super) fn update(global: &Global, args: &UpdateArgs) -> Result<ExitCode, CommandError> {
    let config = setup::whole_config_to_read(global)?;
    // Whoever else could change these files would decide what is trusted.
    config.check_trust_files().map_err(CommandError::stage)?;
    let mut steps = Steps::default();
    let mut changed = Vec::new();
    if !args.crls {
        take(&mut steps, &mut changed, anchors::NAME, || {
            anchors::update(&config, &args.accept)
        });
    }
    if !args.anchors {
        for crl in &config.trust.crls {
            let Some(url) = &crl.url else {
                let detail = format!(
                    "{}: not fetched, because `crls` has no `url` for it",
                    crl.file.display()
                );
                steps.seen(crls::NAME, crate::check_steps::Outcome::Good, detail);
                continue;
            };
            take(&mut steps, &mut changed, crls::NAME, || {
                crls::update(&config, &crl.file, url)
            });
        }
        if config.trust.crls.is_empty() {
            let (detail, hint) = crls::none_configured(config.environment);
            steps.note(crls::NAME, detail, hint);
        }
    }
    if global.json {
        output::json(&json!({ "schema": 0, "changed": changed, "steps": steps }))?;
    } else {
        output::heading(&format!("trust of the {} environment", config.environment))?;
        output::steps(steps.list())?;
        if !changed.is_empty() {
            let text = "a running proxy takes what is new at its next reload (`systemctl reload hsm-mtls-proxy`, or SIGHUP)";
            output::note(text)?;
        }
    }
    Ok(steps.exit_code())
}

/// What came of one file.
pub(super) struct Taken {
    /// What was found, in words.
    pub(super) detail: String,
    /// The file, if it was written.
    pub(super) written: Option<PathBuf>,
}

fn take(
    steps: &mut Steps,
    changed: &mut Vec<PathBuf>,
    name: &'static str,
    update: impl FnOnce() -> Result<Taken, Error>,
) {
    steps.begin();
    match update() {
        Ok(taken) => {
            steps.good(name, taken.detail);
            changed.extend(taken.written);
        }
        Err(error) => steps.bad(name, error.to_string(), error.hint(), error.exit_code()),
    }
}
