//! What the files of `[trust]` hold: each anchor and CRL with its age, and whether a certificate of ours is on a list. It reads files
//! only: no token, no network.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, SystemTime};

use hsm_mtls::internal::certificate::Certificate;
use hsm_mtls::internal::certificate::anchors::Anchors;
use hsm_mtls::internal::certificate::crl::RevocationList;
use hsm_mtls::internal::certificate::name::COMMON_NAME;
use hsm_mtls::internal::certificate::revocation::REVOKED_HINT;
use hsm_mtls::internal::config::Config;
use hsm_mtls::internal::config::trust::CrlSource;

use super::{OwnStatus, own_statuses};

/// The content of the files, and what is wrong with them.
pub(in crate::commands) struct TrustInventory {
    pub(in crate::commands) anchors: Vec<AnchorEntry>,
    pub(in crate::commands) crls: Vec<CrlEntry>,
    pub(in crate::commands) own: Vec<OwnStatus>,
}

/// A CA of `anchors`.
pub(in crate::commands) struct AnchorEntry {
    pub(in crate::commands) subject: String,
    /// CN of the subject, or, where it has none, all of it.
    pub(in crate::commands) name: String,
    /// Otherwise an Issuing CA.
    pub(in crate::commands) is_root: bool,
    pub(in crate::commands) generation: Option<u32>,
    pub(in crate::commands) fingerprint: String,
    /// `None` where nothing is pinned, or for an Issuing CA: its root is.
    pub(in crate::commands) is_pinned: Option<bool>,
    pub(in crate::commands) not_after: String,
    pub(in crate::commands) days_left: i64,
}

impl AnchorEntry {
    fn of(config: &Config, ca: &Certificate, now: SystemTime) -> Self {
        let (pins, is_root) = (&config.trust.pins, ca.is_self_issued());
        let fingerprint = ca.fingerprint();
        Self {
            subject: ca.subject().to_string(),
            name: short_name(ca),
            is_root,
            generation: ca.generation(),
            fingerprint: fingerprint.to_string(),
            is_pinned: (is_root && !pins.is_empty()).then(|| pins.contains(&fingerprint)),
            not_after: ca.not_after(),
            days_left: ca.days_left(now),
        }
    }

    pub(super) fn role(&self) -> &'static str {
        match self.is_root {
            true => "root",
            false => "issuing",
        }
    }
}

/// CN of the subject, or, where it has none, all of it.
pub(in crate::commands) fn short_name(certificate: &Certificate) -> String {
    let subject = certificate.subject();
    let name = subject.first(COMMON_NAME);
    name.unwrap_or_else(|| subject.to_string())
}

/// A list of a configured file, or why there is none.
pub(in crate::commands) struct CrlEntry {
    pub(in crate::commands) file: String,
    pub(in crate::commands) url: Option<String>,
    pub(in crate::commands) lists: Result<Vec<ListEntry>, String>,
    /// Whether that is because this user may not read the file.
    pub(in crate::commands) is_denied: bool,
}

/// How long a list is good.
#[derive(Clone, Copy)]
pub(in crate::commands) struct ListTimes {
    /// From thisUpdate to nextUpdate.
    pub(in crate::commands) whole: Duration,
    /// From now to nextUpdate; 0 afterwards.
    pub(in crate::commands) left: Duration,
}

/// A list.
pub(in crate::commands) struct ListEntry {
    pub(in crate::commands) issuer: String,
    /// Whether a CA of the bundle signed it.
    pub(in crate::commands) is_signed: bool,
    pub(in crate::commands) number: Option<String>,
    pub(in crate::commands) this_update: String,
    pub(in crate::commands) age_days: u64,
    pub(in crate::commands) next_update: Option<String>,
    /// `None`: it has no nextUpdate.
    pub(in crate::commands) times: Option<ListTimes>,
    pub(in crate::commands) is_outdated: bool,
    pub(in crate::commands) entries: usize,
}

impl CrlEntry {
    fn of(crl: &CrlSource, anchors: &Anchors, now: SystemTime) -> Self {
        let lists = RevocationList::read(&crl.file);
        let is_denied = matches!(&lists, Err(error) if error.kind() == ErrorKind::PermissionDenied);
        let lists = lists.map(|lists| {
            let shown = lists.iter().map(|list| ListEntry::of(list, anchors, now));
            shown.collect()
        });
        Self {
            file: crl.file.display().to_string(),
            url: crl.url.as_ref().map(ToString::to_string),
            is_denied,
            lists: lists.map_err(|error| match is_missing(&crl.file) {
                true => "it is not there".to_owned(),
                false => error.to_string(),
            }),
        }
    }
}

fn is_missing(file: &Path) -> bool {
    fs::symlink_metadata(file).is_err_and(|error| error.kind() == ErrorKind::NotFound)
}

impl ListEntry {
    fn of(list: &RevocationList, anchors: &Anchors, now: SystemTime) -> Self {
        let age = now
            .duration_since(list.this_update_time())
            .unwrap_or_default();
        Self {
            issuer: list.issuer().to_string(),
            is_signed: anchors
                .all()
                .any(|ca| list.names_as_issuer(ca) && list.check_signature(ca).is_ok()),
            number: list.number().map(|number| number_text(&number)),
            this_update: list.this_update(),
            age_days: age.as_secs() / 86_400,
            next_update: list.next_update(),
            times: list.next_update_time().map(|next| ListTimes {
                whole: next
                    .duration_since(list.this_update_time())
                    .unwrap_or_default(),
                left: next.duration_since(now).unwrap_or_default(),
            }),
            is_outdated: list.is_outdated(now),
            entries: list.count(),
        }
    }
}

/// A number in decimal digits, or of more than 16 bytes in hexadecimal ones.
fn number_text(bytes: &[u8]) -> String {
    let is_short = bytes.len() <= 16;
    let number = bytes
        .iter()
        .fold(0_u128, |number, byte| number << 8 | u128::from(*byte));
    match is_short {
        true => number.to_string(),
        false => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

impl TrustInventory {
    /// Reads the CRLs and our certificates, with these anchors.
    pub(in crate::commands) fn of(config: &Config, anchors: &Anchors, now: SystemTime) -> Self {
        let crls = config.trust.crls.iter();
        Self {
            anchors: anchors
                .all()
                .map(|ca| AnchorEntry::of(config, ca, now))
                .collect(),
            crls: crls.map(|crl| CrlEntry::of(crl, anchors, now)).collect(),
            own: own_statuses(config, anchors),
        }
    }

    /// What is wrong, in words.
    pub(super) fn faults(&self) -> Vec<String> {
        let expired = self.anchors.iter().filter(|anchor| anchor.days_left < 0);
        let mut faults: Vec<_> = expired
            .map(|anchor| format!("{} expired on {}", anchor.subject, anchor.not_after))
            .collect();
        for crl in &self.crls {
            match &crl.lists {
                Err(why) => faults.push(format!("{}: {why}", crl.file)),
                Ok(lists) => faults.extend(lists.iter().filter_map(|list| {
                    let why = match (list.is_signed, list.is_outdated) {
                        (false, _) => "no CA of `anchors` has signed it",
                        (true, true) => "it is outdated: a newer list is due",
                        (true, false) => return None,
                    };
                    Some(format!("{}: {why}", crl.file))
                })),
            }
        }
        let revoked = self
            .own
            .iter()
            .filter(|own| own.status.is_revoked() == Some(true));
        faults.extend(revoked.map(|own| {
            let (key, detail) = (own.role.name(), own.status.detail());
            format!(
                "our {key} certificate is REVOKED: {detail}; {}",
                own.role.advice(REVOKED_HINT)
            )
        }));
        faults
    }
}
