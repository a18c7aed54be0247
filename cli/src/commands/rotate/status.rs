//! `rotate status`, and what each step says at its end: where the rotation is, which key signed last by the ledger, what comes
//! next and by when.

use std::time::Duration;

use der::DateTime;
use hsm_mtls::internal::config::Config;
use hsm_mtls::internal::config::KeyRole;
use hsm_mtls::internal::exit_code::ExitCode;
use hsm_mtls::internal::jwks::publication::WAIT;
use hsm_mtls::internal::rfc3339;
use serde_json::{Value, json};

use super::super::running_proxy::RunningProxy;
use super::super::{CommandError, Global, output};
use super::key_uses::{KeyUses, at_or_never};
use super::rotation::{Access, Configured, Rotation, next_step};
use super::state::{CertificateFacts, Stage, State};

const SECONDS_PER_DAY: u64 = 86_400;
/// The default of `rotate retire --after`.
const RETIRE_AFTER: Duration = Duration::from_secs(SECONDS_PER_DAY);

pub(super) fn show(
    global: &Global,
    config: &Config,
    view: &Config,
) -> Result<ExitCode, CommandError> {
    let rotation = Rotation::open(config, view, Access::Read)?;
    print(global, &rotation, None)?;
    Ok(ExitCode::Good)
}

/// The end of a step: what was done, and the status.
pub(super) fn done(
    global: &Global,
    rotation: &Rotation<'_>,
    done: &str,
) -> Result<ExitCode, CommandError> {
    print(global, rotation, Some(done))?;
    Ok(ExitCode::Good)
}

/// What a step would do.
pub(super) fn planned(global: &Global, plan: &str) -> Result<ExitCode, CommandError> {
    match global.json {
        true => output::json(&json!({ "schema": 0, "dry_run": true, "would": plan }))?,
        false => {
            output::line(&format!("it would {plan}"))?;
            output::remark("nothing was changed, and no key used");
        }
    }
    Ok(ExitCode::Good)
}

/// What comes next, on standard error: standard output has something else.
pub(super) fn remarks(rotation: &Rotation<'_>) {
    if let Some(state) = &rotation.state {
        let facts = Facts::of(rotation, state);
        let next = Next::of(rotation, state, &facts);
        output::remark(&format!("next: {}", next.text));
    }
}

fn print(global: &Global, rotation: &Rotation<'_>, done: Option<&str>) -> Result<(), CommandError> {
    let role = rotation.role;
    let Some(state) = &rotation.state else {
        if global.json {
            let mut report = json!({
                "schema": 0,
                "role": role.section(),
                "under_way": false,
                "next": { "text": role.advice(BEGIN) },
            });
            add_done(&mut report, done);
            return output::json(&report);
        }
        output::heading(done.unwrap_or("no rotation is under way"))?;
        return match done {
            Some(_) => Ok(()),
            None => output::fields(&[("next", role.advice(BEGIN))]),
        };
    };
    let facts = Facts::of(rotation, state);
    let next = Next::of(rotation, state, &facts);
    if global.json {
        let mut report = report(rotation, state, &facts, &next);
        add_done(&mut report, done);
        return output::json(&report);
    }
    if let Some(done) = done {
        output::verdict(true, done)?;
    }
    output::heading(&format!(
        "rotation of {}: {}",
        role.name(),
        state.stage.describe()
    ))?;
    let mut rows = vec![
        ("begun", state.begun.clone()),
        (
            "configured",
            format!("the {} pair", rotation.configured(state).name()),
        ),
        ("old key", state.old.uri.clone()),
        ("  valid until", until(&state.old.certificate)),
    ];
    rows.push((
        "new key",
        state
            .new
            .uri
            .clone()
            .unwrap_or_else(|| state.new.label.clone()),
    ));
    if let Some(certificate) = &state.new.certificate {
        rows.push(("  valid until", until(certificate)));
        let name = match role {
            KeyRole::C3 => "  x5t#S256",
            KeyRole::Sig4 => "  kid",
        };
        rows.push((name, certificate.x5t_s256.clone()));
    }
    match &facts.uses {
        Ok(Some(uses)) => {
            let last = uses.last_signer();
            rows.push((
                "signed last",
                last.map_or_else(
                    || "neither, as far as the ledger goes back".to_owned(),
                    |(pair, at)| format!("the {pair} key, {}", rfc3339::of_unix(at)),
                ),
            ));
        }
        Ok(None) => rows.push(("signed last", "not known: there is no ledger".to_owned())),
        Err(why) => rows.push(("signed last", format!("not known: {why}"))),
    }
    if let Some(pair) = facts.proxy {
        rows.push(("the proxy has", format!("the {} pair", pair.name())));
    }
    rows.push(("next", next.text));
    if let Some(not_before) = next.not_before {
        rows.push(("  not before", rfc3339::of_unix(not_before)));
    }
    rows.push(("  by", state.old.certificate.not_after.clone()));
    output::fields(&rows)
}

const BEGIN: &str = "`hsm-mtls rotate start` begins one";

fn add_done(report: &mut Value, done: Option<&str>) {
    if let Some(done) = done {
        report["done"] = done.into();
    }
}

/// The pair whose certificate has this `x5t#S256`.
pub(super) fn pair_with(state: &State, x5t_s256: &str) -> Configured {
    let new = state.new.certificate.as_ref();
    match x5t_s256 {
        shown if shown == state.old.certificate.x5t_s256 => Configured::Old,
        shown if new.is_some_and(|new| new.x5t_s256 == shown) => Configured::New,
        _ => Configured::Neither,
    }
}

/// What is found out for a status.
pub(super) struct Facts {
    /// `Ok(None)`: no ledger is configured. `Err`: it cannot be read.
    pub(super) uses: Result<Option<KeyUses>, String>,
    /// Which pair the running proxy has; `None`: it does not answer.
    pub(super) proxy: Option<Configured>,
}

impl Facts {
    fn of(rotation: &Rotation<'_>, state: &State) -> Self {
        let keys = (state.old.spki, state.new.spki);
        let uses = rotation.config.ledger.as_ref().map(|ledger| {
            KeyUses::read(&ledger.file, rotation.role, keys).map_err(|error| error.to_string())
        });
        let shown =
            RunningProxy::of(rotation.config).and_then(|proxy| proxy.certificate(rotation.role));
        Self {
            uses: uses.transpose(),
            proxy: shown.map(|shown| pair_with(state, &shown)),
        }
    }

    /// Whether the new key serves: the ledger shows that it has since the switch, and last, and the running proxy, where it answers,
    /// has it.
    fn new_serves(&self) -> bool {
        let uses = self.uses.as_ref().ok().and_then(Option::as_ref);
        let by_ledger = uses.map(|uses| {
            uses.new_served_since_switch && matches!(uses.last_signer(), Some(("new", _)))
        });
        match (self.proxy, by_ledger) {
            (Some(pair), None) => pair == Configured::New,
            (pair, Some(signed)) => signed && pair.is_none_or(|pair| pair == Configured::New),
            (None, None) => false,
        }
    }
}

/// The next step.
pub(super) struct Next {
    pub(super) text: String,
    pub(super) not_before: Option<u64>,
}

impl Next {
    pub(super) fn of(rotation: &Rotation<'_>, state: &State, facts: &Facts) -> Self {
        let now = |text: &str| Self {
            text: rotation.role.advice(text),
            not_before: None,
        };
        match (state.stage, rotation.configured(state)) {
            (_, Configured::Neither) => now(
                "the configuration names a third pair: write the old one or the new one into it again, or run `hsm-mtls rotate abandon`",
            ),
            (Stage::Switched, Configured::Old) => now(
                "the configuration names the old pair again, by hand: `hsm-mtls rotate back` records that, and `hsm-mtls rotate switch` \
                 changes it",
            ),
            (stage, Configured::New) if stage < Stage::Switched => now(
                "the configuration names the new pair already: `hsm-mtls rotate switch` proves it, and records that",
            ),
            (Stage::Switched, _) => Self::after_switch(rotation, state, facts),
            (Stage::Installed, _) if rotation.role == KeyRole::Sig4 => now(&format!(
                "have the certificate published, wait {} minutes, and run `hsm-mtls rotate test`",
                WAIT.as_secs() / 60
            )),
            _ => now(next_step(state)),
        }
    }

    fn after_switch(rotation: &Rotation<'_>, state: &State, facts: &Facts) -> Self {
        let switched = state.switched.unwrap_or_default();
        if !facts.new_serves() {
            return Self {
                text: rotation.role.advice(
                    "reload the proxy (`systemctl reload hsm-mtls-proxy`): the new key has not signed since the switch; `hsm-mtls rotate \
                     back` goes back",
                ),
                not_before: None,
            };
        }
        let uses = facts.uses.as_ref().ok().and_then(Option::as_ref);
        let last = uses.and_then(|uses| uses.old_last).unwrap_or(switched);
        Self {
            text: rotation.role.advice(&format!(
                "`hsm-mtls rotate retire --destroy {}` ends the rotation; `hsm-mtls rotate back` goes back until then",
                state.old.label
            )),
            not_before: Some(last.max(switched) + RETIRE_AFTER.as_secs()),
        }
    }
}

fn report(rotation: &Rotation<'_>, state: &State, facts: &Facts, next: &Next) -> Value {
    let uses = facts.uses.as_ref().ok().and_then(Option::as_ref);
    let time = |at: Option<u64>| at.map(rfc3339::of_unix);
    let certificate = |facts: &CertificateFacts| {
        json!({
            "fingerprint": facts.fingerprint,
            "x5t_s256": facts.x5t_s256,
            "not_after": facts.not_after,
            "days_left": days_left(&facts.not_after),
        })
    };
    json!({
        "schema": 0,
        "role": rotation.role.section(),
        "under_way": true,
        "stage": state.stage,
        "configured": rotation.configured(state).name(),
        "begun": state.begun,
        "old": {
            "key": state.old.uri,
            "label": state.old.label,
            "spki_sha256": state.old.spki,
            "configured_as": state.old.written,
            "certificate": certificate(&state.old.certificate),
            "last_used": time(uses.and_then(|uses| uses.old_last)),
        },
        "new": {
            "key": state.new.uri,
            "label": state.new.label,
            "spki_sha256": state.new.spki,
            "configured_as": state.new.written,
            "certificate": state.new.certificate.as_ref().map(certificate),
            "last_used": time(uses.and_then(|uses| uses.new_served)),
            "request": state.new.request,
        },
        "tested": time(state.tested),
        "switched": time(state.switched),
        "last_signer": uses.and_then(KeyUses::last_signer).map(|(pair, at)| {
            json!({ "pair": pair, "at": at_or_never(Some(at)) })
        }),
        "proxy": facts.proxy.map(Configured::name),
        "next": {
            "text": next.text,
            "not_before": time(next.not_before),
            "by": state.old.certificate.not_after,
        },
    })
}

fn until(certificate: &CertificateFacts) -> String {
    let not_after = &certificate.not_after;
    match days_left(not_after) {
        Some(days) => format!("{not_after} ({days} days left)"),
        None => not_after.clone(),
    }
}

/// Whole days until then; negative afterwards.
pub(super) fn days_left(not_after: &str) -> Option<i64> {
    let end: DateTime = not_after.parse().ok()?;
    let end = end.unix_duration().as_secs().cast_signed();
    let left = end - rfc3339::unix_now().cast_signed();
    Some(left.div_euclid(SECONDS_PER_DAY.cast_signed()))
}
