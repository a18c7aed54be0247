//! One connection of an application, from its first byte to its end (keep-alive).
//!
//! hyper gets the connection when the head of a request is complete, and gives it back when the connection is idle:
//! without hyper's buffers an idle or slow connection costs a few hundred bytes. If the whole request was received,
//! hyper gets no byte beyond it, so that the head of the next request is checked here as well.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use http::{Request, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::sync::watch;
use tokio::time::{Instant, interval_at, timeout_at};

use super::client_stream::{ClientIo, ClientStream, RequestActivity};
use super::context::ListenerContext;
use super::forward::{body_problem, forward};
use super::problem_details::Problem;
use super::proxy_metrics;
use super::request_body::{BodyFault, READ_AHEAD};
use super::request_syntax;

/// A connection that was idle for so long is taken back from hyper.
const IDLE_CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// When the proxy stops, a connection that had no request so far is waited for this long.
const FIRST_REQUEST_GRACE: Duration = Duration::from_secs(2);
/// The size of a read while a request is incomplete, in bytes.
const READ_BUFFER: usize = 4096;
/// The smallest buffer size that hyper accepts, in bytes.
const MIN_HYPER_BUFFER: usize = 8 << 10;
/// The shortest header field in bytes: `x:` and an end of line. A head has no more fields than fit into its limit.
const MIN_FIELD: usize = 3;

/// Becomes true when the proxy stops.
pub(super) type Stop = watch::Receiver<bool>;

/// Serves the requests of a connection until there are no more. Returns the stream if the proxy ended the connection:
/// the application may still be sending.
pub(super) async fn serve(
    listener: Arc<ListenerContext>,
    stream: ClientStream,
    uid: Option<u32>,
    mut stop: Stop,
) -> Option<ClientStream> {
    let activity = Arc::new(RequestActivity::default());
    let mut idle = Some((stream, BytesMut::new()));
    while let Some((stream, mut buffer)) = idle.take() {
        let is_first = activity.requests() == 0;
        let received = receive(&listener, &stream, &mut buffer, is_first, &mut stop).await;
        let next_request = match received {
            Received::Head => None,
            Received::Request(end) => Some(buffer.split_off(end)),
            Received::Nothing => return None,
            Received::Invalid(problem) => {
                proxy_metrics::problem(problem.stage);
                let response = problem.to_http1_bytes(&listener.context.ids.generate());
                stream.write_final(&response).await;
                return Some(stream);
            }
        };
        let io = ClientIo::new(
            stream,
            buffer.freeze(),
            next_request,
            Arc::clone(&activity),
            listener.context.body_limits.time,
        );
        match Box::pin(serve_requests(&listener, io, &activity, uid, &mut stop)).await {
            Served::Idle(stream, buffer) => idle = Some((stream, buffer)),
            Served::Last(stream) => return Some(stream),
            Served::Broken => {}
        }
    }
    None
}

/// What was received of a request.
enum Received {
    /// The head; hyper reads the body.
    Head,
    /// The whole request, up to this position of the buffer.
    Request(usize),
    /// Nothing: the application closed the connection or was silent for too long, or the proxy stops.
    Nothing,
    /// A request that is refused with this response.
    Invalid(Problem),
}

/// Receives the head of a request, and its body if that is small.
async fn receive(
    listener: &ListenerContext,
    stream: &ClientStream,
    buffer: &mut BytesMut,
    is_first: bool,
    stop: &mut Stop,
) -> Received {
    let context = &listener.context;
    if buffer.is_empty()
        && let Some(nothing) = first_bytes(listener, stream, buffer, is_first, stop).await
    {
        return nothing;
    }
    let mut deadline = Instant::now() + context.head_timeout;
    // So many bytes were searched for the end of the head already.
    let mut searched = 0;
    // The end of the request, once its head was parsed.
    let mut end = None;
    loop {
        if end.is_none() {
            // Old clients send an empty line before a request (RFC 9112, section 2.2).
            while buffer.starts_with(b"\n") || buffer.starts_with(b"\r\n") {
                buffer.advance(1);
                searched = 0;
            }
            if request_syntax::is_tls(buffer) {
                return Received::Invalid(request_syntax::tls_problem());
            }
            let found = end_of_head(buffer, searched);
            if found.unwrap_or(buffer.len()) > context.head_limit {
                let problem = request_syntax::too_large_problem(buffer, context.head_limit);
                return Received::Invalid(problem);
            }
            if let Some(head) = found {
                if let Err(problem) = request_syntax::check(&mut buffer[..head]) {
                    return Received::Invalid(problem);
                }
                let Some(body) = small_body_length(&buffer[..head]) else {
                    return Received::Head;
                };
                end = Some(head + body);
                deadline = Instant::now() + context.body_limits.time;
            }
            searched = buffer.len().saturating_sub(3);
        }
        if let Some(end) = end.filter(|end| buffer.len() >= *end) {
            return Received::Request(end);
        }
        match timeout_at(deadline, stream.readable()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Received::Nothing,
            Err(_) if end.is_some() => return Received::Invalid(body_problem(BodyFault::TooSlow)),
            Err(_) => return Received::Invalid(head_timeout_problem()),
        }
        match try_read(stream, buffer) {
            Ok(0) => return Received::Nothing,
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Received::Nothing,
            _ => {}
        }
    }
}

/// Waits for the first bytes of a request. Returns `Received::Nothing` if none come.
async fn first_bytes(
    listener: &ListenerContext,
    stream: &ClientStream,
    buffer: &mut BytesMut,
    is_first: bool,
    stop: &mut Stop,
) -> Option<Received> {
    let context = &listener.context;
    let mut deadline = Instant::now() + context.keep_alive;
    let mut stopping = false;
    loop {
        // The socket may have bytes for which no task was woken.
        match try_read(stream, buffer) {
            Ok(0) => return Some(Received::Nothing),
            Ok(_) => return None,
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                return Some(Received::Nothing);
            }
            Err(_) => {}
        }
        tokio::select! {
            biased;
            readable = timeout_at(deadline, stream.readable()) => match readable {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return Some(Received::Nothing),
            },
            _ = stop.wait_for(|stop| *stop), if !stopping => {
                stopping = true;
                // The first request of an accepted connection may be on its way, and no other process would answer it.
                deadline = match is_first {
                    true => Instant::now() + FIRST_REQUEST_GRACE.min(context.stop_timeout),
                    false => Instant::now(),
                };
            }
        }
    }
}

fn try_read(stream: &ClientStream, buffer: &mut BytesMut) -> io::Result<usize> {
    let mut bytes = [0; READ_BUFFER];
    let length = stream.try_read(&mut bytes)?;
    buffer.extend_from_slice(&bytes[..length]);
    Ok(length)
}

/// The position after the empty line that ends a head. The first `searched` bytes are skipped.
fn end_of_head(buffer: &[u8], searched: usize) -> Option<usize> {
    let rest = buffer.get(searched..).unwrap_or_default();
    let lf = rest.windows(2).position(|pair| pair == b"\n\n");
    let crlf = rest.windows(3).position(|three| three == b"\n\r\n");
    match (lf.map(|at| at + 2), crlf.map(|at| at + 3)) {
        (Some(one), Some(other)) => Some(searched + one.min(other)),
        (one, other) => Some(searched + one.or(other)?),
    }
}

/// The length of a body that is small enough to be received before hyper gets the request. None: it is larger, or its
/// length is not simply known, or the application waits for 100 (Continue) before it sends the body.
fn small_body_length(head: &[u8]) -> Option<usize> {
    let mut length = None;
    for line in head.split(|byte| *byte == b'\n') {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        let (name, value) = line.split_at(colon);
        if name.eq_ignore_ascii_case(b"expect") || name.eq_ignore_ascii_case(b"transfer-encoding") {
            return None;
        }
        if name.eq_ignore_ascii_case(b"content-length") {
            let text = std::str::from_utf8(value[1..].trim_ascii());
            if length.replace(text.ok()?.parse().ok()?).is_some() {
                return None;
            }
        }
    }
    Some(length.unwrap_or(0)).filter(|length| *length <= READ_AHEAD)
}

fn head_timeout_problem() -> Problem {
    Problem::new(
        StatusCode::REQUEST_TIMEOUT,
        "deadline-head",
        "the head of the request did not come in time",
        "send it at once, or raise `head_timeout` of [proxy]",
    )
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

/// Serves requests with hyper until the connection is idle or ends.
async fn serve_requests(
    listener: &Arc<ListenerContext>,
    io: ClientIo,
    activity: &Arc<RequestActivity>,
    uid: Option<u32>,
    stop: &mut Stop,
) -> Served {
    let service = service_fn(|request: Request<Incoming>| {
        let (listener, activity) = (Arc::clone(listener), Arc::clone(activity));
        Box::pin(
            async move { Ok::<_, Infallible>(forward(&listener, &activity, uid, request).await) },
        )
    });
    let limit = listener.context.head_limit;
    let has_complete_request = io.has_complete_request();
    let mut connection = http1::Builder::new()
        .header_read_timeout(None)
        .max_headers(limit / MIN_FIELD)
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
                let (stream, _) = parts.io.into_inner().into_stream(parts.read_buf);
                return Served::Last(stream);
            }
            _ = stop.wait_for(|stop| *stop), if !stopping => stopping = true,
            () = activity.may_be_idle(), if !stopping => {
                // If a body was not read to its end, only hyper knows what is left of it.
                if !activity.is_idle() || !(has_complete_request || activity.is_body_read()) {
                    continue;
                }
            }
            _ = idle_check.tick(), if !stopping => {
                let requests = activity.requests();
                if requests != requests_before || !activity.is_idle() {
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
    let (stream, buffer) = parts.io.into_inner().into_stream(parts.read_buf);
    Served::Idle(stream, buffer)
}

/// Whether a connection ended with a response: hyper also responds to what is not HTTP.
pub(super) fn is_answered(ended: &hyper::Result<()>) -> bool {
    match ended {
        Ok(()) => true,
        Err(error) => {
            tracing::debug!(%error, "an application's connection ended");
            error.is_parse()
        }
    }
}
