//! The local proxy: an application speaks plain HTTP to a socket that only it can use, and the hub
//! sees mutual TLS with the key in the token. Nothing else changes: not a path, not a status.
//!
//! ```text
//! application ──► accept ──► caller_auth ──► request_head ──► forward ──► connection_pool ──► the hub
//!                 Unix or    uid or          request_body     one         warm                mTLS, from the
//!                 loopback   token           refused, or      answer      connections         connector only
//!                                            one request
//! ```
//!
//! All sockets are opened in `listen_sockets`; what is opened later is in `reload` (certificate, anchors,
//! caller token, access log) and in `connection_pool` (connections to the hub). One thread serves all requests;
//! handshakes and the access log have threads of their own.

mod accept;
mod access_log;
mod body_drain;
mod caller_auth;
mod client_connection;
mod client_stream;
mod connection_close;
mod connection_pool;
mod context;
mod error;
mod forward;
mod health_endpoints;
mod http2_error;
mod interaction_id;
mod lifecycle_log;
mod listen_sockets;
pub mod metrics;
mod problem_details;
mod reload;
mod replay_buffer;
mod request_body;
mod request_head;
mod request_record;
mod request_syntax;
mod response_body;
mod retry_policy;
mod sd_notify;
mod signer_health;
mod via;

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Semaphore;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};

use accept::{Listener, listen};
pub use caller_auth::{TOKEN as CALLER_TOKEN, check_tokens};
use connection_pool::ConnectionPool;
use context::{ListenerContext, ProxyContext};
pub use error::ProxyError;
pub use health_endpoints::Render;
use health_endpoints::{HealthEndpoints, answer};
use hsm_mtls::internal::config::Config;
use hsm_mtls::internal::config::environment::Service;
use hsm_mtls::internal::config::proxy::ProxyConfig;
use hsm_mtls::internal::diagnostic::Diagnostic as _;
use hsm_mtls::internal::identity::Validity;
use hsm_mtls::internal::rfc3339;
use hsm_mtls::internal::signer::RemoteKey;
use hsm_mtls::internal::signer::front_end_supervisor::ReloadOffers;
pub use lifecycle_log::LIFECYCLE;
pub use listen_sockets::Sockets;
use reload::{Reload, prepare};
use sd_notify::ServiceManager;
use signer_health::SignerHealthMonitor;

/// How often the pools are looked after.
const KEEPING: Duration = Duration::from_secs(1);

/// Runs the proxy until it is told to stop (SIGTERM, SIGINT). Other signers are offered over `control`.
///
/// # Errors
/// It cannot start: token, key, certificate, trust anchors, sockets or files are not as they must be.
pub fn run(
    config: Config,
    sockets: Sockets,
    key: Arc<RemoteKey>,
    control: OwnedFd,
    render: Render,
) -> Result<(), ProxyError> {
    let proxy = config.proxy.clone().ok_or(ProxyError::NotConfigured)?;
    let (identity, connector) = prepare(&config, &proxy, &key, Validity::NowOrLater)?;
    let certificate = identity.chain().leaf().clone();
    if let Err(early) = certificate.check_client(SystemTime::now()) {
        // A clock that is not set yet is set in a moment. Nothing is shown to the hub before.
        let (now, hint) = (rfc3339::now(), early.hint());
        tracing::warn!(now, hint, "{early}: it is waited for");
    }
    let key_uri = identity.signer().key_uri();
    drop(identity);
    let runtime = Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(8)
        .build()
        .map_err(ProxyError::System)?;
    runtime.block_on(async {
        let upstream = |service: Service| {
            ConnectionPool::new(
                service,
                config.hub.origin(service),
                connector.clone(),
                &proxy,
            )
            .ok_or_else(|| {
                hsm_mtls::internal::client::ClientError::Setup("a host name is no Host".to_owned())
            })
        };
        let upstreams = [
            upstream(Service::ConsentManager)?,
            upstream(Service::HeadlessHeimdall)?,
        ];
        let context = ProxyContext::new(&config, &proxy, upstreams)?;
        let operations = Arc::new(HealthEndpoints {
            context: Arc::clone(&context),
            certificate: Mutex::new(certificate.clone()),
            signer_health: SignerHealthMonitor::of(key),
            render,
            started: rfc3339::now(),
        });
        let running = Running::start(&config, &proxy, sockets, &operations)?;
        let reload = Reload {
            config: config.clone(),
            proxy: proxy.clone(),
            doors: running.doors.clone(),
            operations,
            manager: Arc::clone(&running.manager),
        };
        let offers = ReloadOffers::new(control)?;
        lifecycle_log::ready(&config, &certificate, &key_uri);
        running.until_stopped(reload.follow(offers)).await;
        context.log.end();
        Ok(())
    })
}

/// The proxy at work.
struct Running {
    context: Arc<ProxyContext>,
    doors: Vec<Arc<ListenerContext>>,
    clients: Arc<Semaphore>,
    most: usize,
    signals: [Signal; 3],
    manager: Arc<ServiceManager>,
}

impl Running {
    fn start(
        config: &Config,
        proxy: &ProxyConfig,
        sockets: Sockets,
        operations: &Arc<HealthEndpoints>,
    ) -> Result<Self, ProxyError> {
        let context = &operations.context;
        let stopped = context.stop.subscribe();
        let clients = Arc::new(Semaphore::new(proxy.max_clients));
        // Before anything listens: a signal that comes early is not lost.
        let heard = |kind| signal(kind).map_err(ProxyError::System);
        let signals = [
            heard(SignalKind::hangup())?,
            heard(SignalKind::terminate())?,
            heard(SignalKind::interrupt())?,
        ];
        let mut doors = Vec::new();
        for (socket, listener) in sockets.listeners {
            let door = ListenerContext::new(context, config, &listener)?;
            let socket = Listener::new(socket).map_err(ProxyError::System)?;
            let clients = Arc::clone(&clients);
            tokio::spawn(listen(socket, Arc::clone(&door), clients, stopped.clone()));
            doors.push(door);
        }
        if let Some(socket) = sockets.operations {
            let socket = Listener::new(socket).map_err(ProxyError::System)?;
            tokio::spawn(answer(socket, Arc::clone(operations), stopped));
        }
        Ok(Self {
            context: Arc::clone(context),
            doors,
            clients,
            most: proxy.max_clients,
            signals,
            manager: Arc::new(ServiceManager::from_environment()),
        })
    }

    async fn until_stopped(mut self, reloads: impl Future<Output = ()>) {
        let mut keeping = interval(KEEPING);
        keeping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut logging = interval(access_log::INTERVAL);
        logging.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let [hangup, terminate, interrupt] = &mut self.signals;
        self.manager.ready();
        let reloads = async {
            reloads.await;
            std::future::pending::<()>().await;
        };
        let mut reloads = std::pin::pin!(reloads);
        loop {
            tokio::select! {
                // Reloads go on beside all that follows, and end with it.
                () = &mut reloads => {}
                // Where a whole group is told: it is the supervisor that reads the file anew, and offers.
                _ = hangup.recv() => {}
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = keeping.tick() => {
                    // Each listener holds the place of the next.
                    let taken = self.most - self.clients.available_permits();
                    metrics::clients(taken.saturating_sub(self.doors.len()));
                    for upstream in &self.context.upstreams {
                        upstream.maintain();
                    }
                }
                _ = logging.tick() => self.context.log.flush(),
            }
        }
        self.manager.stopping();
        // Whoever waits for a place to be accepted is answered too.
        self.context.stop.send_replace(true);
        let all = u32::try_from(self.most).unwrap_or(u32::MAX);
        let until = Instant::now() + self.context.stop_timeout;
        let ended = async {
            if timeout_at(until, self.clients.acquire_many(all))
                .await
                .is_err()
            {
                tracing::error!("some requests were not answered within `stop_timeout`");
            }
            // They have their answers, and may be busy with what they were sending.
            let _ = timeout_at(until, self.context.closing.over()).await;
        };
        tokio::select! {
            () = ended => {}
            _ = terminate.recv() => tracing::error!("told to stop twice: what was under way is cut off"),
            _ = interrupt.recv() => tracing::error!("told to stop twice: what was under way is cut off"),
        }
        self.manager.end();
    }
}
