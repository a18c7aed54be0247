//! The published key set (JWKS), from which the hub takes the Sig4 key: what the last check found, the proxy's or that of `jwks check`.
//! Only with `--online` is it fetched now.

use hsm_mtls::internal::certificate::Certificate;
use hsm_mtls::internal::config::{Config, KeyRole};
use hsm_mtls::internal::jwks::publication::{LastCheck, PublicationRecord, WAIT};
use hsm_mtls::internal::rfc3339;
use serde_json::{Value, json};

use super::super::jwks::{self, Source};
use super::environment::Subject;
use super::pair::Pair;
use super::report::Found;
use super::state::State;
use crate::check_steps::{Outcome, Steps};

const ABOUT: &str = "jwks";
const CHECK: &str = "hsm-mtls jwks check";

pub(super) fn add(found: &mut Found, subject: &Subject<'_>, pairs: &[Pair]) {
    if subject.config.sig4.is_none() {
        return;
    }
    let sig4 = pairs.iter().find(|pair| pair.role == KeyRole::Sig4);
    let Some(certificate) = sig4.and_then(|pair| pair.certificate.as_ref()) else {
        // One in the token: the proxy has read it, and looks at the set.
        let report = subject.proxy.report();
        let kid = report.and_then(|report| report["jwt"]["kid"].as_str());
        match kid.and_then(|kid| of_proxy(found, subject, kid)) {
            Some(detail) => {
                found.details.insert(ABOUT.to_owned(), detail);
            }
            None => found.item(
                ABOUT,
                State::Unknown,
                "not known without the Sig4 certificate",
            ),
        }
        return;
    };
    let detail = match subject.online {
        true => fetched(found, subject.config, certificate),
        false => remembered(found, subject, certificate),
    };
    found.details.insert(ABOUT.to_owned(), detail);
}

/// Fetches and judges it as `jwks check` does.
fn fetched(found: &mut Found, config: &Config, certificate: &Certificate) -> Value {
    let mut steps = Steps::default();
    let source = match jwks::judge_published(config, certificate, &mut steps) {
        Ok((source, _)) => source,
        Err(error) => {
            found.item(ABOUT, State::Unknown, error.to_string());
            return json!({ "published": null, "detail": error.to_string() });
        }
    };
    let bad = steps
        .list()
        .iter()
        .find(|step| step.outcome == Outcome::Bad);
    let at = rfc3339::now();
    let Some(step) = bad else {
        found.item(
            ABOUT,
            State::Ok,
            format!("our key is published, fetched now: {source}"),
        );
        return json!({ "kid": certificate.x5t_s256(), "published": true, "checked": at, "by": "fetched" });
    };
    let text = format!("{}: {}", step.name, step.detail);
    // A way that is closed says nothing of the set.
    let (state, published) = match step.name == jwks::FETCH {
        true => (State::Unknown, Value::Null),
        false => (State::Critical, false.into()),
    };
    found.item(ABOUT, state, text.clone());
    found.act_now(step.hint.clone().unwrap_or_default(), Some(CHECK));
    json!({ "kid": certificate.x5t_s256(), "published": published, "checked": at, "by": "fetched", "detail": text })
}

fn remembered(found: &mut Found, subject: &Subject<'_>, certificate: &Certificate) -> Value {
    let kid = certificate.x5t_s256();
    if let Some(detail) = of_proxy(found, subject, &kid) {
        return detail;
    }
    let last = match last_check(subject.config, certificate) {
        Ok(last) => last,
        Err(why) => {
            found.item(ABOUT, State::Unknown, format!("not known: {why}"));
            return json!({ "kid": kid, "published": null, "detail": why });
        }
    };
    match last {
        None => {
            found.item(
                ABOUT,
                State::Unknown,
                "never looked at: no check of it is remembered here",
            );
            found.act_now("look at the published key set", Some(CHECK));
            json!({ "kid": kid, "published": null })
        }
        Some(LastCheck::Published { since }) => {
            let usable = rfc3339::of_unix(since + WAIT.as_secs());
            let is_new = rfc3339::unix_now() < since + WAIT.as_secs();
            let wait = match is_new {
                true => format!("; no signatures with it before {usable}"),
                false => String::new(),
            };
            let since = rfc3339::of_unix(since);
            let text = format!("our key is published since {since}, by the last check{wait}");
            found.item(ABOUT, State::Ok, text);
            json!({ "kid": kid, "published": true, "since": since, "by": "remembered" })
        }
        Some(LastCheck::Missing { at }) => {
            let at = rfc3339::of_unix(at);
            missing(found, &format!("our kid was NOT in it at {at}: {kid}"));
            json!({ "kid": kid, "published": false, "checked": at, "by": "remembered" })
        }
    }
}

/// What the proxy found, which looks every ten minutes; `None` where it has not, or has another certificate.
fn of_proxy(found: &mut Found, subject: &Subject<'_>, kid: &str) -> Option<Value> {
    let jwt = &subject.proxy.report()?["jwt"];
    let set = &jwt["key_set"];
    if jwt["kid"] != kid {
        return None;
    }
    let (checked, published) = (set["checked"].as_str()?, set["published"].as_bool()?);
    match published {
        true => {
            let text = format!("our key is published, as the proxy found at {checked}");
            found.item(ABOUT, State::Ok, text);
        }
        false => {
            let detail = set["detail"].as_str().unwrap_or_default();
            missing(found, &format!("as the proxy found at {checked}: {detail}"));
        }
    }
    Some(json!({ "kid": kid, "published": published, "checked": checked, "by": "proxy" }))
}

fn missing(found: &mut Found, text: &str) {
    found.item(ABOUT, State::Critical, text);
    let text = "have the Sig4 certificate published, or install the one that is: a hub refuses every token";
    found.act_now(text, Some(CHECK));
}

fn last_check(config: &Config, certificate: &Certificate) -> Result<Option<LastCheck>, String> {
    let source = Source::of_certificate(config, certificate).map_err(|error| error.to_string())?;
    let of_token = config.sig4_token.as_ref().unwrap_or(&config.token);
    let folder = of_token.state_folder().ok_or("there is no `state_dir`")?;
    let record = PublicationRecord::new(&folder, &certificate.x5t_s256(), &source.describe());
    record.last_check().map_err(|error| error.to_string())
}
