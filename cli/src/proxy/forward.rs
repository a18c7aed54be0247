//! Forwards one request: validates it, sends it to the hub over a pooled connection, retries where that is safe, and
//! hands the response on.

use std::sync::Arc;
use std::time::SystemTime;

use http::header::{AUTHORIZATION, CONTENT_LENGTH, EXPECT, HOST, HeaderValue, TRANSFER_ENCODING};
use http::request::Parts;
use http::uri::{Scheme, Uri};
use http::{Method, Request, Response, StatusCode, Version};
use hyper::body::{Body as _, Incoming};
use hyper::ext::ReasonPhrase;
use tokio::time::{sleep, timeout};

use super::body_drain::{BodyDrain, DrainableBody};
use super::client_stream::RequestActivity;
use super::connection_pool::{ConnectionPool, Lease};
use super::context::{ListenerContext, ProxyContext};
use super::hop_by_hop_headers::strip_response;
use super::problem_details::Problem;
use super::request_body::{BodyFault, RequestBody, find_body_fault};
use super::request_head::{ListenerRoute, Target, check};
use super::request_record::RequestRecord;
use super::request_retry::{FailedAttempt, RetryState};
use super::response_body::{ResponseBody, first_frame};
use hsm_mtls::internal::client::{ClientError, INTERACTION_ID, Stage};

/// The response to a request: the hub's, or the proxy's own if the hub's cannot be had.
pub(super) async fn forward(
    listener: &Arc<ListenerContext>,
    activity: &Arc<RequestActivity>,
    uid: Option<u32>,
    request: Request<Incoming>,
) -> Response<ResponseBody> {
    let context = &listener.context;
    let (mut head, body) = request.into_parts();
    let id = context.ids.ensure(&mut head.headers);
    let mut record = RequestRecord::begin(context, activity, uid, head.method.clone(), id);
    let awaits_continue = head.headers.contains_key(EXPECT);
    let unread = (!body.is_end_stream())
        .then(|| DrainableBody::new(body, awaits_continue, context, activity));
    let exchanged = match validate(listener, &mut head, &mut record, uid.is_some()) {
        // Reading the body would send 100 (Continue), so an overload is answered before.
        Ok(Some(_)) if awaits_continue && context.request_permits.available_permits() == 0 => {
            Err(overload_problem().closing())
        }
        Ok(Some(target)) => exchange(context, head, unread, target, &mut record).await,
        Ok(None) => return ResponseBody::options_response(record),
        // Without 100 (Continue) it is not known whether the application sends the body, so the connection is closed.
        Err(problem) if awaits_continue && unread.is_some() => Err(problem.closing()),
        Err(problem) => Err(problem),
    };
    let (response, lease) = match exchanged {
        Ok(exchanged) => exchanged,
        Err(problem) => {
            if problem.closes {
                activity.closes.notify_one();
            }
            return ResponseBody::problem_response(&problem, record);
        }
    };
    let (mut head, mut incoming) = response.into_parts();
    head.version = Version::HTTP_11;
    let stripped = strip_response(&mut head.headers);
    let first = match stripped {
        Ok(()) => first_frame(&mut incoming).await,
        Err(reason) => Err(ClientError::Malformed(reason.to_owned())),
    };
    let first = match first {
        Ok(first) => first,
        Err(error) => {
            tracing::warn!(interaction_id = ?record.interaction_id, %error, "no answer");
            return ResponseBody::problem_response(&Problem::from(&error), record);
        }
    };
    if head.extensions.get::<ReasonPhrase>().is_none() && head.status.canonical_reason().is_none() {
        // Without it hyper invents a reason phrase for an unregistered status.
        head.extensions.insert(ReasonPhrase::from_static(b""));
    }
    if !head.headers.contains_key(INTERACTION_ID) {
        let id = record.interaction_id.clone();
        head.headers.insert(INTERACTION_ID, id);
    }
    record.status = head.status.as_u16();
    let body = ResponseBody::from_hub(first, incoming, lease, record, context.response_timeout);
    Response::from_parts(head, body)
}

/// Checks caller and head, and prepares the head for the hub. None: `Max-Forwards` is used up.
fn validate(
    listener: &ListenerContext,
    head: &mut Parts,
    record: &mut RequestRecord,
    over_unix_socket: bool,
) -> Result<Option<Target>, Problem> {
    let has_authorization = head.headers.contains_key(AUTHORIZATION);
    let route = ListenerRoute {
        path: listener.access_control().check_request(head)?,
        services: &listener.services,
        over_unix_socket,
    };
    let Some(target) = check(head, &listener.hosts, route)? else {
        return Ok(None);
    };
    if let Some(jwt) = &listener.context.jwt {
        jwt.check(target.service, has_authorization)?;
    }
    if let Some(pseudonym) = &listener.context.pseudonym {
        pseudonym.append_to(head)?;
    }
    // If `Connection` named it, it was removed with the hop-by-hop fields.
    if !head.headers.contains_key(INTERACTION_ID) {
        let id = record.interaction_id.clone();
        head.headers.insert(INTERACTION_ID, id);
    }
    record.service = Some(target.service);
    record.path = Some(target.path.clone());
    Ok(Some(target))
}

/// The hub's response, and the connection over which its body comes.
type Exchanged = Result<(Response<Incoming>, Lease), Problem>;

/// Sends the request until there is a response, or the retry policy ends the attempts.
async fn exchange(
    context: &Arc<ProxyContext>,
    mut head: Parts,
    unread: Option<DrainableBody>,
    target: Target,
    record: &mut RequestRecord,
) -> Exchanged {
    let body = RequestBody::read_ahead(unread, context.body_limits)
        .await
        .map_err(body_problem)?;
    record.received = body.received();
    record.drain = body.drain();
    // Taken only now: a slow body must not use up the permits.
    let Ok(_permit) = context.request_permits.try_acquire() else {
        return Err(overload_problem());
    };
    let Some(upstream) = context.upstream(target.service) else {
        return Err(Problem::malformed("the request is for no service"));
    };
    let idempotent = body.is_empty() && head.method.is_idempotent();
    head.uri = target.path.into();
    head.extensions.clear();
    let mut next = Some((head, body));
    let mut retries = RetryState::default();
    let mut last_error = None;
    while let Some((mut head, body)) = next.take() {
        let mut lease = lease(context, upstream, record, &retries).await?;
        let retryable = idempotent && (lease.warm || lease.is_resumed());
        // hyper does not give back a request that an HTTP/2 server did not process, so a copy is kept.
        let kept = (retryable || lease.is_h2()).then(|| (head.clone(), body.replayable()));
        if kept.is_none() {
            body.replayable().release();
        }
        if let Some(jwt) = &context.jwt {
            // For each attempt: the hub may have seen the token of the one before.
            record.jti = jwt.authorize(target.service, &mut head.headers).await?;
        }
        let sent_at = SystemTime::now();
        let streamed = matches!(body, RequestBody::Streamed(_));
        let request = hub_request(upstream, head, body, lease.is_h2());
        upstream.count_request(lease.warm);
        record.connection = Some(lease.kind());
        let Some(connection) = lease.connection() else {
            break;
        };
        let response_timeout = match streamed {
            true => context.response_timeout + context.body_limits.time,
            false => context.response_timeout,
        };
        let timed_out = || ClientError::Deadline {
            stage: Stage::Response,
            host: upstream.origin().host.clone(),
            after: response_timeout,
        };
        let sent = timeout(response_timeout, connection.send(request)).await;
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
                if let Some(jwt) = &context.jwt {
                    jwt.watch_clock(target.service, response.headers(), sent_at);
                }
                return Ok((response, lease));
            }
            Ok(Err(error)) => error,
            Err(_) => return Err(Problem::from(&timed_out())),
        };
        let unsent = error.take_message().map(Request::into_parts);
        let error = error.into_error();
        // On an HTTP/2 connection, hyper's error does not contain the error of the body.
        let fault = record.drain.as_ref().and_then(BodyDrain::fault);
        if let Some(fault) = fault.or_else(|| find_body_fault(&error)) {
            return Err(body_problem(fault));
        }
        let error = connection.explain(error);
        let attempt = FailedAttempt::of(unsent.is_some(), &error);
        let pause = retries.next_delay(attempt, retryable);
        tracing::debug!(interaction_id = ?record.interaction_id, %error, ?attempt, ?pause, "not answered");
        if let ClientError::Http2(ending) = &error
            && ending.requires_http1()
        {
            upstream.fall_back_to_http1();
        }
        last_error = Some(error);
        let Some(pause) = pause else {
            break;
        };
        // Other requests may use the connection meanwhile.
        drop(lease);
        if !pause.is_zero() {
            sleep(pause).await;
        }
        next = unsent.or_else(|| kept.and_then(|(head, body)| Some((head, body.replay()?))));
    }
    let error = last_error.unwrap_or_else(|| ClientError::Setup("nothing was sent".to_owned()));
    tracing::warn!(interaction_id = ?record.interaction_id, %error, "no answer");
    Err(Problem::from(&error))
}

fn overload_problem() -> Problem {
    let detail = "as many requests are under way as are configured";
    Problem::overload(detail, "max_requests")
}

/// Leases a connection: an existing one, or a new one for the last retries.
async fn lease(
    context: &ProxyContext,
    upstream: &Arc<ConnectionPool>,
    record: &RequestRecord,
    retries: &RetryState,
) -> Result<Lease, Problem> {
    let id = &record.interaction_id;
    let leased = match retries.needs_new_connection() {
        // Boxed: the future is large and rarely needed.
        true => Box::pin(upstream.lease_new(id)).await.map_err(Some),
        false => {
            let is_retry = retries.is_retry();
            upstream.lease(id, context.lease_timeout, is_retry).await
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

/// The request as the hub gets it. `Host` or `:authority` is the hub's own name, whatever name the application used.
fn hub_request(
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
        set_body_length(&mut head, &body);
        head.version = Version::HTTP_11;
    }
    // Cannot fail: the parts were parts of a URI before.
    head.uri = Uri::from_parts(parts).unwrap_or_default();
    Request::from_parts(head, body)
}

/// Adds the framing fields that hyper leaves out: `Transfer-Encoding` with GET, and `Content-Length: 0` (RFC 9110,
/// section 8.6).
fn set_body_length(head: &mut Parts, body: &RequestBody) {
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

/// The response to a request whose body has a fault.
pub(super) fn body_problem(fault: BodyFault) -> Problem {
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
