//! The status of one environment, part by part. What cannot be read here is one line of it, and the other parts are shown all the same.

use std::time::SystemTime;

use hsm_mtls::internal::certificate::anchors::Anchors;
use hsm_mtls::internal::config::Config;
use hsm_mtls::internal::ledger::recent_records::RecentRecords;
use hsm_mtls::internal::ledger::verify::VerifyError;

use super::super::trust::TrustInventory;
use super::pair::{self, Pair};
use super::proxy_state::{self, ProxyAnswer};
use super::report::{EnvironmentReport, Found};
use super::state::Thresholds;
use super::token_presence::{self, Tokens};
use super::{key_set, last_uses, rotation_state, trust_files};

/// What the parts look at.
pub(super) struct Subject<'a> {
    pub(super) config: &'a Config,
    pub(super) thresholds: Thresholds,
    /// Whether the key set is fetched.
    pub(super) online: bool,
    pub(super) now: SystemTime,
    /// `None`: they cannot be used.
    pub(super) anchors: Option<&'a Anchors>,
    pub(super) inventory: Option<&'a TrustInventory>,
    pub(super) proxy: &'a ProxyAnswer,
    /// The end of the ledger; `None`: there is none.
    pub(super) recent: Option<&'a Result<RecentRecords, VerifyError>>,
}

pub(super) fn report(
    config: &Config,
    thresholds: Thresholds,
    online: bool,
    tokens: &Tokens,
) -> EnvironmentReport {
    let now = SystemTime::now();
    let proxy = ProxyAnswer::of(config);
    let anchors = Anchors::load(config);
    let inventory = anchors.as_ref().ok();
    let inventory = inventory.map(|anchors| TrustInventory::of(config, anchors, now));
    let recent = config.ledger.as_ref().map(last_uses::read);
    let subject = Subject {
        config,
        thresholds,
        online,
        now,
        anchors: anchors.as_ref().ok(),
        inventory: inventory.as_ref(),
        proxy: &proxy,
        recent: recent.as_ref(),
    };
    let mut found = Found::default();
    let (mut pairs, mut rotations) = (Vec::new(), Vec::new());
    for view in [Some(config.clone()), config.for_sig4()]
        .into_iter()
        .flatten()
    {
        let role = view.c3.role;
        let rotation = rotation_state::of(&subject, &view);
        let mut pair = Pair {
            role,
            certificate: None,
            is_in_rotation: matches!(rotation, Ok(Some(_))),
        };
        pair::add(&mut found, &subject, &view, &mut pair);
        pairs.push(pair);
        rotations.push((role, rotation));
    }
    match (&anchors, &inventory) {
        (Err(error), _) => trust_files::unusable(&mut found, error),
        (Ok(_), Some(inventory)) => {
            let of_ours: Vec<_> = pairs
                .iter()
                .flat_map(|pair| pair::issuers_of(pair, &subject))
                .collect();
            trust_files::add(&mut found, &subject, inventory, &of_ours);
        }
        (Ok(_), None) => {}
    }
    key_set::add(&mut found, &subject, &pairs);
    token_presence::add(&mut found, tokens, config, &proxy);
    last_uses::add(&mut found, &subject, &pairs);
    proxy_state::add(&mut found, &proxy, &pairs);
    rotation_state::add(&mut found, &subject, &rotations);
    let configuration = config.path.display().to_string();
    found.into_report(configuration, Some(config.environment.as_str()))
}
