//! `trust show`: what is trusted, how old it is, and whether a certificate of ours is on a list. It reads files only: no token, no
//! network.

use std::time::SystemTime;

use hsm_mtls::internal::certificate::anchors::Anchors;
use hsm_mtls::internal::config::Config;
use hsm_mtls::internal::exit_code::ExitCode;
use serde_json::{Value, json};

use super::super::{CommandError, Global, output, setup};
use super::inventory::{AnchorEntry, ListEntry, TrustInventory};
use super::{OwnStatus, crls};

pub(super) fn show(global: &Global) -> Result<ExitCode, CommandError> {
    let config = setup::whole_config_to_read(global)?;
    let anchors = Anchors::load(&config).map_err(CommandError::stage)?;
    let shown = TrustInventory::of(&config, &anchors, SystemTime::now());
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

impl TrustInventory {
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
            let lists = crl.lists.as_ref().map_or_else(|_| Vec::new(), |lists| lists.iter().map(ListEntry::as_json).collect());
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

impl AnchorEntry {
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

impl ListEntry {
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
