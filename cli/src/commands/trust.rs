//! `trust`: the trust anchors and CRLs that the hub's certificate and our own are checked against: what is there, and what is
//! newer. The command writes the files; a running proxy takes them at its next reload.

mod anchors;
mod crls;
mod inventory;
mod show;
mod update;

use clap::{Args, Subcommand};
use hsm_mtls::internal::certificate::anchors::{Anchors, Chain};
use hsm_mtls::internal::certificate::read_file;
use hsm_mtls::internal::certificate::revocation::RevocationStatus;
use hsm_mtls::internal::config::trust::Fingerprint;
use hsm_mtls::internal::config::{CertificateSource, Config, KeyRole};
use hsm_mtls::internal::exit_code::ExitCode;
use std::time::SystemTime;

use super::{CommandError, Global};
pub(super) use inventory::{CrlEntry, ListEntry, TrustInventory, short_name};

#[derive(Subcommand)]
pub(super) enum TrustCommand {
    /// What is trusted: each anchor, each CRL, and whether our own certificates are on one
    ///
    /// Ends with 1 where an anchor has expired, a CRL is outdated or cannot be used, or a certificate of ours is revoked.
    Show,
    /// Fetch the CAs and the CRLs that the Trust Framework publishes, check them, and write the configured files
    ///
    /// A new CA is added only where `pins` names its root, or its fingerprint is confirmed: by --accept, or at the terminal. None
    /// is removed. A CRL is fetched where `crls` has its `url`; what is not newer, whole and signed is not taken. Nothing of the
    /// token is used, and no client certificate offered.
    Update(UpdateArgs),
}

#[derive(Args)]
pub(super) struct UpdateArgs {
    /// Only the CAs
    #[arg(long, conflicts_with = "crls")]
    anchors: bool,
    /// Only the CRLs
    #[arg(long)]
    crls: bool,
    /// The SHA-256 of a new CA certificate that was compared over another channel; for each one
    #[arg(long, value_name = "SHA256", value_parser = parse_fingerprint, conflicts_with = "crls")]
    accept: Vec<Fingerprint>,
}

fn parse_fingerprint(text: &str) -> Result<Fingerprint, String> {
    text.parse()
}

pub(super) fn run(global: &Global, command: &TrustCommand) -> Result<ExitCode, CommandError> {
    match command {
        TrustCommand::Show => show::show(global),
        TrustCommand::Update(args) => update::update(global, args),
    }
}

/// A certificate of ours, and what the CRLs say of it.
pub(super) struct OwnStatus {
    pub(super) role: KeyRole,
    subject: String,
    pub(super) status: RevocationStatus,
    /// Where the certificate says that its CRL is (cRLDistributionPoints).
    crl_urls: Vec<String>,
}

/// The status of each certificate of ours that is in a file. One in the token is left out: the token is not used here.
fn own_statuses(config: &Config, anchors: &Anchors) -> Vec<OwnStatus> {
    let views = [Some(config.clone()), config.for_sig4()];
    let statuses = views.into_iter().flatten().filter_map(|view| {
        let CertificateSource::File(path) = &view.c3.certificate else {
            return None;
        };
        let certificates = read_file(path).ok()?;
        let leaf = certificates.first()?;
        let (subject, crl_urls) = (leaf.subject().to_string(), leaf.crl_urls());
        let status = match Chain::complete(&certificates, anchors, view.environment) {
            Ok(chain) => RevocationStatus::of(&chain, anchors, &config.trust, SystemTime::now()),
            Err(error) => RevocationStatus::Unknown(vec![error.to_string()]),
        };
        let role = view.c3.role;
        Some(OwnStatus {
            role,
            subject,
            status,
            crl_urls,
        })
    });
    statuses.collect()
}
