//! The local proxy (the front end process): applications send plain HTTP to a local socket, and the proxy forwards each
//! request to the hub over mutual TLS with the key in the token. Paths, bodies and statuses are not changed.
//!
//! ```text
//! application ──► accept ──► access_control ──► request_head ──► forward ──► connection_pool ──► hub
//!                 Unix or    uid, gid or        request_body     retries     warm, mTLS
//!                 loopback   caller_token       validated                    connections
//! ```
//!
//! `listen_sockets` opens all sockets at the start. Later, only `reload` opens files (certificate, anchors, caller token,
//! access log), and `connection_pool` opens connections to the hub. One thread serves all requests and makes all
//! handshakes, in which it waits for no token; the access log has a thread of its own.

mod accept;
mod access_control;
mod access_log;
mod body_drain;
mod body_framing;
mod browser_origin;
mod caller_token;
mod client_connection;
mod client_stream;
mod connection_pool;
mod connection_slots;
mod context;
mod descriptor_limit;
mod error;
mod forward;
mod health_endpoints;
mod hop_by_hop_headers;
mod host_header;
mod interaction_id;
mod jwt_auth;
mod key_set_monitor;
mod last_reload;
mod lifecycle_log;
mod lingering_close;
mod listen_sockets;
mod opened_keys;
mod problem_details;
pub mod proxy_metrics;
mod receive_request;
mod reload;
mod replay_buffer;
mod request_body;
mod request_head;
mod request_record;
mod request_retry;
mod request_syntax;
mod response_body;
mod revocation_monitor;
mod sd_notify;
mod signer_health;
mod socket_checks;
mod via;

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};

use accept::{AsyncListener, accept_loop};
pub use caller_token::{CALLER_TOKEN, check_tokens};
use connection_pool::ConnectionPool;
use context::{ListenerContext, ProxyContext};
pub use error::ProxyError;
pub use health_endpoints::Render;
use health_endpoints::{HealthEndpoints, OperationsListener};
use hsm_mtls::internal::config::Config;
use hsm_mtls::internal::config::HubService;
use hsm_mtls::internal::config::proxy::ProxyConfig;
use hsm_mtls::internal::diagnostic::Diagnostic as _;
use hsm_mtls::internal::identity::Validity;
use hsm_mtls::internal::rfc3339;
use hsm_mtls::internal::signer::front_end_supervisor::ReloadOffers;
use jwt_auth::JwtAuth;
use last_reload::LastReload;
pub use listen_sockets::Sockets;
use opened_keys::OpenedKeys;
use reload::ReloadTask;
use revocation_monitor::RevocationMonitor;
pub use sd_notify::ServiceManager;
use signer_health::SignerHealthMonitor;

/// How often the connection pools are maintained.
const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(1);

/// Runs the proxy until SIGTERM or SIGINT, with the channels to its signers. The supervisor offers reloads over the socket `control`.
///
/// # Errors
/// The proxy cannot start, because of token, key, certificate, trust anchors, sockets or files.
pub fn run(
    config: Config,
    sockets: Sockets,
    channels: Vec<OwnedFd>,
    control: OwnedFd,
    render: Render,
    service_manager: ServiceManager,
) -> Result<(), ProxyError> {
    let proxy = config.proxy.clone().ok_or(ProxyError::NotConfigured)?;
    let keys = OpenedKeys::open(&config, channels, &proxy, Validity::NowOrLater)?;
    let OpenedKeys {
        identity,
        connector,
        signers,
    } = keys;
    let certificate = identity.chain().leaf().clone();
    if let Err(error) = certificate.check_client(SystemTime::now()) {
        // After a boot the clock may not be set yet. No handshake is made before the certificate is valid.
        let (now, hint) = (rfc3339::now(), error.hint());
        tracing::warn!(now, hint, "{error}: it is waited for");
    }
    let key_uri = identity.signer().key_uri();
    let jwt = JwtAuth::start(&config, identity.sig4()).map_err(ProxyError::System)?;
    let revocation = RevocationMonitor::start(&config, &identity);
    drop(identity);
    let runtime = Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(8)
        .build()
        .map_err(ProxyError::System)?;
    runtime.block_on(async move {
        let upstream = |service: &HubService| {
            ConnectionPool::new(service.service, &service.origin, connector.clone(), &proxy)
                .ok_or_else(|| {
                    hsm_mtls::internal::client::ClientError::Setup(
                        "a host name is no Host".to_owned(),
                    )
                })
        };
        let upstreams = config.hub.services.iter().map(upstream);
        let upstreams = upstreams.collect::<Result<Vec<_>, _>>()?;
        // With its trust store, which the next reload replaces: a CRL may have 50 MB.
        drop(connector);
        let context = ProxyContext::new(&config, &proxy, upstreams, jwt)?;
        let endpoints = Arc::new(HealthEndpoints {
            context: Arc::clone(&context),
            certificate: Mutex::new(certificate.clone()),
            revocation: Arc::clone(&revocation),
            signer_health: SignerHealthMonitor::of(signers),
            render,
            started: rfc3339::now(),
            last_reload: LastReload::default(),
        });
        let running = RunningProxy::start(&config, &proxy, sockets, &endpoints, service_manager)?;
        tokio::spawn(revocation.watch());
        if let Some(jwt) = &context.jwt {
            tokio::spawn(Arc::clone(jwt).watch_key_set());
        }
        let reload = ReloadTask {
            config: config.clone(),
            proxy: proxy.clone(),
            listeners: running.listeners.clone(),
            endpoints,
            service_manager: Arc::clone(&running.service_manager),
        };
        let offers = ReloadOffers::new(control)?;
        lifecycle_log::ready(&config, &certificate, &key_uri);
        running
            .run_until_stopped(reload.handle_offers(offers))
            .await;
        context.log.close();
        Ok(())
    })
}

/// The running proxy: its listeners, the limit of clients, and the signals.
struct RunningProxy {
    context: Arc<ProxyContext>,
    listeners: Vec<Arc<ListenerContext>>,
    /// Closed when the last connection has ended.
    all_ended: mpsc::Receiver<()>,
    /// Never sends: health checks are answered until the proxy ends.
    _operations_stop: watch::Sender<bool>,
    signals: [Signal; 3],
    service_manager: Arc<ServiceManager>,
}

impl RunningProxy {
    fn start(
        config: &Config,
        proxy: &ProxyConfig,
        sockets: Sockets,
        endpoints: &Arc<HealthEndpoints>,
        service_manager: ServiceManager,
    ) -> Result<Self, ProxyError> {
        let context = &endpoints.context;
        let stopped = context.stop.subscribe();
        let (open, all_ended) = mpsc::channel(1);
        let (operations_stop, _) = watch::channel(false);
        let max_clients = descriptor_limit::max_clients(proxy);
        // Installed before any connection is accepted, so that no signal is lost.
        let handler = |kind| signal(kind).map_err(ProxyError::System);
        let signals = [
            handler(SignalKind::hangup())?,
            handler(SignalKind::terminate())?,
            handler(SignalKind::interrupt())?,
        ];
        let mut listeners = Vec::new();
        for (socket, listener) in sockets.listeners {
            let listener = ListenerContext::new(context, config, &listener, max_clients)?;
            let socket = AsyncListener::new(socket).map_err(ProxyError::System)?;
            tokio::spawn(accept_loop(
                socket,
                Arc::clone(&listener),
                open.clone(),
                stopped.clone(),
            ));
            listeners.push(listener);
        }
        if let Some((socket, config)) = sockets.operations.zip(proxy.operations.as_ref()) {
            let socket = AsyncListener::new(socket).map_err(ProxyError::System)?;
            let listener = OperationsListener::new(endpoints, config, socket.tcp_address());
            let (open, stopped) = (mpsc::channel(1).0, operations_stop.subscribe());
            tokio::spawn(accept_loop(socket, listener, open, stopped));
        }
        Ok(Self {
            context: Arc::clone(context),
            listeners,
            all_ended,
            _operations_stop: operations_stop,
            signals,
            service_manager: Arc::new(service_manager),
        })
    }

    /// Runs the periodic tasks until a signal, and then stops gracefully within `stop_timeout`.
    async fn run_until_stopped(mut self, reloads: impl Future<Output = ()>) {
        let mut maintenance = interval(MAINTENANCE_INTERVAL);
        maintenance.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut log_flush = interval(access_log::FLUSH_INTERVAL);
        log_flush.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let [hangup, terminate, interrupt] = &mut self.signals;
        self.service_manager.ready();
        let mut reloads = std::pin::pin!(reloads);
        loop {
            tokio::select! {
                // The kernel ends this process with its parent, unless that ended before it was told so.
                () = &mut reloads => {
                    tracing::error!("the supervisor has ended: the proxy is stopped");
                    break;
                }
                // SIGHUP of the whole process group: the supervisor handles it, and offers a reload.
                _ = hangup.recv() => {}
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = maintenance.tick() => {
                    let counts = self.listeners.iter().map(|listener| listener.slots.count());
                    proxy_metrics::set_clients(counts.sum());
                    for upstream in &self.context.upstreams {
                        upstream.maintain();
                    }
                    if let Some(jwt) = &self.context.jwt {
                        jwt.count();
                    }
                }
                _ = log_flush.tick() => self.context.log.flush(),
            }
        }
        self.service_manager.stopping();
        // The listeners also serve the connections that wait to be accepted.
        self.context.stop.send_replace(true);
        let deadline = Instant::now() + self.context.client_limits.stop_timeout;
        let ended = async {
            if timeout_at(deadline, self.all_ended.recv()).await.is_err() {
                tracing::error!("some requests were not answered within `stop_timeout`");
            }
            // These connections have their responses, and may still be sending their requests.
            let _ = timeout_at(deadline, self.context.lingering_close.wait_for_all()).await;
        };
        tokio::select! {
            () = ended => {}
            _ = terminate.recv() => tracing::error!("told to stop twice: what was under way is cut off"),
            _ = interrupt.recv() => tracing::error!("told to stop twice: what was under way is cut off"),
        }
        self.service_manager.flush();
    }
}
