//! What all client connections share (configuration, pools, limits, logs), and what those of one listener share.

use std::sync::{Arc, RwLock, RwLockReadGuard};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};

use super::ProxyError;
use super::access_log::AccessLog;
use super::caller_auth::Gate;
use super::connection_close::ConnectionClose;
use super::connection_pool::ConnectionPool;
use super::interaction_id::InteractionIds;
use super::request_body::BodyLimits;
use super::request_head::KnownHosts;
use super::via::Pseudonym;
use hsm_mtls::internal::config::Config;
use hsm_mtls::internal::config::environment::Service;
use hsm_mtls::internal::config::listener::{Callers, ListenerConfig};
use hsm_mtls::internal::config::proxy::ProxyConfig;
use hsm_mtls::internal::poison::IgnorePoison as _;

/// A connection to the hub is waited for a little longer than making one may take: its own error
/// says more.
const PATIENCE_BEYOND: Duration = Duration::from_millis(500);

/// So many are told at once that they may not call.
const STRANGERS: usize = 64;

/// Shared by all.
pub(super) struct ProxyContext {
    pub(super) upstreams: [Arc<ConnectionPool>; 2],
    pub(super) ids: InteractionIds,
    pub(super) log: AccessLog,
    /// For requests that the hub is being asked.
    pub(super) places: Semaphore,
    pub(super) body_limits: BodyLimits,
    /// How requests to the hub name this gateway. None: not at all.
    pub(super) pseudonym: Option<Pseudonym>,
    pub(super) head_limit: usize,
    pub(super) head_timeout: Duration,
    pub(super) keep_alive: Duration,
    pub(super) stop_timeout: Duration,
    pub(super) response_timeout: Duration,
    pub(super) connect_patience: Duration,
    /// Turns true when the proxy stops.
    pub(super) stop: watch::Sender<bool>,
    pub(super) closing: ConnectionClose,
}

impl ProxyContext {
    pub(super) fn new(
        config: &Config,
        proxy: &ProxyConfig,
        upstreams: [Arc<ConnectionPool>; 2],
    ) -> Result<Arc<Self>, ProxyError> {
        let longest_body = (proxy.max_body_mib as u64) << 20;
        let (stop, stopped) = watch::channel(false);
        Ok(Arc::new(Self {
            upstreams,
            ids: InteractionIds::default(),
            log: AccessLog::open(&proxy.access_log)?,
            places: Semaphore::new(proxy.max_requests),
            body_limits: BodyLimits {
                bytes: longest_body,
                time: proxy.body_timeout,
            },
            pseudonym: proxy
                .via
                .name(&config.lfi_code.to_string())
                .and_then(|name| Pseudonym::new(&name)),
            head_limit: proxy.max_header_kib << 10,
            head_timeout: proxy.head_timeout,
            keep_alive: proxy.keep_alive,
            stop_timeout: proxy.stop_timeout,
            response_timeout: config.hub.response_timeout,
            connect_patience: config.hub.connect_timeout + PATIENCE_BEYOND,
            stop,
            closing: ConnectionClose::new(longest_body, stopped),
        }))
    }

    pub(super) fn upstream(&self, service: Service) -> &Arc<ConnectionPool> {
        match service {
            Service::ConsentManager => &self.upstreams[0],
            Service::HeadlessHeimdall => &self.upstreams[1],
        }
    }
}

/// Shared by those that came in through one listener.
pub(super) struct ListenerContext {
    pub(super) context: Arc<ProxyContext>,
    pub(super) names: KnownHosts,
    pub(super) service: Option<Service>,
    /// For those who may not call, while they are told so.
    pub(super) strangers: Arc<Semaphore>,
    callers: Callers,
    gate: RwLock<Gate>,
}

impl ListenerContext {
    pub(super) fn new(
        context: &Arc<ProxyContext>,
        config: &Config,
        listener: &ListenerConfig,
    ) -> Result<Arc<Self>, ProxyError> {
        Ok(Arc::new(Self {
            context: Arc::clone(context),
            names: KnownHosts::new(&config.hub.origins(), &listener.host_names),
            service: listener.service,
            strangers: Arc::new(Semaphore::new(STRANGERS)),
            callers: listener.callers.clone(),
            gate: RwLock::new(Gate::of(&listener.callers)?),
        }))
    }

    pub(super) fn gate(&self) -> RwLockReadGuard<'_, Gate> {
        self.gate.read().ignore_poison()
    }

    /// Reads the caller token anew.
    ///
    /// # Errors
    /// It cannot be used; the old one stays.
    pub(super) fn reload(&self) -> Result<(), ProxyError> {
        let gate = Gate::of(&self.callers)?;
        *self.gate.write().ignore_poison() = gate;
        Ok(())
    }
}
