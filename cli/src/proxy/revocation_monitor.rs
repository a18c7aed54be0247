//! Whether our own certificates are on the CRLs of `[trust]`: said at the start, at each reload and when a list's file changes,
//! so that operators hear of it before the hub refuses us.
//!
//! The lists that the hub's certificate is checked against are those of the last reload; here each file is read as soon as it
//! is another one.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::proxy_metrics;
use hsm_mtls::internal::certificate::anchors::{Anchors, Chain};
use hsm_mtls::internal::certificate::revocation::{REVOKED_HINT, RevocationStatus};
use hsm_mtls::internal::config::{Config, KeyRole};
use hsm_mtls::internal::identity::Identity;
use hsm_mtls::internal::poison::IgnorePoison as _;

/// How often the files are looked at; they are read when they changed.
const INTERVAL: Duration = Duration::from_secs(2);

/// What identifies the content of a file, as far as that is seen without reading it.
type FileVersion = Option<(u64, u64, i64, i64, u64)>;

/// Our certificates, and what the lists said of them.
#[derive(Debug)]
pub(super) struct RevocationMonitor(Mutex<Watched>);

#[derive(Debug)]
struct Watched {
    config: Arc<Config>,
    chains: Vec<(KeyRole, Chain)>,
    versions: Vec<FileVersion>,
    statuses: Vec<(KeyRole, RevocationStatus)>,
    /// Counts the identities, so that a check of an older one is thrown away.
    generation: u64,
}

impl RevocationMonitor {
    /// Checks the certificates of the identity.
    pub(super) fn start(config: &Config, identity: &Identity) -> Arc<Self> {
        let watched = Watched {
            config: Arc::new(config.clone()),
            chains: chains(config, identity),
            versions: Vec::new(),
            statuses: Vec::new(),
            generation: 0,
        };
        let monitor = Self(Mutex::new(watched));
        monitor.check();
        Arc::new(monitor)
    }

    /// Watches the certificates of another identity from now on.
    pub(super) async fn switch(self: &Arc<Self>, config: &Config, identity: &Identity) {
        {
            let mut watched = self.0.lock().ignore_poison();
            watched.config = Arc::new(config.clone());
            watched.chains = chains(config, identity);
            watched.statuses.clear();
            watched.generation += 1;
        }
        self.check_on_thread().await;
    }

    /// Looks at the files for ever, and reads them when they changed or became outdated.
    pub(super) async fn watch(self: Arc<Self>) {
        loop {
            sleep(INTERVAL).await;
            if self.is_due() {
                self.check_on_thread().await;
            }
        }
    }

    /// A list may have a million entries: no request waits for it.
    async fn check_on_thread(self: &Arc<Self>) {
        let monitor = Arc::clone(self);
        let checked = spawn_blocking(move || monitor.check()).await;
        if let Err(error) = checked {
            tracing::error!(%error, "the CRLs were not read");
        }
    }

    fn is_due(&self) -> bool {
        let watched = self.0.lock().ignore_poison();
        let now = SystemTime::now();
        let mut outdated = watched
            .statuses
            .iter()
            .map(|(_, status)| status.outdated_from());
        versions(&watched.config) != watched.versions
            || outdated.any(|from| from.is_some_and(|from| from < now))
    }

    fn check(&self) {
        let (config, chains, generation) = {
            let watched = self.0.lock().ignore_poison();
            (
                Arc::clone(&watched.config),
                watched.chains.clone(),
                watched.generation,
            )
        };
        // Before the files are read: one that changes meanwhile is read again.
        let versions = versions(&config);
        let now = SystemTime::now();
        let anchors = Anchors::load(&config);
        let status = |chain: &Chain| match &anchors {
            Ok(anchors) => RevocationStatus::of(chain, anchors, &config.trust, now),
            Err(error) => RevocationStatus::Unknown(vec![error.to_string()]),
        };
        let statuses: Vec<_> = chains
            .iter()
            .map(|(role, chain)| (*role, status(chain)))
            .collect();
        let mut watched = self.0.lock().ignore_poison();
        if watched.generation != generation {
            return;
        }
        for (role, status) in &statuses {
            let known = watched.statuses.iter().find(|(known, _)| known == role);
            if known.is_none_or(|(_, known)| known.is_revoked() != status.is_revoked()) {
                tell(*role, status, !config.trust.crls.is_empty());
            }
            proxy_metrics::set_revoked(role.name(), status.is_revoked());
        }
        let outdated_from = statuses
            .iter()
            .filter_map(|(_, status)| status.outdated_from());
        if let Some(from) = outdated_from.min() {
            proxy_metrics::set_crl_next_update(from);
        }
        watched.versions = versions;
        watched.statuses = statuses;
    }

    /// Whether the certificate of the role is revoked, as last seen; `None` if that is not known.
    pub(super) fn is_revoked(&self, role: KeyRole) -> Option<bool> {
        self.status(role)?.is_revoked()
    }

    /// Adds to a certificate's part of the readiness report whether it is revoked.
    pub(super) fn report(&self, role: KeyRole, certificate: &mut Value) {
        let status = self.status(role);
        certificate["revoked"] = json!(status.as_ref().and_then(RevocationStatus::is_revoked));
        if let Some(RevocationStatus::Revoked { entry, .. }) = &status {
            certificate["revoked_since"] = entry.since.clone().into();
            certificate["detail"] = status.as_ref().map(RevocationStatus::detail).into();
            certificate["hint"] = REVOKED_HINT.into();
        }
    }

    fn status(&self, role: KeyRole) -> Option<RevocationStatus> {
        let watched = self.0.lock().ignore_poison();
        let mut statuses = watched.statuses.iter();
        let found = statuses.find(|(known, _)| *known == role);
        found.map(|(_, status)| status.clone())
    }
}

fn tell(role: KeyRole, status: &RevocationStatus, has_lists: bool) {
    let (key, detail) = (role.name(), status.detail());
    match status {
        RevocationStatus::Revoked { entry, .. } => {
            let since = &entry.since;
            tracing::error!(
                key,
                since,
                detail,
                hint = REVOKED_HINT,
                "our certificate is REVOKED"
            );
        }
        RevocationStatus::NotListed(_) => {
            tracing::info!(key, detail, "our certificate is not revoked")
        }
        RevocationStatus::Unknown(_) if has_lists => {
            let hint = "`hsm-mtls trust show` says it list by list, `hsm-mtls trust update` fetches those that have a `url`";
            tracing::warn!(
                key,
                detail,
                hint,
                "it is not known whether our certificate is revoked"
            );
        }
        RevocationStatus::Unknown(_) => {}
    }
}

/// The chains of the C3 and, if there is one, of the Sig4 certificate.
fn chains(config: &Config, identity: &Identity) -> Vec<(KeyRole, Chain)> {
    let sig4 = || {
        let certificate = identity.sig4()?.certificate().clone();
        let anchors = Anchors::load(config).ok()?;
        Chain::complete(&[certificate], &anchors, config.environment).ok()
    };
    let c3 = (KeyRole::C3, identity.chain().clone());
    [Some(c3), sig4().map(|chain| (KeyRole::Sig4, chain))]
        .into_iter()
        .flatten()
        .collect()
}

fn versions(config: &Config) -> Vec<FileVersion> {
    let version = |path| {
        let found = fs::metadata(path).ok()?;
        Some((
            found.dev(),
            found.ino(),
            found.mtime(),
            found.mtime_nsec(),
            found.size(),
        ))
    };
    config.trust.crl_files().map(version).collect()
}
