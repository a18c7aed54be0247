//! One connection of a client, from its first byte to its end (keep-alive).
//!
//! hyper gets the connection when the head of a request is complete, and gives it back when the connection is idle:
//! without hyper's buffers an idle or slow connection costs a few hundred bytes. hyper gets no byte beyond the request,
//! so that each head is received and checked by [`super::receive_request`].

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Request, Response};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, interval_at};

use super::body_framing::{BodyFraming, MAX_TRAILERS};
use super::client_stream::{ClientIo, ClientStream, RequestActivity};
use super::connection_slots::ConnectionSlot;
use super::proxy_metrics;
use super::receive_request::{ClientLimits, Received, Stop, WaitingConnection};
use super::request_syntax::tls_problem;

/// A connection that was idle for so long is taken back from hyper.
const IDLE_CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// The smallest buffer size that hyper accepts, in bytes.
const MIN_HYPER_BUFFER: usize = 8 << 10;
/// The shortest header field in bytes: `x:` and an end of line. A head has no more fields than fit into its limit.
const MIN_FIELD: usize = 3;

/// What a listener does with the requests of its clients.
pub(super) trait RequestHandler: Send + Sync + 'static {
    /// The body of its responses.
    type Body: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>
        + Send
        + 'static;

    fn limits(&self) -> &ClientLimits;

    /// The address of the listener, for the log.
    fn place(&self) -> &str;

    /// Whether the first bytes of a head show that the caller may call.
    fn shows_caller(&self, head: &[u8]) -> bool;

    /// A new interaction id, for a response without a request.
    fn interaction_id(&self) -> HeaderValue;

    /// The response to a request of this user.
    fn respond(
        self: &Arc<Self>,
        activity: &Arc<RequestActivity>,
        uid: Option<u32>,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response<Self::Body>> + Send;
}

/// Serves the requests of a connection until there are no more. Returns the stream if the proxy ended the connection:
/// the application may still be sending.
pub(super) async fn serve<H: RequestHandler>(
    handler: &Arc<H>,
    stream: ClientStream,
    uid: Option<u32>,
    slot: &mut ConnectionSlot,
    mut stop: Stop,
) -> Option<ClientStream> {
    let activity = Arc::new(RequestActivity::default());
    let mut accepted = Some(Instant::now());
    let mut idle = Some((stream, BytesMut::new()));
    while let Some((stream, mut buffer)) = idle.take() {
        let waiting = WaitingConnection {
            limits: handler.limits(),
            stream: &stream,
            slot: &mut *slot,
            accepted: accepted.take(),
            stop: &mut stop,
        };
        let shows_caller = |head: &[u8]| handler.shows_caller(head);
        let refusal = match waiting.receive(&mut buffer, shows_caller).await {
            Received::Request { end, body } => {
                let next_request = buffer.split_off(end);
                let timeout = handler.limits().body_timeout;
                let request = buffer.freeze();
                let fields = most_fields(&request, &body);
                let activity = &activity;
                let io = ClientIo::new(
                    stream,
                    request,
                    body,
                    next_request,
                    Arc::clone(activity),
                    timeout,
                );
                slot.set_serving();
                let serving =
                    Box::pin(serve_request(handler, io, fields, activity, uid, &mut stop));
                let served = serving.await;
                slot.set_waiting();
                match served {
                    Served::Idle(stream, buffer) => idle = Some((stream, buffer)),
                    Served::Last(stream) => return Some(stream),
                    Served::Broken => {}
                }
                continue;
            }
            Received::Nothing => return None,
            Received::Invalid(problem) => problem,
            Received::Tls => {
                let place = handler.place();
                tracing::warn!(%place, uid,
                    "TLS came to a listener that speaks plain HTTP: a client is set to https://"
                );
                tls_problem()
            }
        };
        proxy_metrics::problem(refusal.stage);
        let response = refusal.to_http1_bytes(&handler.interaction_id());
        stream.write_final(&response).await;
        return Some(stream);
    }
    None
}

/// The state of a connection after hyper served requests.
enum Served {
    /// Idle, with the bytes that were read of the next request.
    Idle(ClientStream, BytesMut),
    /// The last response was written.
    Last(ClientStream),
    /// The application has gone, or got an incomplete response.
    Broken,
}

/// How many fields hyper has to have room for. It allocates and writes that much for each head: for as many as fit into
/// 32 KiB, that would be 700 KiB for a request of ten.
fn most_fields(request: &[u8], body: &BodyFraming) -> usize {
    let head = memchr::memmem::find(request, b"\r\n\r\n").unwrap_or(request.len());
    let fields = memchr::memchr_iter(b'\n', &request[..head]).count();
    match body {
        BodyFraming::Length(_) => fields.max(1),
        BodyFraming::Chunked(_) | BodyFraming::Malformed => fields.max(MAX_TRAILERS / MIN_FIELD),
    }
}

/// Serves a request with hyper until the connection is idle or ends.
async fn serve_request<H: RequestHandler>(
    handler: &Arc<H>,
    io: ClientIo,
    fields: usize,
    activity: &Arc<RequestActivity>,
    uid: Option<u32>,
    stop: &mut Stop,
) -> Served {
    let service = service_fn(|request: Request<Incoming>| {
        let (handler, activity) = (Arc::clone(handler), Arc::clone(activity));
        Box::pin(async move { Ok::<_, Infallible>(handler.respond(&activity, uid, request).await) })
    });
    let limit = handler.limits().head;
    let mut connection = http1::Builder::new()
        .header_read_timeout(None)
        .max_headers(fields)
        .max_header_size(limit)
        .max_buf_size(limit.max(MIN_HYPER_BUFFER))
        .serve_connection(TokioIo::new(io), service);
    let first_check = Instant::now() + IDLE_CHECK_INTERVAL;
    let mut idle_check = interval_at(first_check, IDLE_CHECK_INTERVAL);
    let mut requests_before = activity.requests();
    let mut stopping = false;
    loop {
        tokio::select! {
            biased;
            ended = &mut connection => {
                if !is_answered(&ended) {
                    return Served::Broken;
                }
                let parts = connection.into_parts();
                let (stream, _) = parts.io.into_inner().into_stream();
                return Served::Last(stream);
            }
            _ = stop.wait_for(|stop| *stop), if !stopping => stopping = true,
            () = activity.may_be_idle(), if !stopping => {
                // Where the next request begins is known when all of this one has come.
                if !activity.is_idle() || !activity.is_received() {
                    continue;
                }
            }
            _ = idle_check.tick(), if !stopping => {
                let requests = activity.requests();
                if requests != requests_before || !activity.is_idle() || !activity.is_received() {
                    requests_before = requests;
                    continue;
                }
            }
        }
        let is_idle = activity.is_idle();
        Pin::new(&mut connection).graceful_shutdown();
        if is_idle {
            break;
        }
        // The current response is completed, and then the connection ends.
    }
    let Ok(parts) = connection.without_shutdown().await else {
        return Served::Broken;
    };
    let (stream, buffer) = parts.io.into_inner().into_stream();
    // What is still to come of a body is no request.
    match activity.is_received() {
        true => Served::Idle(stream, buffer),
        false => Served::Last(stream),
    }
}

/// Whether a connection ended with a response: hyper also responds to what is not HTTP.
fn is_answered(ended: &hyper::Result<()>) -> bool {
    match ended {
        Ok(()) => true,
        Err(error) => {
            tracing::debug!(%error, "an application's connection ended");
            error.is_parse()
        }
    }
}
