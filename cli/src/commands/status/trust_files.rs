//! The files of `[trust]`: how long each CA lasts, and whether each CRL is one, and up to date.

use std::io::ErrorKind;
use std::time::Duration;

use hsm_mtls::internal::certificate::CertificateError;
use hsm_mtls::internal::config::Config;
use hsm_mtls::internal::config::trust::StaleCrl;
use hsm_mtls::internal::diagnostic::Diagnostic as _;
use serde_json::{Value, json};

use super::super::trust::{CrlEntry, ListEntry, TrustInventory};
use super::environment::Subject;
use super::report::Found;
use super::state::{State, days_text};

const ANCHOR: &str = "anchor";
const CRL: &str = "crl";
const UPDATE_ANCHORS: &str = "hsm-mtls trust update --anchors";
const UPDATE_CRLS: &str = "hsm-mtls trust update --crls";
/// A list that is renewed in time has more than this left, or more than a quarter of its time.
const DUE_SOON: Duration = Duration::from_secs(86_400);

/// The bundle cannot be used: nothing is known about chains either.
pub(super) fn unusable(found: &mut Found, error: &CertificateError) {
    let is_denied = match error {
        CertificateError::AnchorsUnreadable { source, .. } => {
            source.kind() == ErrorKind::PermissionDenied
        }
        _ => false,
    };
    match is_denied {
        true => found.item(ANCHOR, State::Unknown, error.to_string()),
        false => {
            found.item(ANCHOR, State::Critical, error.to_string());
            found.act_now(error.hint(), None);
        }
    }
}

/// `of_ours`: the fingerprints of the CAs above our certificates.
pub(super) fn add(
    found: &mut Found,
    subject: &Subject<'_>,
    inventory: &TrustInventory,
    of_ours: &[String],
) {
    let config = subject.config;
    let urls = config.trust.anchor_urls(config.environment);
    for anchor in &inventory.anchors {
        // An old generation that nobody needs any more is no outage, and is to be taken out.
        let is_ours = of_ours.contains(&anchor.fingerprint);
        let state = match subject.thresholds.judge(anchor.days_left) {
            State::Critical if !is_ours => State::Warning,
            state => state,
        };
        let days = days_text(anchor.days_left);
        let pinned = match anchor.is_pinned {
            Some(true) => ", pinned",
            _ => "",
        };
        let text = format!(
            "{}{pinned}: {days}, until {}",
            anchor.name, anchor.not_after
        );
        found.dated(ANCHOR, state, text, anchor.days_left);
        if state != State::Ok {
            let (text, command) = match anchor.days_left {
                ..0 if !is_ours => (format!("take {} out of `anchors`", anchor.name), None),
                _ => (
                    format!("have the successor of {}", anchor.name),
                    // Where it is not known from where, there is nothing to fetch.
                    (!urls.is_empty()).then_some(UPDATE_ANCHORS),
                ),
            };
            found.act_by(&anchor.not_after, anchor.days_left, text, command);
        }
    }
    let crls = inventory.crls.iter();
    let crls: Vec<_> = crls
        .map(|crl| add_crl(found, subject.config, crl))
        .collect();
    if crls.is_empty() {
        let text = "none is configured: that a certificate was revoked is not noticed";
        found.item(CRL, State::Ok, text);
    }
    let anchors = inventory.anchors.iter().map(|anchor| {
        json!({
            "name": anchor.name,
            "fingerprint": anchor.fingerprint,
            "root": anchor.is_root,
            "generation": anchor.generation,
            "not_after": anchor.not_after,
            "days_left": anchor.days_left,
        })
    });
    found
        .details
        .insert("anchors".to_owned(), anchors.collect());
    found.details.insert("crls".to_owned(), crls.into());
}

fn add_crl(found: &mut Found, config: &Config, crl: &CrlEntry) -> Value {
    let command = crl.url.as_ref().map(|_| UPDATE_CRLS);
    let file = &crl.file;
    match &crl.lists {
        Err(why) => {
            let state = match crl.is_denied {
                true => State::Unknown,
                false => State::Critical,
            };
            found.item(CRL, state, format!("{file}: {why}"));
            if state == State::Critical {
                found.act_now(format!("have a list in {file}"), command);
            }
        }
        Ok(lists) => lists.iter().for_each(|list| {
            let (state, text) = judge(config, list);
            found.item(CRL, state, format!("{file}: {text}"));
            match (state, &list.next_update, list.is_outdated) {
                (State::Ok, ..) => {}
                (State::Warning, Some(by), false) => {
                    let days = list.times.map_or(0, |times| times.left.as_secs() / 86_400);
                    let text = format!("have the next list in {file}");
                    found.act_by(by, days.cast_signed(), text, command);
                }
                _ => found.act_now(
                    format!("have an up-to-date list of our CA in {file}"),
                    command,
                ),
            }
        }),
    }
    let lists = crl.lists.iter().flatten().map(|list| {
        json!({
            "issuer": list.issuer,
            "signed_by_anchor": list.is_signed,
            "this_update": list.this_update,
            "age_days": list.age_days,
            "next_update": list.next_update,
            "outdated": list.is_outdated,
            "entries": list.entries,
        })
    });
    json!({ "file": file, "error": crl.lists.as_ref().err(), "lists": lists.collect::<Vec<_>>() })
}

fn judge(config: &Config, list: &ListEntry) -> (State, String) {
    let next = list
        .next_update
        .as_deref()
        .unwrap_or("a time that it does not say");
    let age = format!(
        "{} days old, good until {next}, {} entries",
        list.age_days, list.entries
    );
    if !list.is_signed {
        return (
            State::Critical,
            format!("no CA of `anchors` has signed it; {age}"),
        );
    }
    if list.is_outdated {
        // With "refuse" no handshake with the hub succeeds any more.
        let state = match config.trust.crl_stale {
            StaleCrl::Refuse => State::Critical,
            StaleCrl::Warn => State::Warning,
        };
        return (state, format!("OUTDATED, a newer list is due; {age}"));
    }
    let is_due = list
        .times
        .is_some_and(|times| times.left < DUE_SOON.min(times.whole / 4));
    match is_due {
        true => (State::Warning, format!("a newer list is due soon; {age}")),
        false => (State::Ok, age),
    }
}
