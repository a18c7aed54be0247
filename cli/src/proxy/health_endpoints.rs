//! The health endpoints `/healthz` (liveness), `/readyz` (readiness) and `/metrics` (Prometheus). They have a listener of
//! their own, which only operators reach, and which responds also when all `max_clients` are in use.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{ALLOW, CONNECTION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::time::sleep;

use super::accept::{ACCEPT_BACKOFF, AsyncListener};
use super::client_connection::{Stop, is_answered};
use super::client_stream::{ClientIo, RequestActivity};
use super::connection_pool::{ConnectionPool, LastHandshake};
use super::context::ProxyContext;
use super::signer_health::{SignerHealthMonitor, SignerStatus};
use hsm_mtls::internal::certificate::Certificate;
use hsm_mtls::internal::diagnostic::Diagnostic as _;
use hsm_mtls::internal::poison::IgnorePoison as _;
use hsm_mtls::internal::rfc3339;

/// Renders the metrics in the Prometheus text format.
pub type Render = Arc<dyn Fn() -> String + Send + Sync>;

/// The most connections at once. Monitoring needs few.
const MAX_CONNECTIONS: usize = 16;
/// How long a client may take to send a request, or leave a response unread.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(10);

/// The state that the endpoints report.
pub(super) struct HealthEndpoints {
    pub(super) context: Arc<ProxyContext>,
    pub(super) certificate: Mutex<Certificate>,
    pub(super) signer_health: Arc<SignerHealthMonitor>,
    pub(super) render: Render,
    pub(super) started: String,
}

/// Serves the endpoints until the proxy ends.
pub(super) async fn serve_endpoints(
    listener: AsyncListener,
    endpoints: Arc<HealthEndpoints>,
    stop: Stop,
) {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
            return;
        };
        let Ok((stream, _)) = listener.accept().await else {
            sleep(ACCEPT_BACKOFF).await;
            continue;
        };
        let (endpoints, stop) = (Arc::clone(&endpoints), stop.clone());
        let io = ClientIo::new(
            stream,
            Bytes::new(),
            None,
            Arc::new(RequestActivity::default()),
            CLIENT_TIMEOUT,
        );
        let context = Arc::clone(&endpoints.context);
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let endpoints = Arc::clone(&endpoints);
                let stopping = *stop.borrow();
                async move { Ok::<_, Infallible>(endpoints.respond(request, stopping).await) }
            });
            let mut connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(CLIENT_TIMEOUT)
                .max_buf_size(8 << 10)
                .serve_connection(TokioIo::new(io), service);
            if is_answered(&(&mut connection).await) {
                let parts = connection.into_parts();
                let (stream, _) = parts.io.into_inner().into_stream(parts.read_buf);
                context
                    .lingering_close
                    .close_with_permit(stream, permit)
                    .await;
            }
        });
    }
}

impl HealthEndpoints {
    /// Responds to a request. One with a body closes the connection: no endpoint reads a body.
    async fn respond(&self, request: Request<Incoming>, stopping: bool) -> Response<Full<Bytes>> {
        let has_body = !request.body().is_end_stream();
        let mut response = self.response(request, stopping).await;
        if has_body {
            let headers = response.headers_mut();
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    async fn response(&self, request: Request<Incoming>, stopping: bool) -> Response<Full<Bytes>> {
        if request.method() != Method::GET && request.method() != Method::HEAD {
            let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "GET only\n");
            let allowed = HeaderValue::from_static("GET, HEAD");
            refused.headers_mut().insert(ALLOW, allowed);
            return refused;
        }
        match request.uri().path() {
            "/healthz" => text(StatusCode::OK, "ok\n"),
            "/readyz" => {
                let signer = self.signer_health.status().await;
                if signer.problem().is_none() {
                    for upstream in &self.context.upstreams {
                        upstream.signer_is_ready();
                    }
                }
                let (ready, report) = self.readiness(stopping, &signer);
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

    /// Readiness and its report. Ready means: the certificate is valid now, the signer would sign, and the last handshake
    /// with each service succeeded, or none was tried yet.
    fn readiness(&self, stopping: bool, signer: &SignerStatus) -> (bool, Value) {
        let now = SystemTime::now();
        let certificate = self.certificate.lock().ignore_poison();
        let validity_error = certificate.check_client(now).err();
        let is_valid = validity_error.is_none();
        let upstreams = self.context.upstreams.iter();
        let upstreams: Vec<_> = upstreams
            .map(|pool| upstream_report(pool, signer))
            .collect();
        let all_connected = upstreams.iter().all(|(good, _)| *good);
        let token_problem = signer.problem().or_else(|| self.token_problem(signer));
        let ready = is_valid && all_connected && token_problem.is_none() && !stopping;
        let mut report = json!({
            "schema": 0,
            "ready": ready,
            "stopping": stopping,
            "started": self.started,
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
        if let Some(state) = signer.device_state() {
            report["token"]["device_state"] = state.into();
        }
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
