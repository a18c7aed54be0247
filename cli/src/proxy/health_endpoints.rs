//! The health endpoints `/healthz` (liveness), `/readyz` (readiness) and `/metrics` (Prometheus). They have a listener of
//! their own, which only operators reach, and which responds also when all `max_clients` are in use.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{ALLOW, CONNECTION, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};
use serde_json::{Value, json};
use tokio::net::unix::UCred;
use tokio::sync::Semaphore;

use super::accept::Gatekeeper;
use super::browser_origin;
use super::client_connection::RequestHandler;
use super::client_stream::RequestActivity;
use super::connection_pool::{ConnectionPool, LastHandshake};
use super::connection_slots::{Caller, ConnectionSlots};
use super::context::ProxyContext;
use super::host_header::KnownHosts;
use super::last_reload::LastReload;
use super::lingering_close::LingeringClose;
use super::problem_details::Problem;
use super::proxy_metrics;
use super::receive_request::ClientLimits;
use super::revocation_monitor::RevocationMonitor;
use super::signer_health::{SignerHealthMonitor, SignerStatus};
use hsm_mtls::internal::certificate::Certificate;
use hsm_mtls::internal::config::KeyRole;
use hsm_mtls::internal::config::listener::OperationsConfig;
use hsm_mtls::internal::diagnostic::Diagnostic as _;
use hsm_mtls::internal::poison::IgnorePoison as _;
use hsm_mtls::internal::rfc3339;

/// Renders the metrics in the Prometheus text format.
pub type Render = Arc<dyn Fn() -> String + Send + Sync>;

/// The most connections at once. Monitoring needs few.
pub(super) const MAX_CONNECTIONS: usize = 64;
/// The longest head in bytes.
const MAX_HEAD: usize = 8 << 10;
/// How long a client may take to send a request, be idle, or leave a response unread.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(10);
/// At most so many refused connections get a response at the same time.
const MAX_REFUSALS: usize = 8;

/// The state that the endpoints report.
pub(super) struct HealthEndpoints {
    pub(super) context: Arc<ProxyContext>,
    pub(super) certificate: Mutex<Certificate>,
    pub(super) revocation: Arc<RevocationMonitor>,
    pub(super) signer_health: Arc<SignerHealthMonitor>,
    pub(super) render: Render,
    pub(super) started: String,
    pub(super) last_reload: LastReload,
}

/// The listener of the endpoints.
pub(super) struct OperationsListener {
    endpoints: Arc<HealthEndpoints>,
    hosts: KnownHosts,
    place: String,
    limits: ClientLimits,
    slots: Arc<ConnectionSlots>,
    refusals: Arc<Semaphore>,
}

impl OperationsListener {
    /// `address` is the one that it listens on, if it is a TCP port.
    pub(super) fn new(
        endpoints: &Arc<HealthEndpoints>,
        config: &OperationsConfig,
        address: Option<SocketAddr>,
    ) -> Arc<Self> {
        let place = config.address.to_string();
        let mut hosts = KnownHosts::new(&[], &config.host_names);
        if let Some(address) = address {
            hosts.add_address(address.ip());
        }
        Arc::new(Self {
            endpoints: Arc::clone(endpoints),
            hosts,
            slots: ConnectionSlots::new(place.clone(), MAX_CONNECTIONS),
            place,
            limits: ClientLimits {
                head: MAX_HEAD,
                head_timeout: CLIENT_TIMEOUT,
                body_timeout: CLIENT_TIMEOUT,
                keep_alive: CLIENT_TIMEOUT,
                stop_timeout: endpoints.context.client_limits.stop_timeout,
            },
            refusals: Arc::new(Semaphore::new(MAX_REFUSALS)),
        })
    }

    /// Checks over TCP that the request is for this listener and not from a web page. A page whose name was made to lead
    /// here (DNS rebinding) sends that name as `Host`.
    fn check(&self, head: &Parts, over_unix_socket: bool) -> Result<(), Problem> {
        if over_unix_socket {
            return Ok(());
        }
        self.hosts.check(head, false).map_err(|problem| {
            problem.with_hint("call 127.0.0.1 or localhost, or add the name to `host_names` of [proxy.operations]")
        })?;
        browser_origin::check(head)
    }
}

impl Gatekeeper for OperationsListener {
    fn caller(&self, peer: Option<UCred>) -> Result<Caller, Problem> {
        // The mode of a Unix socket says who may connect.
        Ok(peer.map_or(Caller::Admitted, |peer| Caller::User(peer.uid())))
    }

    fn slots(&self) -> &Arc<ConnectionSlots> {
        &self.slots
    }

    fn refusals(&self) -> &Arc<Semaphore> {
        &self.refusals
    }

    fn lingering_close(&self) -> &LingeringClose {
        &self.endpoints.context.lingering_close
    }
}

impl RequestHandler for OperationsListener {
    type Body = Full<Bytes>;

    fn limits(&self) -> &ClientLimits {
        &self.limits
    }

    fn place(&self) -> &str {
        &self.place
    }

    fn shows_caller(&self, _head: &[u8]) -> bool {
        true
    }

    fn interaction_id(&self) -> HeaderValue {
        self.endpoints.context.ids.generate()
    }

    async fn respond(
        self: &Arc<Self>,
        activity: &Arc<RequestActivity>,
        uid: Option<u32>,
        request: Request<Incoming>,
    ) -> Response<Full<Bytes>> {
        activity.begin_request();
        let (head, body) = request.into_parts();
        let mut response = match self.check(&head, uid.is_some()) {
            Ok(()) => self.endpoints.response(&head).await,
            Err(problem) => {
                proxy_metrics::problem(problem.stage);
                problem.response(self.interaction_id()).map(Full::new)
            }
        };
        // No endpoint reads a body.
        if !body.is_end_stream() {
            let headers = response.headers_mut();
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        activity.end();
        response
    }
}

impl HealthEndpoints {
    async fn response(&self, head: &Parts) -> Response<Full<Bytes>> {
        if head.method != Method::GET && head.method != Method::HEAD {
            let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "GET only\n");
            let allowed = HeaderValue::from_static("GET, HEAD");
            refused.headers_mut().insert(ALLOW, allowed);
            return refused;
        }
        match head.uri.path() {
            "/healthz" => text(StatusCode::OK, "ok\n"),
            "/readyz" => {
                let signer = self.signer_health.status().await;
                if signer.problem().is_none() {
                    for upstream in &self.context.upstreams {
                        upstream.signer_is_ready();
                    }
                }
                let (ready, report) = self.readiness(&signer);
                let status = match ready {
                    true => StatusCode::OK,
                    false => StatusCode::SERVICE_UNAVAILABLE,
                };
                typed(status, "application/json", format!("{report:#}\n"))
            }
            "/metrics" => {
                // The signer's part is as of the call before this: a signer that does not answer delays no metrics.
                let signer_health = Arc::clone(&self.signer_health);
                tokio::spawn(async move { signer_health.status().await });
                typed(StatusCode::OK, "text/plain; version=0.0.4", (self.render)())
            }
            _ => text(
                StatusCode::NOT_FOUND,
                "/healthz, /readyz and /metrics are here\n",
            ),
        }
    }

    /// Readiness and its report. Ready means: the certificate is valid now and on no CRL, the signer would sign, and the last handshake
    /// with each service succeeded, or none was tried yet.
    fn readiness(&self, signer: &SignerStatus) -> (bool, Value) {
        let stopping = *self.context.stop.borrow();
        let now = SystemTime::now();
        let certificate = self.certificate.lock().ignore_poison();
        let validity_error = certificate.check_client(now).err();
        let is_revoked = |role| self.revocation.is_revoked(role) == Some(true);
        let is_valid = validity_error.is_none() && !is_revoked(KeyRole::C3);
        let upstreams = self.context.upstreams.iter();
        let upstreams: Vec<_> = upstreams
            .map(|pool| upstream_report(pool, signer))
            .collect();
        let all_connected = upstreams.iter().all(|(good, _)| *good);
        let token_problem = signer.problem().or_else(|| self.token_problem(signer));
        let mut jwt = self.context.jwt.as_ref().map(|jwt| jwt.report(now));
        if let Some((good, report)) = &mut jwt {
            *good &= !is_revoked(KeyRole::Sig4);
            report["good"] = (*good).into();
            self.revocation.report(KeyRole::Sig4, report);
        }
        let has_tokens = jwt.as_ref().is_none_or(|(good, _)| *good);
        // Of several tokens, each has a certificate: one that can be used is enough.
        let has_certificate = is_valid || (signer.has_several_tokens() && token_problem.is_none());
        let ready =
            has_certificate && all_connected && has_tokens && token_problem.is_none() && !stopping;
        let mut report = json!({
            "schema": 0,
            "ready": ready,
            "stopping": stopping,
            "started": self.started,
            "last_reload": self.last_reload.report(),
            "token": match token_problem {
                None => json!({ "good": true, "signer": signer.report() }),
                Some((stage, detail, hint)) => json!({
                    "good": false,
                    "stage": stage,
                    "detail": detail,
                    "hint": hint,
                    "signer": signer.report(),
                }),
            },
            "certificate": {
                "good": is_valid,
                "subject": certificate.subject().to_string(),
                "not_before": certificate.not_before(),
                "not_after": certificate.not_after(),
                "days_left": certificate.days_left(now),
                "x5t_s256": certificate.x5t_s256(),
            },
            "upstreams": upstreams.into_iter().map(|(_, report)| report).collect::<Vec<_>>(),
        });
        if let Some((_, jwt)) = jwt {
            report["jwt"] = jwt;
        }
        let tokens = signer.tokens();
        if !tokens.is_empty() {
            report["token"]["tokens"] = tokens.into();
        }
        if let Some(state) = signer.device_state() {
            report["token"]["device_state"] = state.into();
        }
        self.revocation
            .report(KeyRole::C3, &mut report["certificate"]);
        if let Some(error) = validity_error {
            report["certificate"]["detail"] = error.to_string().into();
            report["certificate"]["hint"] = error.hint().into();
        }
        (ready, report)
    }

    /// The token failure of the last handshake, if it is not outdated.
    fn token_problem(&self, signer: &SignerStatus) -> Option<(&'static str, String, String)> {
        let last = self.context.upstreams.iter();
        let last = last.filter_map(|upstream| upstream.last_handshake());
        // Of two handshakes in the same second, one without a token failure shows that the token signs again.
        let last = last.max_by_key(|handshake| (handshake.at, !handshake.token_failed))?;
        match last.outcome {
            Err(problem) if last.token_failed && !signer.outdates(last.at) => {
                Some((problem.stage, problem.detail, problem.hint))
            }
            _ => None,
        }
    }
}

/// Whether the last handshake with a service was good, and the service's part of the readiness report.
fn upstream_report(upstream: &Arc<ConnectionPool>, signer: &SignerStatus) -> (bool, Value) {
    let size = upstream.size();
    let last = upstream.last_handshake();
    let outdated = |last: &LastHandshake| last.token_failed && signer.outdates(last.at);
    let good = last
        .as_ref()
        .is_none_or(|last| last.outcome.is_ok() || outdated(last));
    let last = last.map(|last| {
        let at = rfc3339::of_unix(last.at);
        match last.outcome {
            Ok(tls) => json!({ "at": at, "good": true, "tls": tls }),
            Err(problem) => json!({
                "at": at,
                "good": false,
                "stage": problem.stage,
                "detail": problem.detail,
                "hint": problem.hint,
            }),
        }
    });
    let report = json!({
        "name": upstream.service().label(),
        "origin": upstream.origin().to_string(),
        "good": good,
        "connections": size.open,
        "ready_connections": size.ready,
        "last_handshake": last,
    });
    (good, report)
}

fn text(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    typed(status, "text/plain", text.to_owned())
}

fn typed(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
