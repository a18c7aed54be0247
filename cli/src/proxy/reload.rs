//! A new configuration, certificate, key or trust bundle without a restart. All of it is opened and
//! proved before anything of the old is let go: the supervisor has started another signer beside the one
//! that there is, and offers it.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::ProxyError;
use super::connection_pool::HandshakeTracker;
use super::context::ListenerContext;
use super::health_endpoints::HealthEndpoints;
use super::lifecycle_log;
use super::metrics;
use super::sd_notify::ServiceManager;
use hsm_mtls::internal::client::connector::Connector;
use hsm_mtls::internal::config::Config;
use hsm_mtls::internal::config::proxy::ProxyConfig;
use hsm_mtls::internal::diagnostic::Diagnostic as _;
use hsm_mtls::internal::identity::{Identity, Validity};
use hsm_mtls::internal::poison::IgnorePoison as _;
use hsm_mtls::internal::signer::RemoteKey;
use hsm_mtls::internal::signer::front_end_supervisor::{ReloadOffer, ReloadOffers};
use hsm_mtls::internal::tls::Tls;

/// What is opened anew.
pub(super) struct Reload {
    pub(super) config: Config,
    pub(super) proxy: ProxyConfig,
    pub(super) doors: Vec<Arc<ListenerContext>>,
    pub(super) operations: Arc<HealthEndpoints>,
    pub(super) manager: Arc<ServiceManager>,
}

/// What a reload opened and proved.
struct Prepared {
    config: Config,
    key: Arc<RemoteKey>,
    identity: Identity,
    connector: Connector,
}

/// The identity, proved, and what makes connections with it.
pub(super) fn prepare(
    config: &Config,
    proxy: &ProxyConfig,
    key: &Arc<RemoteKey>,
    validity: Validity,
) -> Result<(Identity, Connector), ProxyError> {
    let identity = key.identity_valid(config, validity)?;
    let tls = Tls::new(config, &identity)?;
    let protocols: &[&[u8]] = match proxy.h2 {
        true => &[b"h2", b"http/1.1"],
        false => &[b"http/1.1"],
    };
    let connector = Connector::with_protocols(config, &tls, protocols)?;
    Ok((identity, connector))
}

impl Reload {
    /// Takes one offer after the other, for as long as it is polled.
    pub(super) async fn follow(mut self, offers: ReloadOffers) {
        loop {
            let offer = match offers.next().await {
                Ok(offer) => offer,
                Err(error) => {
                    tracing::error!(%error, hint = error.hint(), "no reload is possible any more");
                    return;
                }
            };
            self.manager.reloading();
            let id = offer.id;
            let before = self.run(offer).await;
            let told = match &before {
                Some(_) => offers.accept(id),
                None => offers.reject(id),
            };
            metrics::reloaded(before.is_some());
            self.manager.ready();
            let let_go = match before {
                Some(before) => {
                    self.wait_for(before).await;
                    told.and_then(|()| offers.release(id))
                }
                None => told,
            };
            if let Err(error) = let_go {
                tracing::error!(%error, "the supervisor was not told what came of the reload");
            }
        }
    }

    /// Handshakes that have begun with the key of before.
    async fn wait_for(&self, before: [HandshakeTracker; 2]) {
        let over = async {
            for tracker in before {
                tracker.drained().await;
            }
        };
        // Each has its deadline.
        let most = self.config.hub.connect_timeout + Duration::from_secs(1);
        if timeout(most, over).await.is_err() {
            tracing::warn!("a handshake with the key of before takes longer than it may");
        }
    }

    /// Opens everything anew; what fails stays as it was, and is said aloud. What was under way with the
    /// identity before is handed back where there is another now.
    async fn run(&mut self, offer: ReloadOffer) -> Option<[HandshakeTracker; 2]> {
        let before = match self.open(offer).await {
            Ok(prepared) => {
                let leaf = prepared.identity.chain().leaf();
                lifecycle_log::reloaded(leaf, &prepared.identity.signer().key_uri());
                let certificate = &self.operations.certificate;
                *certificate.lock().ignore_poison() = leaf.clone();
                self.operations.signer_health.follow(prepared.key).await;
                self.config = prepared.config;
                let upstreams = self.operations.context.upstreams.each_ref();
                Some(upstreams.map(|upstream| upstream.switch_identity(prepared.connector.clone())))
            }
            Err(failed) => {
                tracing::error!(
                    error = failed.message,
                    hint = failed.hint,
                    "NOT reloaded: the old configuration, certificate, key and anchors stay in use"
                );
                None
            }
        };
        let mut files = Vec::new();
        files.extend(self.doors.iter().map(|door| door.reload()));
        files.push(self.operations.context.log.reopen(&self.proxy.access_log));
        for error in files.into_iter().filter_map(Result::err) {
            tracing::error!(%error, hint = error.hint(), "not opened anew: the old one stays in use");
        }
        before
    }

    async fn open(&self, offer: ReloadOffer) -> Result<Prepared, Failed> {
        let (text, channels) = offer.offered.map_err(|told| Failed {
            message: told.message,
            hint: told.hint,
        })?;
        let (path, proxy) = (self.config.path.clone(), self.proxy.clone());
        // A signer that starts may take minutes to say that it has no key.
        let opened = apart(move || {
            let config = Config::parse(&text, &path)?;
            Prepared::of(config, channels, &proxy)
        });
        let opened = opened.await.map_err(ProxyError::System);
        opened.and_then(|opened| opened).map_err(|error| Failed {
            message: error.to_string(),
            hint: error.hint(),
        })
    }
}

/// Why nothing was taken.
struct Failed {
    message: String,
    hint: String,
}

impl Prepared {
    fn of(config: Config, channels: Vec<OwnedFd>, proxy: &ProxyConfig) -> Result<Self, ProxyError> {
        let key = RemoteKey::connect_inherited(&config, channels)?;
        let (identity, connector) = prepare(&config, proxy, &key, Validity::Now)?;
        Ok(Self {
            config,
            key,
            identity,
            connector,
        })
    }
}

/// On a thread that nobody waits for where the proxy ends.
async fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    let (tell, told) = oneshot::channel();
    let thread = thread::Builder::new().name("hsm-reload".to_owned());
    thread.spawn(move || drop(tell.send(work())))?;
    told.await.map_err(io::Error::other)
}
