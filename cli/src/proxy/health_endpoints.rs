//! `/healthz`, `/readyz` and `/metrics`, on a listener of their own: what they say is for the
//! machine's operators, and they answer also where applications wait.

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

use super::accept::Listener;
use super::client_connection::{Stop, is_answered};
use super::client_stream::{Io, RequestActivity};
use super::connection_pool::{ConnectionPool, LastHandshake};
use super::context::ProxyContext;
use super::signer_health::{SignerHealthMonitor, SignerStatus};
use hsm_mtls::internal::certificate::Certificate;
use hsm_mtls::internal::diagnostic::Diagnostic as _;
use hsm_mtls::internal::poison::IgnorePoison as _;
use hsm_mtls::internal::rfc3339;

/// Writes the metrics as Prometheus reads them.
pub type Render = Arc<dyn Fn() -> String + Send + Sync>;

/// Monitoring calls now and then: more at once is somebody else.
const MOST: usize = 16;
const PATIENCE: Duration = Duration::from_secs(10);

/// What the operators are told of.
pub(super) struct HealthEndpoints {
    pub(super) context: Arc<ProxyContext>,
    pub(super) certificate: Mutex<Certificate>,
    pub(super) signer_health: Arc<SignerHealthMonitor>,
    pub(super) render: Render,
    pub(super) started: String,
}

/// Answers until the proxy has stopped.
pub(super) async fn answer(listener: Listener, operations: Arc<HealthEndpoints>, stop: Stop) {
    let places = Arc::new(Semaphore::new(MOST));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let Ok((stream, _)) = listener.accept().await else {
            sleep(Duration::from_millis(50)).await;
            continue;
        };
        let (operations, stop) = (Arc::clone(&operations), stop.clone());
        let io = Io::new(
            stream,
            Bytes::new(),
            None,
            Arc::new(RequestActivity::default()),
            PATIENCE,
        );
        let context = Arc::clone(&operations.context);
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let operations = Arc::clone(&operations);
                let stopping = *stop.borrow();
                async move { Ok::<_, Infallible>(operations.respond(request, stopping).await) }
            });
            let mut connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(PATIENCE)
                .max_buf_size(8 << 10)
                .serve_connection(TokioIo::new(io), service);
            if is_answered(&(&mut connection).await) {
                let parts = connection.into_parts();
                let (stream, _) = parts.io.into_inner().into_stream(parts.read_buf);
                context.closing.close_in_stages(stream, place).await;
            }
        });
    }
}

impl HealthEndpoints {
    /// The connection ends with a request that has a body: nothing here takes one.
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
                if signer.trouble().is_none() {
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
            "/metrics" => typed(StatusCode::OK, "text/plain; version=0.0.4", (self.render)()),
            _ => text(
                StatusCode::NOT_FOUND,
                "/healthz, /readyz and /metrics are here\n",
            ),
        }
    }

    /// Ready: the certificate is in its time, the signer would sign, and the last connection to each
    /// service was made, or none was tried yet.
    fn readiness(&self, stopping: bool, signer: &SignerStatus) -> (bool, Value) {
        let now = SystemTime::now();
        let certificate = self.certificate.lock().ignore_poison();
        let untimely = certificate.check_client(now).err();
        let in_time = untimely.is_none();
        let upstreams = self.context.upstreams.iter();
        let upstreams: Vec<_> = upstreams.map(|of| upstream(of, signer)).collect();
        let reached = upstreams.iter().all(|(good, _)| *good);
        let token = signer.trouble().or_else(|| self.token(signer));
        let ready = in_time && reached && token.is_none() && !stopping;
        let mut report = json!({
            "schema": 0,
            "ready": ready,
            "stopping": stopping,
            "started": self.started,
            "token": match token {
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
                "good": in_time,
                "subject": certificate.subject().to_string(),
                "not_before": certificate.not_before(),
                "not_after": certificate.not_after(),
                "days_left": certificate.days_left(now),
                "x5t_s256": certificate.x5t_s256(),
            },
            "upstreams": upstreams.into_iter().map(|(_, report)| report).collect::<Vec<_>>(),
        });
        if let Some(untimely) = untimely {
            report["certificate"]["detail"] = untimely.to_string().into();
            report["certificate"]["hint"] = untimely.hint().into();
        }
        (ready, report)
    }

    /// What the last handshakes say of the way to the key, where it is not good.
    fn token(&self, signer: &SignerStatus) -> Option<(&'static str, String, String)> {
        let last = self.context.upstreams.iter();
        let last = last.filter_map(|upstream| upstream.last_handshake());
        // A handshake that got further shows that the token has signed since.
        let last = last.max_by_key(|handshake| (handshake.at, !handshake.of_the_token))?;
        match last.outcome {
            Err(problem) if last.of_the_token && !signer.outdates(last.at) => {
                Some((problem.stage, problem.detail, problem.hint))
            }
            _ => None,
        }
    }
}

fn upstream(upstream: &Arc<ConnectionPool>, signer: &SignerStatus) -> (bool, Value) {
    let count = upstream.count();
    let last = upstream.last_handshake();
    let outdated = |last: &LastHandshake| last.of_the_token && signer.outdates(last.at);
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
        "connections": count.open,
        "ready_connections": count.ready,
        "last_handshake": last,
    });
    (good, report)
}

fn text(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    typed(status, "text/plain", text.to_owned())
}

fn typed(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
