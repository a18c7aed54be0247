//! The state that all client connections share (pools, limits, logs), and the state that those of one listener share
//! (access control, known hosts).

use std::sync::{Arc, RwLock, RwLockReadGuard};
use std::time::Duration;

use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use tokio::sync::{Semaphore, watch};

use super::ProxyError;
use super::access_control::AccessControl;
use super::access_log::AccessLog;
use super::client_connection::RequestHandler;
use super::client_stream::RequestActivity;
use super::connection_pool::ConnectionPool;
use super::connection_slots::ConnectionSlots;
use super::forward::forward;
use super::host_header::KnownHosts;
use super::interaction_id::InteractionIdGenerator;
use super::jwt_auth::JwtAuth;
use super::lingering_close::LingeringClose;
use super::receive_request::ClientLimits;
use super::request_body::BodyLimits;
use super::request_head::ListenerServices;
use super::response_body::ResponseBody;
use super::via::ViaPseudonym;
use hsm_mtls::internal::config::Config;
use hsm_mtls::internal::config::Service;
use hsm_mtls::internal::config::listener::{Callers, ListenerConfig};
use hsm_mtls::internal::config::proxy::ProxyConfig;
use hsm_mtls::internal::poison::IgnorePoison as _;

/// A request waits for a connection this much longer than connecting may take: the error of a failed connection says
/// more than that of a timeout.
const LEASE_MARGIN: Duration = Duration::from_millis(500);

/// At most so many refused connections get a response at the same time; further ones are closed without one.
pub(super) const MAX_REFUSALS: usize = 64;

/// The state of the whole proxy.
pub(super) struct ProxyContext {
    /// The connection pools, one for each service.
    pub(super) upstreams: Vec<Arc<ConnectionPool>>,
    pub(super) ids: InteractionIdGenerator,
    pub(super) log: AccessLog,
    /// One permit for each request that is being forwarded (`max_requests`).
    pub(super) request_permits: Semaphore,
    pub(super) body_limits: BodyLimits,
    pub(super) client_limits: ClientLimits,
    /// This gateway's name in `Via`. None: no `Via` is added.
    pub(super) pseudonym: Option<ViaPseudonym>,
    pub(super) response_timeout: Duration,
    pub(super) lease_timeout: Duration,
    /// Becomes true when the proxy stops.
    pub(super) stop: watch::Sender<bool>,
    pub(super) lingering_close: LingeringClose,
    /// None: no request carries a token.
    pub(super) jwt: Option<Arc<JwtAuth>>,
}

impl ProxyContext {
    pub(super) fn new(
        config: &Config,
        proxy: &ProxyConfig,
        upstreams: Vec<Arc<ConnectionPool>>,
        jwt: Option<Arc<JwtAuth>>,
    ) -> Result<Arc<Self>, ProxyError> {
        let max_body = (proxy.max_body_mib as u64) << 20;
        let (stop, stopped) = watch::channel(false);
        Ok(Arc::new(Self {
            upstreams,
            ids: InteractionIdGenerator::default(),
            log: AccessLog::open(&proxy.access_log)?,
            request_permits: Semaphore::new(proxy.max_requests),
            body_limits: BodyLimits {
                bytes: max_body,
                time: proxy.body_timeout,
            },
            client_limits: ClientLimits {
                head: proxy.max_header_kib << 10,
                head_timeout: proxy.head_timeout,
                body_timeout: proxy.body_timeout,
                keep_alive: proxy.keep_alive,
                stop_timeout: proxy.stop_timeout,
            },
            pseudonym: proxy
                .via
                .name(config.lfi_code.as_ref())
                .and_then(|name| ViaPseudonym::new(&name)),
            response_timeout: config.hub.response_timeout,
            lease_timeout: config.hub.connect_timeout + LEASE_MARGIN,
            stop,
            lingering_close: LingeringClose::new(max_body, stopped),
            jwt,
        }))
    }

    pub(super) fn upstream(&self, service: Service) -> Option<&Arc<ConnectionPool>> {
        let mut upstreams = self.upstreams.iter();
        upstreams.find(|upstream| upstream.service() == service)
    }
}

/// The state of one listener.
pub(super) struct ListenerContext {
    pub(super) context: Arc<ProxyContext>,
    pub(super) hosts: KnownHosts,
    /// The services that requests are for: all, and then the path's prefix names one, or the one of this listener.
    pub(super) services: ListenerServices,
    pub(super) slots: Arc<ConnectionSlots>,
    /// One permit for each refused connection while the refusal is sent.
    pub(super) refusals: Arc<Semaphore>,
    /// The address.
    place: String,
    callers: Callers,
    access_control: RwLock<AccessControl>,
}

impl ListenerContext {
    pub(super) fn new(
        context: &Arc<ProxyContext>,
        config: &Config,
        listener: &ListenerConfig,
        max_clients: usize,
    ) -> Result<Arc<Self>, ProxyError> {
        let place = listener.address.to_string();
        Ok(Arc::new(Self {
            context: Arc::clone(context),
            hosts: KnownHosts::new(&config.hub.origins(), &listener.host_names),
            slots: ConnectionSlots::new(place.clone(), max_clients),
            place,
            services: ListenerServices::of(config, listener),
            refusals: Arc::new(Semaphore::new(MAX_REFUSALS)),
            callers: listener.callers.clone(),
            access_control: RwLock::new(AccessControl::of(&listener.callers)?),
        }))
    }

    pub(super) fn access_control(&self) -> RwLockReadGuard<'_, AccessControl> {
        self.access_control.read().ignore_poison()
    }

    /// Reads the caller token again.
    ///
    /// # Errors
    /// The new one cannot be used; the old one stays.
    pub(super) fn reload_access_control(&self) -> Result<(), ProxyError> {
        let access_control = AccessControl::of(&self.callers)?;
        *self.access_control.write().ignore_poison() = access_control;
        Ok(())
    }
}

impl RequestHandler for ListenerContext {
    type Body = ResponseBody;

    fn limits(&self) -> &ClientLimits {
        &self.context.client_limits
    }

    fn place(&self) -> &str {
        &self.place
    }

    fn shows_caller(&self, head: &[u8]) -> bool {
        self.access_control().is_shown_in(head)
    }

    fn interaction_id(&self) -> HeaderValue {
        self.context.ids.generate()
    }

    async fn respond(
        self: &Arc<Self>,
        activity: &Arc<RequestActivity>,
        uid: Option<u32>,
        request: Request<Incoming>,
    ) -> Response<ResponseBody> {
        forward(self, activity, uid, request).await
    }
}
