//! The certificates that ours has replaced, and whether their keys are still in a published set: `cert install` leaves each beside
//! the new one.

use std::fs;

use hsm_mtls::internal::certificate::{Certificate, read_file};
use hsm_mtls::internal::config::paths::REPLACED_SUFFIX;
use hsm_mtls::internal::config::{CertificateSource, Config};
use hsm_mtls::internal::jwks::JwkSet;

use crate::check_steps::{Outcome, Steps};

const NAME: &str = "replaced keys";

/// The certificates that were replaced in the file of this one. Files that cannot be read are left out.
pub(super) fn certificates(view: &Config, current: &Certificate) -> Vec<Certificate> {
    let CertificateSource::File(path) = &view.c3.certificate else {
        return Vec::new();
    };
    let Some((folder, name)) = path.parent().zip(path.file_name()) else {
        return Vec::new();
    };
    let prefix = format!("{}{REPLACED_SUFFIX}", name.to_string_lossy());
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    let replaced = files.filter(|file| file.file_name().to_string_lossy().starts_with(&prefix));
    let mut found: Vec<Certificate> = replaced
        .filter_map(|file| read_file(&file.path()).ok()?.into_iter().next())
        .filter(|certificate| certificate.der() != current.der())
        .collect();
    found.sort_by_key(Certificate::not_after);
    found.dedup_by_key(|certificate| certificate.x5t_s256());
    found
}

/// Says which of them are in the set of the active keys. Nothing is shown where none was replaced.
pub(super) fn show_active(set: &JwkSet, replaced: &[Certificate], steps: &mut Steps) {
    if replaced.is_empty() {
        return;
    }
    let active: Vec<_> = replaced
        .iter()
        .filter(|certificate| !set.with_kid(&certificate.x5t_s256()).is_empty())
        .map(|certificate| {
            let (kid, end) = (certificate.x5t_s256(), certificate.not_after());
            format!("{kid} (until {end})")
        })
        .collect();
    match active.is_empty() {
        true => {
            let count = replaced.len();
            let detail = format!("{count} before ours, none of them is in the set");
            steps.seen(NAME, Outcome::Good, detail);
        }
        false => steps.note(
            NAME,
            format!("still in the set: {}", active.join("; ")),
            "once no token of the old key is under way, have it revoked in the Trust Framework: as long as it is in the set, \
             whoever has it signs in the bank's name",
        ),
    }
}

/// Which of them are in the set of the retired keys, in words; empty where none was replaced.
pub(super) fn retired(set: &JwkSet, replaced: &[Certificate]) -> String {
    if replaced.is_empty() {
        return String::new();
    }
    let there = replaced
        .iter()
        .filter(|certificate| !set.with_kid(&certificate.x5t_s256()).is_empty());
    let there = there.count();
    format!(", and {there} of the {} before ours", replaced.len())
}
