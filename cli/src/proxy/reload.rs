//! The front end's part of a reload: a new configuration, certificate, key or trust bundle without a restart.
//!
//! The supervisor starts a new signer beside the old one, and offers it. The front end opens and checks everything with
//! the new signer before it accepts the offer; otherwise everything old stays in use.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::ProxyError;
use super::connection_pool::HandshakeTracker;
use super::context::ListenerContext;
use super::health_endpoints::HealthEndpoints;
use super::key_set_monitor;
use super::lifecycle_log;
use super::opened_keys::OpenedKeys;
use super::proxy_metrics;
use super::sd_notify::ServiceManager;
use hsm_mtls::internal::config::Config;
use hsm_mtls::internal::config::proxy::ProxyConfig;
use hsm_mtls::internal::diagnostic::Diagnostic as _;
use hsm_mtls::internal::identity::Validity;
use hsm_mtls::internal::poison::IgnorePoison as _;
use hsm_mtls::internal::signer::front_end_supervisor::{ReloadOffer, ReloadOffers};

/// What a reload replaces.
pub(super) struct ReloadTask {
    pub(super) config: Config,
    pub(super) proxy: ProxyConfig,
    pub(super) listeners: Vec<Arc<ListenerContext>>,
    pub(super) endpoints: Arc<HealthEndpoints>,
    pub(super) service_manager: Arc<ServiceManager>,
}

/// What a reload puts in the place of what was, opened and checked.
struct PreparedReload {
    config: Config,
    keys: OpenedKeys,
}

impl ReloadTask {
    /// Handles one offer of the supervisor after the other, until the supervisor has ended.
    pub(super) async fn handle_offers(mut self, offers: ReloadOffers) {
        loop {
            let offer = match offers.next().await {
                Ok(Some(offer)) => offer,
                Ok(None) => return,
                Err(error) => {
                    tracing::error!(%error, hint = error.hint(), "no reload is possible any more");
                    return std::future::pending().await;
                }
            };
            self.service_manager.reloading();
            let id = offer.id;
            let old_handshakes = self.apply(offer).await;
            let answered = match &old_handshakes {
                Some(_) => offers.accept(id),
                None => offers.reject(id),
            };
            proxy_metrics::reloaded(old_handshakes.is_some());
            self.service_manager.ready();
            let released = match old_handshakes {
                Some(handshakes) => {
                    self.drain_handshakes(handshakes).await;
                    answered.and_then(|()| offers.release(id))
                }
                None => answered,
            };
            if let Err(error) = released {
                tracing::error!(%error, "the supervisor was not told what came of the reload");
            }
        }
    }

    /// Waits until the handshakes with the old key have ended: then the old signer can be released.
    async fn drain_handshakes(&self, handshakes: Vec<HandshakeTracker>) {
        let drained = async {
            for tracker in handshakes {
                tracker.drained().await;
            }
        };
        // Every handshake has a deadline, so they end by then.
        let max_wait = self.config.hub.connect_timeout + Duration::from_secs(1);
        if timeout(max_wait, drained).await.is_err() {
            tracing::warn!("a handshake with the key of before takes longer than it may");
        }
    }

    /// Replaces everything that the offer changes. What fails stays as it was, and is logged. Returns the handshakes in
    /// progress with the old identity; None if the offer failed.
    async fn apply(&mut self, offer: ReloadOffer) -> Option<Vec<HandshakeTracker>> {
        let old_handshakes = match self.open(offer).await {
            Ok(prepared) => {
                let identity = &prepared.keys.identity;
                let leaf = identity.chain().leaf();
                lifecycle_log::reloaded(leaf, &identity.signer().key_uri());
                let certificate = &self.endpoints.certificate;
                *certificate.lock().ignore_poison() = leaf.clone();
                self.endpoints
                    .signer_health
                    .switch_signers(prepared.keys.signers.clone())
                    .await;
                if let Some(jwt) = &self.endpoints.context.jwt {
                    jwt.switch(&prepared.config, identity.sig4());
                }
                self.endpoints
                    .revocation
                    .switch(&prepared.config, identity)
                    .await;
                self.config = prepared.config;
                self.endpoints.last_reload.ended(None);
                let upstreams = self.endpoints.context.upstreams.iter();
                let switched = upstreams
                    .map(|upstream| upstream.switch_identity(prepared.keys.connector.clone()));
                Some(switched.collect::<Vec<_>>())
            }
            Err(failure) => {
                tracing::error!(
                    error = failure.message,
                    hint = failure.hint,
                    "NOT reloaded: the old configuration, certificate, key and anchors stay in use"
                );
                let refused = (failure.message, failure.hint);
                self.endpoints.last_reload.ended(Some(refused));
                None
            }
        };
        let mut results = Vec::new();
        let listeners = self.listeners.iter();
        results.extend(listeners.map(|listener| listener.reload_access_control()));
        results.push(self.endpoints.context.log.reopen(&self.proxy.access_log));
        for error in results.into_iter().filter_map(Result::err) {
            tracing::error!(%error, hint = error.hint(), "not opened anew: the old one stays in use");
        }
        old_handshakes
    }

    async fn open(&self, offer: ReloadOffer) -> Result<PreparedReload, ReloadFailure> {
        let (text, channels) = offer.offered.map_err(|failed| ReloadFailure {
            message: failed.message,
            hint: failed.hint,
        })?;
        let (path, proxy) = (self.config.path.clone(), self.proxy.clone());
        // Blocks: a new signer may take minutes to report that it has no key.
        let opened = run_on_thread(move || {
            let config = Config::parse(&text, &path)?.for_proxy();
            let keys = OpenedKeys::open(&config, channels, &proxy, Validity::Now)?;
            Ok::<_, ProxyError>(PreparedReload { config, keys })
        });
        let opened = opened.await.map_err(ProxyError::System);
        let prepared = opened
            .and_then(|opened| opened)
            .map_err(|error| ReloadFailure {
                message: error.to_string(),
                hint: error.hint(),
            })?;
        let jwt = self.endpoints.context.jwt.as_ref();
        if let Some((jwt, sig4)) = jwt.zip(prepared.keys.identity.sig4()) {
            let checked = jwt.check_successor(&prepared.config, sig4).await;
            checked.map_err(|why| ReloadFailure {
                message: format!("the published key set does not fit the new Sig4 key: {why}"),
                hint: key_set_monitor::HINT.to_owned(),
            })?;
        }
        Ok(prepared)
    }
}

/// Why an offer was not accepted.
struct ReloadFailure {
    message: String,
    hint: String,
}

/// Runs blocking work on a thread that the end of the proxy does not wait for, unlike the threads of the runtime.
async fn run_on_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let (sender, result) = oneshot::channel();
    let thread = thread::Builder::new().name("hsm-reload".to_owned());
    thread.spawn(move || drop(sender.send(work())))?;
    result.await.map_err(io::Error::other)
}
