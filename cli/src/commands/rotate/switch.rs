//! `rotate switch` and `rotate back`: the configuration names the other pair, which is proved first. The proxy takes it at its
//! reload, and no request fails.

use hsm_mtls::internal::config::{Config, KeyAndCertificate, KeyRole};
use hsm_mtls::internal::exit_code::ExitCode;
use hsm_mtls::internal::rfc3339;

use super::super::{CommandError, Global, signer};
use super::configuration_file::Change as FileChange;
use super::rotation::{Access, Configured, Rotation};
use super::state::{Stage, State};
use super::{RotationError, reload, status};

/// The options of both.
pub(super) struct Change {
    pub(super) without_test: bool,
    /// The process id of a proxy.
    pub(super) reload: Option<u32>,
    pub(super) dry_run: bool,
}

pub(super) fn switch(
    global: &Global,
    config: &Config,
    view: &Config,
    change: &Change,
) -> Result<ExitCode, CommandError> {
    let rotation = Rotation::open(config, view, access(change))?;
    let stages = match change.without_test {
        true => &[Stage::Installed, Stage::Tested, Stage::Switched][..],
        false => &[Stage::Tested, Stage::Switched],
    };
    let state = rotation.under_way()?;
    // A pair that was written by hand is in the file: whether it was tested is no question any more.
    let is_written =
        rotation.configured(state) == Configured::New && state.stage >= Stage::Installed;
    let state = match is_written {
        true => rotation.at(&[Stage::Installed, Stage::Tested, Stage::Switched])?,
        false => rotation.at(stages)?,
    };
    let x5t_s256 = state
        .new
        .certificate
        .as_ref()
        .map(|facts| facts.x5t_s256.clone());
    let mut values = state
        .new
        .written
        .clone()
        .ok_or_else(|| rotation.wrong_order(state))?;
    // A kid that is compared is that of the new certificate.
    values.kid = state.old.written.kid.as_ref().and(x5t_s256.clone());
    let after = State {
        stage: Stage::Switched,
        // Where it is done already, it was done then.
        switched: match (state.stage, rotation.configured(state)) {
            (Stage::Switched, Configured::New) => state.switched,
            _ => Some(rfc3339::unix_now()),
        },
        ..state.clone()
    };
    let other = Other {
        step: "switch",
        done: "the configuration names the new pair",
        pair: Configured::New,
        values,
        x5t_s256: x5t_s256.unwrap_or_default(),
        after,
    };
    change_to(global, rotation, change, other)
}

pub(super) fn back(
    global: &Global,
    config: &Config,
    view: &Config,
    change: &Change,
) -> Result<ExitCode, CommandError> {
    let rotation = Rotation::open(config, view, access(change))?;
    let state = rotation.under_way()?;
    if rotation.configured(state) != Configured::New {
        rotation.at(&[Stage::Switched])?;
    }
    if state.stage == Stage::Retiring {
        return Err(rotation.wrong_order(state));
    }
    let old = &state.old;
    // RFC 3339 in UTC sorts by time as text.
    if old.certificate.not_after <= rfc3339::now() {
        let not_after = old.certificate.not_after.clone();
        return Err(CommandError::stage(RotationError::OldExpired { not_after }));
    }
    let other = Other {
        step: "back",
        done: "the configuration names the old pair again",
        pair: Configured::Old,
        values: old.written.clone(),
        x5t_s256: old.certificate.x5t_s256.clone(),
        after: State {
            // Whoever goes back has a reason to test once more.
            stage: Stage::Installed,
            tested: None,
            switched: None,
            ..state.clone()
        },
    };
    change_to(global, rotation, change, other)
}

fn access(change: &Change) -> Access {
    match change.dry_run {
        true => Access::Read,
        false => Access::Write,
    }
}

/// The pair that the configuration is to name.
struct Other {
    step: &'static str,
    done: &'static str,
    pair: Configured,
    values: KeyAndCertificate,
    x5t_s256: String,
    /// The state afterwards.
    after: State,
}

fn change_to(
    global: &Global,
    mut rotation: Rotation<'_>,
    change: &Change,
    other: Other,
) -> Result<ExitCode, CommandError> {
    let state = rotation.under_way()?;
    let configured = rotation.configured(state);
    let is_recorded = state.stage == other.after.stage;
    if configured == Configured::Neither {
        return Err(rotation.third_pair(state));
    }
    if let Some(pid) = change.reload {
        reload::check(pid)?;
    }
    let is_written = configured == other.pair;
    let text = rotation.text()?;
    let (file, config_after) = match is_written {
        true => (None, rotation.config.clone()),
        false => {
            let (file, config) = FileChange::prepare(text, rotation.role, &other.values)?;
            (Some(file), config)
        }
    };
    if change.dry_run {
        let plan = match is_written {
            true => "prove the pair, and record that the configuration names it".to_owned(),
            false => format!(
                "prove the pair by a signed challenge, and write into [{}] of {}: {}",
                rotation.role.section(),
                rotation.config.path.display(),
                other.values.lines().replace('\n', "; ")
            ),
        };
        return status::planned(global, &plan);
    }
    prove(global, &rotation, &config_after, &other.values)?;
    if !(is_written && is_recorded) {
        rotation.record(other.step, &other.after)?;
    }
    if let Some(file) = file {
        file.write()?;
    }
    rotation.save(other.after)?;
    let view_after = rotation.view_of(config_after.clone());
    let rotation = rotation.configured_as(&config_after, &view_after);
    if let Some(pid) = change.reload {
        reload::reload(pid, &config_after, rotation.role, &other.x5t_s256)?;
    }
    status::done(global, &rotation, other.done)
}

/// Opens the pair in a signer process, as the proxy does at its start, and has the key sign.
fn prove(
    global: &Global,
    rotation: &Rotation<'_>,
    config: &Config,
    values: &KeyAndCertificate,
) -> Result<(), CommandError> {
    let config = match rotation.role {
        // The other key has a token that may be away, and is not concerned.
        KeyRole::C3 => config.clone().without_sig4(),
        KeyRole::Sig4 => config.clone(),
    };
    signer::identity_with(global, &config, rotation.role, values)
        .map(drop)
        .map_err(CommandError::stage)
}
