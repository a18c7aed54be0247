//! `trust show`: what is trusted, how old it is, and whether a certificate of ours is on a list. It reads files only: no token, no
//! network.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use hsm_mtls::internal::certificate::Certificate;
use hsm_mtls::internal::certificate::anchors::Anchors;
use hsm_mtls::internal::certificate::crl::RevocationList;
use hsm_mtls::internal::certificate::revocation::REVOKED_HINT;
use hsm_mtls::internal::config::Config;
use hsm_mtls::internal::config::trust::CrlSource;
use hsm_mtls::internal::exit_code::ExitCode;
use serde_json::{Value, json};

use super::super::{CommandError, Global, output, setup};
use super::{OwnStatus, crls, own_statuses};

pub(super) fn show(global: &Global) -> Result<ExitCode, CommandError> {
    let config = setup::config_to_read(global)?;
    let anchors = Anchors::load(&config).map_err(CommandError::stage)?;
    let now = SystemTime::now();
    let shown = Shown {
        anchors: anchors
            .all()
            .map(|ca| ShownAnchor::of(&config, ca, now))
            .collect(),
        crls: config
            .trust
            .crls
            .iter()
            .map(|crl| ShownCrl::of(crl, &anchors, now))
            .collect(),
        own: own_statuses(&config, &anchors),
    };
    let faults = shown.faults();
    match global.json {
        true => output::json(&shown.as_json(&config, &faults))?,
        false => shown.print(&config, &faults)?,
    }
    Ok(match faults.is_empty() {
        true => ExitCode::Good,
        false => ExitCode::Finding,
    })
}

struct Shown {
    anchors: Vec<ShownAnchor>,
    crls: Vec<ShownCrl>,
    own: Vec<OwnStatus>,
}

struct ShownAnchor {
    subject: String,
    /// Otherwise an Issuing CA.
    is_root: bool,
    generation: Option<u32>,
    fingerprint: String,
    /// `None` where nothing is pinned, or for an Issuing CA: its root is.
    is_pinned: Option<bool>,
    not_after: String,
    days_left: i64,
}

impl ShownAnchor {
    fn of(config: &Config, ca: &Certificate, now: SystemTime) -> Self {
        let (pins, is_root) = (&config.trust.pins, ca.is_self_issued());
        let fingerprint = ca.fingerprint();
        Self {
            subject: ca.subject().to_string(),
            is_root,
            generation: ca.generation(),
            fingerprint: fingerprint.to_string(),
            is_pinned: (is_root && !pins.is_empty()).then(|| pins.contains(&fingerprint)),
            not_after: ca.not_after(),
            days_left: ca.days_left(now),
        }
    }

    fn role(&self) -> &'static str {
        match self.is_root {
            true => "root",
            false => "issuing",
        }
    }
}

/// A list of a configured file, or why there is none.
struct ShownCrl {
    file: String,
    url: Option<String>,
    lists: Result<Vec<ShownList>, String>,
}

struct ShownList {
    issuer: String,
    /// Whether a CA of the bundle signed it.
    is_signed: bool,
    number: Option<String>,
    this_update: String,
    age_days: u64,
    next_update: Option<String>,
    is_outdated: bool,
    entries: usize,
}

impl ShownCrl {
    fn of(crl: &CrlSource, anchors: &Anchors, now: SystemTime) -> Self {
        let lists = RevocationList::read(&crl.file);
        let lists = lists.map(|lists| {
            let shown = lists.iter().map(|list| ShownList::of(list, anchors, now));
            shown.collect()
        });
        Self {
            file: crl.file.display().to_string(),
            url: crl.url.as_ref().map(ToString::to_string),
            lists: lists.map_err(|error| match is_missing(&crl.file) {
                true => "it is not there".to_owned(),
                false => error.to_string(),
            }),
        }
    }
}

fn is_missing(file: &Path) -> bool {
    fs::symlink_metadata(file).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}

impl ShownList {
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

impl Shown {
    fn faults(&self) -> Vec<String> {
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

    fn as_json(&self, config: &Config, faults: &[String]) -> Value {
        let anchors = self.anchors.iter().map(|anchor| {
            json!({
                "subject": anchor.subject,
                "role": anchor.role(),
                "generation": anchor.generation,
                "fingerprint": anchor.fingerprint,
                "pinned": anchor.is_pinned,
                "not_after": anchor.not_after,
                "days_left": anchor.days_left,
            })
        });
        let crls = self.crls.iter().map(|crl| {
            let lists = crl.lists.as_ref().map_or_else(|_| Vec::new(), |lists| lists.iter().map(ShownList::as_json).collect());
            json!({ "file": crl.file, "url": crl.url, "error": crl.lists.as_ref().err(), "lists": lists })
        });
        let own = self.own.iter().map(|own| {
            json!({
                "key": own.role.name(),
                "subject": own.subject,
                "revoked": own.status.is_revoked(),
                "detail": own.status.detail(),
                "crl_urls": own.crl_urls,
            })
        });
        json!({
            "schema": 0,
            "environment": config.environment.as_str(),
            "mode": config.trust.mode.as_str(),
            "anchors": {
                "file": config.trust.anchors,
                "urls": config.trust.anchor_urls(config.environment).iter().map(ToString::to_string).collect::<Vec<_>>(),
                "certificates": anchors.collect::<Vec<_>>(),
            },
            "crl_stale": config.trust.crl_stale.as_str(),
            "crls": crls.collect::<Vec<_>>(),
            "own": own.collect::<Vec<_>>(),
            "faults": faults,
        })
    }

    fn print(&self, config: &Config, faults: &[String]) -> Result<(), CommandError> {
        output::heading(&format!("anchors in {}", config.trust.anchors.display()))?;
        for anchor in &self.anchors {
            output::fields(&[
                (anchor.role(), anchor.subject.clone()),
                ("fingerprint", anchor.fingerprint_text()),
                (
                    "valid until",
                    format!("{} ({} days left)", anchor.not_after, anchor.days_left),
                ),
            ])?;
        }
        output::heading("\nCRLs")?;
        if self.crls.is_empty() {
            let (detail, hint) = crls::none_configured(config.environment);
            output::note(&format!("{detail}; {hint}"))?;
        }
        for crl in &self.crls {
            let from = crl
                .url
                .clone()
                .unwrap_or_else(|| "no `url`: somebody else's to renew".to_owned());
            output::fields(&[("file", crl.file.clone()), ("fetched from", from)])?;
            for list in crl.lists.iter().flatten() {
                output::fields(&list.rows())?;
            }
        }
        output::heading("\nour certificates")?;
        for own in &self.own {
            output::fields(&[
                (own.role.name(), own.subject.clone()),
                ("revoked", own.text()),
            ])?;
            let fetched = |url: &&String| self.crls.iter().any(|crl| crl.url.as_ref() == Some(url));
            if let Some(url) = own.crl_urls.iter().find(|url| !fetched(url)) {
                output::note(&format!(
                    "it names a CRL at {url}, which no entry of `crls` has as its `url`"
                ))?;
            }
        }
        if self.own.is_empty() {
            output::note(
                "none is in a file: one in the token is not looked at here, but by `verify` and the proxy",
            )?;
        }
        faults
            .iter()
            .try_for_each(|fault| output::verdict(false, fault))
    }
}

impl OwnStatus {
    fn text(&self) -> String {
        let detail = self.status.detail();
        match self.status.is_revoked() {
            Some(true) => format!("YES: {detail}"),
            Some(false) => format!("no: {detail}"),
            None => detail,
        }
    }
}

impl ShownAnchor {
    fn fingerprint_text(&self) -> String {
        let pinned = match self.is_pinned {
            Some(true) => " (pinned)",
            Some(false) => " (NOT pinned)",
            None if self.is_root => " (no pins)",
            None => "",
        };
        format!("{}{pinned}", self.fingerprint)
    }
}

impl ShownList {
    fn as_json(&self) -> Value {
        json!({
            "issuer": self.issuer,
            "signed_by_anchor": self.is_signed,
            "number": self.number,
            "this_update": self.this_update,
            "age_days": self.age_days,
            "next_update": self.next_update,
            "outdated": self.is_outdated,
            "entries": self.entries,
        })
    }

    fn rows(&self) -> Vec<(&'static str, String)> {
        let number = self
            .number
            .as_ref()
            .map_or(String::new(), |number| format!(", number {number}"));
        let next = self.next_update.as_deref().unwrap_or("without nextUpdate");
        vec![
            ("issuer", self.issuer.clone()),
            ("entries", format!("{}{number}", self.entries)),
            (
                "of",
                format!(
                    "{} ({} days old), good until {next}",
                    self.this_update, self.age_days
                ),
            ),
        ]
    }
}
