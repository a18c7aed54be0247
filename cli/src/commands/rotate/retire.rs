//! `rotate retire` ends a rotation and destroys the old key; `rotate abandon` ends one in which nothing was switched. A key that
//! is destroyed does not come back, so it is named, and the ledger has to show that nobody needs it.

use std::sync::Arc;
use std::time::Duration;

use hsm_mtls::internal::config::Config;
use hsm_mtls::internal::config::trust::Fingerprint;
use hsm_mtls::internal::config::uri::Pkcs11Uri;
use hsm_mtls::internal::exit_code::ExitCode;
use hsm_mtls::internal::key::destruction::destroy;
use hsm_mtls::internal::key::generate::{Claims, KeyPairRequest};
use hsm_mtls::internal::key::scheme::KeyAlgorithm;
use hsm_mtls::internal::key::{KeyError, interrupted_generation};
use hsm_mtls::internal::rfc3339;
use hsm_mtls::internal::token::session::Access as SessionAccess;
use hsm_mtls::internal::token::{TokenError, TokenOperation, with_timeout};

use super::super::running_proxy::RunningProxy;
use super::super::{CommandError, Global, setup};
use super::key_uses::{KeyUses, service_of};
use super::names::from_hex;
use super::rotation::{Access, Configured, Rotation};
use super::state::{Stage, State};
use super::{RetireArgs, RotationError, status};

/// Where a rotation can end.
const STAGES: [Stage; 2] = [Stage::Switched, Stage::Retiring];

/// Says what [`retire`] would do.
pub(super) fn plan(
    global: &Global,
    config: &Config,
    view: &Config,
    args: &RetireArgs,
) -> Result<ExitCode, CommandError> {
    let rotation = Rotation::open(config, view, Access::Read)?;
    let state = rotation.at(&STAGES)?;
    check(&rotation, state, args)?;
    let plan = match args.keep {
        true => format!("end the rotation, and leave {} in the token", state.old.uri),
        false => format!("destroy {}, and end the rotation", state.old.uri),
    };
    status::planned(global, &plan)
}

pub(super) fn retire(
    global: &Global,
    config: &Config,
    view: &Config,
    args: &RetireArgs,
) -> Result<ExitCode, CommandError> {
    let mut rotation = Rotation::open(config, view, Access::Write)?;
    let state = rotation.at(&STAGES)?.clone();
    check(&rotation, &state, args)?;
    rotation.record("retire", &state)?;
    let done = match args.keep {
        true => format!(
            "the rotation has ended; the old key stays in the token: {}",
            state.old.uri
        ),
        false => {
            rotation.save(State {
                stage: Stage::Retiring,
                ..state.clone()
            })?;
            let label = &state.old.label;
            match destroy_key(&rotation, &state.old.uri, state.old.spki)? {
                true => format!("the rotation has ended; the old key {label:?} is destroyed"),
                false => format!(
                    "the rotation has ended; the old key {label:?} is not in the token any more"
                ),
            }
        }
    };
    rotation.end()?;
    status::done(global, &rotation, &done)
}

/// Whether the old key may go.
fn check(rotation: &Rotation<'_>, state: &State, args: &RetireArgs) -> Result<(), CommandError> {
    let refused = |error| Err(CommandError::stage(error));
    if rotation.configured(state) != Configured::New {
        return Err(rotation.third_pair_or_old(state));
    }
    if !args.keep && args.destroy.as_ref() != Some(&state.old.label) {
        return refused(RotationError::NotConfirmed {
            given: args.destroy.clone(),
            label: state.old.label.clone(),
        });
    }
    // What is begun is brought to an end.
    if state.stage == Stage::Retiring {
        return Ok(());
    }
    let shown =
        RunningProxy::of(rotation.config).and_then(|proxy| proxy.certificate(rotation.role));
    if let Some(x5t_s256) = shown.filter(|shown| *shown == state.old.certificate.x5t_s256) {
        return refused(RotationError::ProxyHasOldPair { x5t_s256 });
    }
    let switched = state.switched.unwrap_or_else(rfc3339::unix_now);
    let mut last = ("the configuration names the new pair since", switched);
    match &rotation.config.ledger {
        None if args.keep => {}
        None => {
            let why = "there is no ledger".to_owned();
            return refused(RotationError::NoEvidence { why });
        }
        Some(ledger) => {
            let keys = (state.old.spki, state.new.spki);
            let uses = KeyUses::read(&ledger.file, rotation.role, keys)?;
            if !uses.has_switch {
                let why = "the files of the ledger that are there do not go back to the switch";
                let why = why.to_owned();
                return refused(RotationError::NoEvidence { why });
            }
            if !uses.new_served_since_switch {
                let what = service_of(rotation.role);
                return refused(RotationError::NewKeyUnused { what });
            }
            if let Some(used) = uses.old_last.filter(|used| *used >= switched) {
                last = ("it signed last at", used);
            }
        }
    }
    check_time(last, args.after)
}

/// Whether so much time has passed since.
fn check_time((what, at): (&'static str, u64), after: Duration) -> Result<(), CommandError> {
    let until = at.saturating_add(after.as_secs());
    match rfc3339::unix_now() < until {
        true => Err(CommandError::stage(RotationError::TooEarly {
            what,
            at: rfc3339::of_unix(at),
            until: rfc3339::of_unix(until),
        })),
        false => Ok(()),
    }
}

/// Destroys a key pair of the role's token. False: it is not there.
fn destroy_key(
    rotation: &Rotation<'_>,
    uri: &str,
    spki: Fingerprint,
) -> Result<bool, CommandError> {
    let uri: Pkcs11Uri = uri.parse().map_err(|error| {
        CommandError::usage(
            format!("the state of the rotation holds a URI that is none: {error}"),
            "destroy the key with the vendor's tool, and end the rotation with --keep",
        )
    })?;
    let view = rotation.view;
    let token = setup::open_token(view).map_err(CommandError::stage)?;
    let timeout = view.token.start_timeout;
    let destroyed = with_timeout(TokenOperation::Object, timeout, move || {
        let session = token.session(SessionAccess::ReadWrite)?;
        Ok::<_, TokenError>(destroy(&token, &session, &uri, spki))
    });
    destroyed
        .map_err(CommandError::stage)?
        .map_err(CommandError::stage)
}

/// Says what [`abandon`] would do.
pub(super) fn plan_to_abandon(
    global: &Global,
    config: &Config,
    view: &Config,
    destroy: Option<&str>,
) -> Result<ExitCode, CommandError> {
    let rotation = Rotation::open(config, view, Access::Read)?;
    let state = rotation.under_way()?;
    check_abandoned(&rotation, state, destroy)?;
    let plan = match destroy {
        Some(label) => format!("destroy the new key {label:?}, and end the rotation"),
        None => format!(
            "end the rotation; the new key {:?} stays in the token",
            new_label(state)
        ),
    };
    status::planned(global, &plan)
}

pub(super) fn abandon(
    global: &Global,
    config: &Config,
    view: &Config,
    destroy: Option<&str>,
) -> Result<ExitCode, CommandError> {
    let mut rotation = Rotation::open(config, view, Access::Write)?;
    let state = rotation.under_way()?.clone();
    check_abandoned(&rotation, &state, destroy)?;
    rotation.record("abandon", &state)?;
    let label = new_label(&state);
    let done = match (destroy, &state.new.uri, state.new.spki) {
        (None, ..) => format!(
            "the rotation has ended; the new key {label:?}, if it was made, stays in the token"
        ),
        (Some(_), Some(uri), Some(spki)) => match destroy_key(&rotation, uri, spki)? {
            true => format!("the rotation has ended; the new key {label:?} is destroyed"),
            false => format!(
                "the rotation has ended; the new key {label:?} is not in the token any more"
            ),
        },
        // What an interrupted `start` has left.
        (Some(_), ..) => {
            destroy_unfinished(&rotation, &state)?;
            format!("the rotation has ended; what there was of the new key {label:?} is destroyed")
        }
    };
    rotation.end()?;
    status::done(global, &rotation, &done)
}

fn check_abandoned(
    rotation: &Rotation<'_>,
    state: &State,
    destroy: Option<&str>,
) -> Result<(), CommandError> {
    // A third pair in the configuration is no obstacle: then neither of these is in use.
    if state.stage >= Stage::Switched || rotation.configured(state) == Configured::New {
        return Err(CommandError::stage(RotationError::WrongOrder {
            stage: "the configuration names the new pair".to_owned(),
            next:
                "go back with `hsm-mtls rotate back` first, or end it with `hsm-mtls rotate retire`"
                    .to_owned(),
        }));
    }
    let label = new_label(state);
    match destroy {
        Some(given) if given != label => Err(CommandError::stage(RotationError::NotConfirmed {
            given: Some(given.to_owned()),
            label,
        })),
        _ => Ok(()),
    }
}

/// CKA_LABEL of the new key.
fn new_label(state: &State) -> String {
    let uri = state.new.uri.as_ref().or(state.new.of_ceremony.as_ref());
    let parsed = uri.and_then(|uri| uri.parse::<Pkcs11Uri>().ok());
    parsed
        .and_then(|uri| uri.object)
        .unwrap_or_else(|| state.new.label.clone())
}

/// Destroys the pair, or the half, that an interrupted `start` has made and nobody has used.
fn destroy_unfinished(rotation: &Rotation<'_>, state: &State) -> Result<(), CommandError> {
    if state.new.of_ceremony.is_some() {
        return Err(CommandError::usage(
            "the key of the ceremony was not looked at yet",
            "leave --destroy out: the key is as the ceremony made it",
        ));
    }
    let view = rotation.view;
    let token = setup::open_token(view).map_err(CommandError::stage)?;
    let (label, id) = (state.new.label.clone(), from_hex(&state.new.id));
    let holder = Arc::clone(&token);
    let timeout = view.token.start_timeout;
    let destroyed = with_timeout(TokenOperation::Object, timeout, move || {
        let session = holder.session(SessionAccess::ReadWrite)?;
        let request = KeyPairRequest {
            // Of a pair that is not of this kind nothing is kept either.
            algorithm: KeyAlgorithm::Ed25519,
            label: &label,
            id: Some(&id),
            claims: Claims::AnyUse,
            role: holder.role(),
        };
        let left = interrupted_generation::resume(&holder, &session, &request);
        let gone = left.and_then(|key| match key {
            Some(key) => {
                let spki = key.public_key()?.fingerprint();
                destroy(&holder, &session, key.uri(), spki).map(drop)
            }
            None => Ok(()),
        });
        Ok::<Result<(), KeyError>, TokenError>(gone)
    });
    destroyed
        .map_err(CommandError::stage)?
        .map_err(CommandError::stage)
}
