//! One request, one answer: checked, sent to the hub over a connection of the pool, and what comes
//! back handed on as it is.

use std::sync::Arc;

use http::header::{CONTENT_LENGTH, EXPECT, HOST, HeaderValue, TRANSFER_ENCODING};
use http::request::Parts;
use http::uri::{Scheme, Uri};
use http::{Method, Request, Response, StatusCode, Version};
use hyper::body::{Body as _, Incoming};
use hyper::ext::ReasonPhrase;
use tokio::time::{sleep, timeout};

use super::body_drain::{BodyDrain, DrainableBody};
use super::client_stream::RequestActivity;
use super::connection_pool::ConnectionPool;
use super::connection_pool::Lease;
use super::context::{ListenerContext, ProxyContext};
use super::problem_details::Problem;
use super::request_body::{BodyFault, RequestBody, fault_in};
use super::request_head::{RequestFraming, Target, check, strip_answer};
use super::request_record::RequestRecord;
use super::response_body::{ResponseBody, first_of};
use super::retry_policy::{Attempt, RetryState};
use hsm_mtls::internal::client::{ClientError, INTERACTION_ID, Stage};

/// Answers a request of an application.
pub(super) async fn forward(
    door: &Arc<ListenerContext>,
    activity: &Arc<RequestActivity>,
    uid: Option<u32>,
    request: Request<Incoming>,
) -> Response<ResponseBody> {
    let context = &door.context;
    let (mut head, body) = request.into_parts();
    let id = context.ids.of(&mut head.headers);
    let mut record = RequestRecord::begin(context, activity, uid, head.method.clone(), id);
    let awaits_continue = head.headers.contains_key(EXPECT);
    let unread = (!body.is_end_stream())
        .then(|| DrainableBody::new(body, awaits_continue, context, activity));
    if unread.is_none() {
        activity.has_read(activity.begun());
    }
    let exchanged = match admit(door, &mut head, &mut record, uid.is_some()) {
        // To read the body would ask for it.
        Ok(Some(_)) if awaits_continue && context.places.available_permits() == 0 => {
            Err(too_many().closing())
        }
        Ok(Some(target)) => exchange(context, head, unread, target, &mut record).await,
        Ok(None) => return ResponseBody::of_options(record),
        // Whether the body comes nevertheless is not known: no other request can follow.
        Err(problem) if awaits_continue && unread.is_some() => Err(problem.closing()),
        Err(problem) => Err(problem),
    };
    let (response, lease) = match exchanged {
        Ok(exchanged) => exchanged,
        Err(problem) => {
            if problem.closes {
                activity.ends.notify_one();
            }
            return ResponseBody::of_problem(&problem, record);
        }
    };
    let (mut head, mut incoming) = response.into_parts();
    head.version = Version::HTTP_11;
    let framed = strip_answer(&mut head.headers);
    let first = match framed {
        Ok(()) => first_of(&mut incoming).await,
        Err(what) => Err(ClientError::Malformed(what.to_owned())),
    };
    let first = match first {
        Ok(first) => first,
        Err(error) => {
            tracing::warn!(interaction_id = ?record.interaction_id, %error, "no answer");
            return ResponseBody::of_problem(&Problem::from(&error), record);
        }
    };
    if head.extensions.get::<ReasonPhrase>().is_none() && head.status.canonical_reason().is_none() {
        // hyper would make one up for a status that it does not know.
        head.extensions.insert(ReasonPhrase::from_static(b""));
    }
    if !head.headers.contains_key(INTERACTION_ID) {
        let id = record.interaction_id.clone();
        head.headers.insert(INTERACTION_ID, id);
    }
    record.status = head.status.as_u16();
    let body = ResponseBody::of_the_hub(first, incoming, lease, record, context.response_timeout);
    Response::from_parts(head, body)
}

/// None: there is no hop left.
fn admit(
    door: &ListenerContext,
    head: &mut Parts,
    record: &mut RequestRecord,
    nameless: bool,
) -> Result<Option<Target>, Problem> {
    let asked = RequestFraming {
        path: door.gate().check(head)?,
        service: door.service,
        nameless,
    };
    let Some(target) = check(head, &door.names, asked)? else {
        return Ok(None);
    };
    if let Some(pseudonym) = &door.context.pseudonym {
        pseudonym.sign(head)?;
    }
    // Where `Connection` named it, it went with the others.
    if !head.headers.contains_key(INTERACTION_ID) {
        let id = record.interaction_id.clone();
        head.headers.insert(INTERACTION_ID, id);
    }
    record.service = Some(target.service);
    record.path = Some(target.path.clone());
    Ok(Some(target))
}

type Exchanged = Result<(Response<Incoming>, Lease), Problem>;

async fn exchange(
    context: &Arc<ProxyContext>,
    mut head: Parts,
    unread: Option<DrainableBody>,
    target: Target,
    record: &mut RequestRecord,
) -> Exchanged {
    let body = RequestBody::read_ahead(unread, context.body_limits)
        .await
        .map_err(of_the_body)?;
    record.received = body.received();
    record.drain = body.drain();
    // Not before: who is slow with a body keeps nobody from being served.
    let Ok(_place) = context.places.try_acquire() else {
        return Err(too_many());
    };
    let upstream = context.upstream(target.service);
    let harmless = body.is_empty() && head.method.is_idempotent();
    head.uri = target.path.into();
    head.extensions.clear();
    let mut next = Some((head, body));
    let mut retries = RetryState::default();
    let mut failed = None;
    while let Some((head, body)) = next.take() {
        let mut lease = lease(context, upstream, record, &retries).await?;
        let repeatable = harmless && lease.warm;
        // hyper gives no request back that an HTTP/2 peer did not process, so one is kept.
        let kept = (repeatable || lease.is_h2()).then(|| (head.clone(), body.again()));
        if kept.is_none() {
            body.again().release();
        }
        let streamed = matches!(body, RequestBody::Streamed(_));
        let request = request_for(upstream, head, body, lease.is_h2());
        upstream.count_request(lease.warm);
        record.warm = Some(lease.warm);
        let Some(connection) = lease.connection() else {
            break;
        };
        let patience = match streamed {
            true => context.response_timeout + context.body_limits.time,
            false => context.response_timeout,
        };
        let late = || ClientError::Deadline {
            stage: Stage::Response,
            host: upstream.origin().host.clone(),
            after: patience,
        };
        let sent = timeout(patience, connection.send(request)).await;
        let mut error = match sent {
            Ok(Ok(response)) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                return Err(Problem::from(&ClientError::Http(
                    "the protocol was switched without being asked".to_owned(),
                )));
            }
            Ok(Ok(response)) => {
                if let Some((_, body)) = &kept {
                    body.release();
                }
                return Ok((response, lease));
            }
            Ok(Err(error)) => error,
            Err(_) => return Err(Problem::from(&late())),
        };
        let unsent = error.take_message().map(Request::into_parts);
        let error = error.into_error();
        // Of an HTTP/2 connection, hyper does not hand it on.
        let fault = record.drain.as_ref().and_then(BodyDrain::fault);
        if let Some(fault) = fault.or_else(|| fault_in(&error)) {
            return Err(of_the_body(fault));
        }
        let error = connection.explain(error);
        let attempt = Attempt::of(unsent.is_some(), &error);
        let pause = retries.after(attempt, repeatable);
        tracing::debug!(interaction_id = ?record.interaction_id, %error, ?attempt, ?pause, "not answered");
        if let ClientError::Http2(ending) = &error
            && ending.requires_http1()
        {
            upstream.fall_back_to_http1();
        }
        failed = Some(error);
        let Some(pause) = pause else {
            break;
        };
        // Others may use the connection meanwhile.
        drop(lease);
        if !pause.is_zero() {
            sleep(pause).await;
        }
        next = unsent.or_else(|| kept.and_then(|(head, body)| Some((head, body.body()?))));
    }
    let error = failed.unwrap_or_else(|| ClientError::Setup("nothing was sent".to_owned()));
    tracing::warn!(interaction_id = ?record.interaction_id, %error, "no answer");
    Err(Problem::from(&error))
}

fn too_many() -> Problem {
    let what = "as many requests are under way as are configured";
    Problem::overload(what, "max_requests")
}

async fn lease(
    context: &ProxyContext,
    upstream: &Arc<ConnectionPool>,
    record: &RequestRecord,
    retries: &RetryState,
) -> Result<Lease, Problem> {
    let id = &record.interaction_id;
    let leased = match retries.wants_fresh() {
        // It is large and rare: not a part of what each request takes.
        true => Box::pin(upstream.fresh(id)).await.map_err(Some),
        false => {
            let again = retries.is_again();
            upstream.lease(id, context.connect_patience, again).await
        }
    };
    leased.map_err(|error| match error {
        Some(error) => Problem::from(error.as_ref()),
        None => Problem::overload(
            "all connections to the hub are in use, and none became free in time",
            "max_connections",
        ),
    })
}

/// The one well-formed request: what the certificate is for is the Host, whatever the caller wrote.
fn request_for(
    upstream: &ConnectionPool,
    mut head: Parts,
    body: RequestBody,
    is_h2: bool,
) -> Request<RequestBody> {
    let path = std::mem::take(&mut head.uri).into_parts().path_and_query;
    let mut parts = http::uri::Parts::default();
    parts.path_and_query = path;
    if is_h2 {
        head.headers.remove(HOST);
        parts.scheme = Some(Scheme::HTTPS);
        parts.authority = Some(upstream.authority().clone());
        head.version = Version::HTTP_2;
    } else {
        head.headers
            .insert(HOST, HeaderValue::clone(upstream.host()));
        frame(&mut head, &body);
        head.version = Version::HTTP_11;
    }
    // Its parts were parts of a URI before.
    head.uri = Uri::from_parts(parts).unwrap_or_default();
    Request::from_parts(head, body)
}

/// Says where the body ends, where hyper would leave it out: it sends no chunks with GET, and no
/// length of nothing (RFC 9110, section 8.6).
fn frame(head: &mut Parts, body: &RequestBody) {
    let methods_with_content = [Method::POST, Method::PUT, Method::PATCH];
    match body.size_hint().exact() {
        None => {
            let chunked = HeaderValue::from_static("chunked");
            head.headers.insert(TRANSFER_ENCODING, chunked);
        }
        Some(0) if methods_with_content.contains(&head.method) => {
            head.headers.insert(CONTENT_LENGTH, 0.into());
        }
        Some(_) => {}
    }
}

pub(super) fn of_the_body(fault: BodyFault) -> Problem {
    let (status, stage, hint) = match fault {
        BodyFault::TooLong => (
            StatusCode::PAYLOAD_TOO_LARGE,
            "request",
            "send less, or raise `max_body_mib` of [proxy]",
        ),
        BodyFault::TooSlow => (
            StatusCode::REQUEST_TIMEOUT,
            "deadline-body",
            "send the body at once, or raise `body_timeout` of [proxy]",
        ),
        BodyFault::Broken | BodyFault::Superseded => (
            StatusCode::BAD_REQUEST,
            "request",
            "see why the client broke off, or how it frames its body",
        ),
    };
    Problem::new(status, stage, &fault.to_string(), hint).closing()
}
