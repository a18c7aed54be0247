//! Where a rotation is, for the screen of `hsm-mtls status`: by the state on disk, the certificate that the running proxy has, and
//! the last records of the ledger, which may be too long to be read as a whole.

use hsm_mtls::internal::config::Config;
use hsm_mtls::internal::ledger::record_reader::Record;
use serde_json::{Value, json};

use super::super::CommandError;
use super::key_uses::KeyUses;
use super::rotation::{Access, Rotation};
use super::state::Stage;
use super::status::{Facts, Next, days_left, pair_with};

/// Where a rotation is.
pub(in crate::commands) struct Progress {
    /// In the words of the state's file, and of a person.
    pub(in crate::commands) stage: Value,
    pub(in crate::commands) description: &'static str,
    pub(in crate::commands) begun: String,
    /// Which of the two pairs the configuration names.
    pub(in crate::commands) configured: &'static str,
    /// Whether the new pair takes the place of the old one only later.
    pub(in crate::commands) is_before_switch: bool,
    /// When the configuration was last seen to name the new pair, in seconds after the Unix epoch.
    pub(in crate::commands) switched: Option<u64>,
    /// The next step.
    pub(in crate::commands) next: String,
    /// In seconds after the Unix epoch.
    pub(in crate::commands) not_before: Option<u64>,
    /// When the old certificate ends, and the whole days until then.
    pub(in crate::commands) by: String,
    pub(in crate::commands) days_left: Option<i64>,
}

/// The rotation of the view's role that is under way. `in_proxy`: the `x5t#S256` of the certificate that the running proxy has;
/// `recent`: the last records of the ledger, the newest first.
///
/// # Errors
/// The state cannot be read.
pub(in crate::commands) fn progress(
    config: &Config,
    view: &Config,
    in_proxy: Option<&str>,
    recent: Option<&[Record]>,
) -> Result<Option<Progress>, CommandError> {
    let rotation = Rotation::open(config, view, Access::Read)?;
    let Some(state) = &rotation.state else {
        return Ok(None);
    };
    let facts = Facts {
        uses: Ok(recent.map(|recent| {
            let keys = (state.old.spki, state.new.spki);
            KeyUses::of_recent(recent, rotation.role, keys, state.switched)
        })),
        proxy: in_proxy.map(|shown| pair_with(state, shown)),
    };
    let next = Next::of(&rotation, state, &facts);
    let by = state.old.certificate.not_after.clone();
    Ok(Some(Progress {
        stage: json!(state.stage),
        description: state.stage.describe(),
        begun: state.begun.clone(),
        configured: rotation.configured(state).name(),
        is_before_switch: state.stage < Stage::Switched,
        switched: state.switched,
        next: next.text,
        not_before: next.not_before,
        days_left: days_left(&by),
        by,
    }))
}
