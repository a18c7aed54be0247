//! A connection of an application, from its first byte to its end.
//!
//! Between requests, and while a request dribbles in, it costs a few hundred bytes: hyper, with its
//! buffers, is there only while there is something to do. Of a request that is there as a whole it is
//! given no byte more: the head of the next is looked at here again.

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

use super::client_stream::{ClientStream, Io, RequestActivity};
use super::context::ListenerContext;
use super::forward::{forward, of_the_body};
use super::metrics;
use super::problem_details::Problem;
use super::request_body::{AHEAD, BodyFault};
use super::request_syntax;

/// How long a connection is without a request before hyper is sent away.
const RESTS_AFTER: Duration = Duration::from_secs(1);
/// How long a connection that never had an answer is waited for when the proxy stops.
const LAST_CALL: Duration = Duration::from_secs(2);
/// What is read at once while a request dribbles in, in bytes.
const SIP: usize = 4096;
/// hyper takes no smaller one for its limit, in bytes.
const SMALLEST_BUFFER: usize = 8 << 10;

/// As many fields as there are bytes for them: `x:` and an end of line.
const SHORTEST_FIELD: usize = 3;

/// Turns true when the proxy stops.
pub(super) type Stop = watch::Receiver<bool>;

/// Serves an application until it goes, or has to. What comes back is a connection that is over for
/// us, and not yet for the application.
pub(super) async fn serve(
    door: Arc<ListenerContext>,
    stream: ClientStream,
    uid: Option<u32>,
    mut stop: Stop,
) -> Option<ClientStream> {
    let activity = Arc::new(RequestActivity::default());
    let mut visit = Some((stream, BytesMut::new()));
    while let Some((stream, mut early)) = visit.take() {
        let fresh = activity.begun() == 0;
        let later = match head(&door, &stream, &mut early, fresh, &mut stop).await {
            Next::Head => None,
            Next::Whole(end) => Some(early.split_off(end)),
            Next::End => return None,
            Next::Refuse(problem) => {
                metrics::problem(problem.stage);
                let word = problem.raw(&door.context.ids.fresh());
                stream.say(&word).await;
                return Some(stream);
            }
        };
        let io = Io::new(
            stream,
            early.freeze(),
            later,
            Arc::clone(&activity),
            door.context.body_limits.time,
        );
        match Box::pin(requests(&door, io, &activity, uid, &mut stop)).await {
            Left::Resting(stream, early) => visit = Some((stream, early)),
            Left::Over(stream) => return Some(stream),
            Left::Gone => {}
        }
    }
    None
}

/// What comes of waiting for a head.
enum Next {
    Head,
    /// The whole request, which ends here.
    Whole(usize),
    End,
    Refuse(Problem),
}

/// Waits until a head is there as a whole, and a small body behind it.
async fn head(
    door: &ListenerContext,
    stream: &ClientStream,
    early: &mut BytesMut,
    fresh: bool,
    stop: &mut Stop,
) -> Next {
    let context = &door.context;
    if early.is_empty()
        && let Some(end) = first_bytes(door, stream, early, fresh, stop).await
    {
        return end;
    }
    let mut deadline = Instant::now() + context.head_timeout;
    let mut looked = 0;
    // Where the request ends, as far as it is waited for here.
    let mut end = None;
    loop {
        if end.is_none() {
            // Old clients send an end of line too many (RFC 9112, section 2.2).
            while early.starts_with(b"\n") || early.starts_with(b"\r\n") {
                early.advance(1);
                looked = 0;
            }
            if request_syntax::is_tls(early) {
                return Next::Refuse(request_syntax::of_tls());
            }
            let found = end_of_head(early, looked);
            if found.unwrap_or(early.len()) > context.head_limit {
                return Next::Refuse(request_syntax::too_large(early, context.head_limit));
            }
            if let Some(head) = found {
                if let Err(problem) = request_syntax::check(&mut early[..head]) {
                    return Next::Refuse(problem);
                }
                let Some(body) = announced(&early[..head]) else {
                    return Next::Head;
                };
                end = Some(head + body);
                deadline = Instant::now() + context.body_limits.time;
            }
            looked = early.len().saturating_sub(3);
        }
        if let Some(end) = end.filter(|end| early.len() >= *end) {
            return Next::Whole(end);
        }
        match timeout_at(deadline, stream.readable()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Next::End,
            Err(_) if end.is_some() => return Next::Refuse(of_the_body(BodyFault::TooSlow)),
            Err(_) => return Next::Refuse(too_slow()),
        }
        match sip(stream, early) {
            Ok(0) => return Next::End,
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Next::End,
            _ => {}
        }
    }
}

/// Waits until there is anything of a head. What comes instead of it, where nothing does.
async fn first_bytes(
    door: &ListenerContext,
    stream: &ClientStream,
    early: &mut BytesMut,
    fresh: bool,
    stop: &mut Stop,
) -> Option<Next> {
    let context = &door.context;
    let mut deadline = Instant::now() + context.keep_alive;
    let mut stopping = false;
    loop {
        // The system may have something that nobody was woken for.
        match sip(stream, early) {
            Ok(0) => return Some(Next::End),
            Ok(_) => return None,
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Some(Next::End),
            Err(_) => {}
        }
        tokio::select! {
            biased;
            came = timeout_at(deadline, stream.readable()) => match came {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return Some(Next::End),
            },
            _ = stop.wait_for(|stop| *stop), if !stopping => {
                stopping = true;
                // Where no request came yet, one may be on its way: this was accepted, so nobody
                // else will answer it.
                deadline = match fresh {
                    true => Instant::now() + LAST_CALL.min(context.stop_timeout),
                    false => Instant::now(),
                };
            }
        }
    }
}

fn sip(stream: &ClientStream, early: &mut BytesMut) -> io::Result<usize> {
    let mut sip = [0; SIP];
    let length = stream.try_read(&mut sip)?;
    early.extend_from_slice(&sip[..length]);
    Ok(length)
}

/// Where the empty line ends; the first bytes were looked at already.
fn end_of_head(early: &[u8], looked: usize) -> Option<usize> {
    let rest = early.get(looked..).unwrap_or_default();
    let lf = rest.windows(2).position(|pair| pair == b"\n\n");
    let crlf = rest.windows(3).position(|three| three == b"\n\r\n");
    match (lf.map(|at| at + 2), crlf.map(|at| at + 3)) {
        (Some(one), Some(other)) => Some(looked + one.min(other)),
        (one, other) => Some(looked + one.or(other)?),
    }
}

/// How long a small body is. None: it is long, or where it ends is for hyper to find out; nothing is
/// waited for where the caller waits itself, or says something else as well.
fn announced(head: &[u8]) -> Option<usize> {
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
    Some(length.unwrap_or(0)).filter(|length| *length <= AHEAD)
}

fn too_slow() -> Problem {
    Problem::new(
        StatusCode::REQUEST_TIMEOUT,
        "deadline-head",
        "the head of the request did not come in time",
        "send it at once, or raise `head_timeout` of [proxy]",
    )
}

/// What requests leave behind.
enum Left {
    /// None came for a while; with what was read of the next.
    Resting(ClientStream, BytesMut),
    /// The last was answered.
    Over(ClientStream),
    /// The application has gone, or was given half an answer.
    Gone,
}

/// Serves requests until none comes for a while, or none may come any more.
async fn requests(
    door: &Arc<ListenerContext>,
    io: Io,
    activity: &Arc<RequestActivity>,
    uid: Option<u32>,
    stop: &mut Stop,
) -> Left {
    let service = service_fn(|request: Request<Incoming>| {
        let (door, activity) = (Arc::clone(door), Arc::clone(activity));
        Box::pin(async move { Ok::<_, Infallible>(forward(&door, &activity, uid, request).await) })
    });
    let limit = door.context.head_limit;
    let whole = io.is_whole();
    let mut connection = http1::Builder::new()
        .header_read_timeout(None)
        .max_headers(limit / SHORTEST_FIELD)
        .max_header_size(limit)
        .max_buf_size(limit.max(SMALLEST_BUFFER))
        .serve_connection(TokioIo::new(io), service);
    let mut rests = interval_at(Instant::now() + RESTS_AFTER, RESTS_AFTER);
    let mut seen = activity.begun();
    let mut stopping = false;
    loop {
        tokio::select! {
            biased;
            ended = &mut connection => {
                let answered = is_answered(&ended);
                if !answered {
                    return Left::Gone;
                }
                let parts = connection.into_parts();
                let (stream, _) = parts.io.into_inner().into_stream(parts.read_buf);
                return Left::Over(stream);
            }
            _ = stop.wait_for(|stop| *stop), if !stopping => stopping = true,
            () = activity.paused(), if !stopping => {
                // Where a body was not read to its end, hyper alone knows what is of it.
                if !activity.rests() || !(whole || activity.is_read()) {
                    continue;
                }
            }
            _ = rests.tick(), if !stopping => {
                let begun = activity.begun();
                if begun != seen || !activity.rests() {
                    seen = begun;
                    continue;
                }
            }
        }
        let rests = activity.rests();
        Pin::new(&mut connection).graceful_shutdown();
        if rests {
            break;
        }
        // The answer that is under way goes to its end, and the connection with it.
    }
    let Ok(parts) = connection.without_shutdown().await else {
        return Left::Gone;
    };
    let (stream, early) = parts.io.into_inner().into_stream(parts.read_buf);
    Left::Resting(stream, early)
}

/// Whether a connection came to its end with an answer: hyper has one for what is no HTTP, too.
pub(super) fn is_answered(ended: &hyper::Result<()>) -> bool {
    match ended {
        Ok(()) => true,
        Err(error) => {
            tracing::debug!(%error, "an application's connection ended");
            error.is_parse()
        }
    }
}
