//! One request, one answer: checked, sent to the hub over a connection of the pool, and what comes
//! back handed on as it is.

use std::sync::Arc;
use std::time::Duration;

use http::header::{EXPECT, HOST, HeaderValue};
use http::request::Parts;
use http::uri::{Scheme, Uri};
use http::{Request, Response, StatusCode, Version};
use hyper::body::{Body, Incoming};
use tokio::time::{sleep, timeout};

use super::answer::AnswerBody;
use super::body::{BodyFault, RequestBody, fault_in};
use super::head::{Target, check, strip_answer};
use super::house::{Door, House};
use super::lease::Lease;
use super::link::is_refused_unread;
use super::problem::Problem;
use super::record::Record;
use super::stream::Business;
use super::unread::{Remainder, Unread};
use super::upstream::Upstream;
use crate::client::{ClientError, INTERACTION_ID, Stage};

/// How often a request is sent that was never sent, or is harmless to repeat. The last time over a
/// connection that is made for it.
const TRIES: usize = 3;
/// How often it is sent again where the hub refuses it unread: each of its connections may have
/// lowered what it takes.
const REFUSALS: u32 = 6;
/// The pause after the first refusal; after the second it is twice as long, and so on.
const PAUSE: Duration = Duration::from_millis(10);

/// Answers a request of an application.
pub(super) async fn forward(
    door: &Arc<Door>,
    business: &Arc<Business>,
    uid: Option<u32>,
    request: Request<Incoming>,
) -> Response<AnswerBody> {
    let house = &door.house;
    let (mut head, body) = request.into_parts();
    let id = house.ids.of(&mut head.headers);
    let mut record = Record::begin(house, business, uid, head.method.clone(), id);
    let awaits_continue = head.headers.contains_key(EXPECT);
    let unread =
        (!body.is_end_stream()).then(|| Unread::new(body, awaits_continue, house, business));
    let exchanged = match admit(door, &mut head, &mut record) {
        Ok(target) => exchange(house, head, unread, target, &mut record).await,
        // Whether the body comes nevertheless is not known: no other request can follow.
        Err(problem) if awaits_continue && unread.is_some() => Err(problem.closing()),
        Err(problem) => Err(problem),
    };
    let (response, lease) = match exchanged {
        Ok(exchanged) => exchanged,
        Err(problem) => {
            if problem.closes {
                business.ends.notify_one();
            }
            return AnswerBody::of_problem(&problem, record);
        }
    };
    let (mut head, incoming) = response.into_parts();
    head.version = Version::HTTP_11;
    strip_answer(&mut head.headers);
    if !head.headers.contains_key(INTERACTION_ID) {
        let id = record.interaction_id.clone();
        head.headers.insert(INTERACTION_ID, id);
    }
    record.status = head.status.as_u16();
    let body = AnswerBody::of_the_hub(incoming, lease, record, house.response_timeout);
    Response::from_parts(head, body)
}

fn admit(door: &Door, head: &mut Parts, record: &mut Record) -> Result<Target, Problem> {
    let path = door.gate().check(head)?;
    let target = check(head, &door.names, path, door.service)?;
    // Where `Connection` named it, it went with the others.
    if !head.headers.contains_key(INTERACTION_ID) {
        let id = record.interaction_id.clone();
        head.headers.insert(INTERACTION_ID, id);
    }
    record.service = Some(target.service);
    record.path = Some(target.path.clone());
    Ok(target)
}

type Exchanged = Result<(Response<Incoming>, Lease), Problem>;

async fn exchange(
    house: &Arc<House>,
    mut head: Parts,
    unread: Option<Unread>,
    target: Target,
    record: &mut Record,
) -> Exchanged {
    let body = RequestBody::read_ahead(unread, house.body_limits)
        .await
        .map_err(of_the_body)?;
    record.received = body.come();
    record.remainder = body.remainder();
    // Not before: who is slow with a body keeps nobody from being served.
    let Ok(_place) = house.places.try_acquire() else {
        let what = "as many requests are under way as are configured";
        return Err(Problem::overload(what, "max_requests"));
    };
    let upstream = house.upstream(target.service);
    let harmless = body.is_empty() && head.method.is_idempotent();
    head.uri = target.path.into();
    head.extensions.clear();
    let mut next = Some((head, body));
    let mut failed = None;
    let mut refused = false;
    let (mut tried, mut refusals) = (0, 0);
    while let Some((head, body)) = next.take().filter(|_| tried < TRIES) {
        tried += 1;
        let mut lease = lease(house, upstream, record, tried == TRIES).await?;
        let repeatable = harmless && lease.warm;
        // hyper gives no request back that an HTTP/2 peer refused unread, so one is kept.
        let again = match &body {
            RequestBody::Whole(bytes) if repeatable || lease.is_h2() => {
                Some((head.clone(), RequestBody::Whole(bytes.clone())))
            }
            _ => None,
        };
        let streamed = matches!(body, RequestBody::Streamed { .. });
        let request = request_for(upstream, head, body, lease.is_h2());
        upstream.meter.used(lease.warm);
        record.warm = Some(lease.warm);
        let Some(link) = lease.link() else {
            break;
        };
        let patience = match streamed {
            true => house.response_timeout + house.body_limits.time,
            false => house.response_timeout,
        };
        let late = || ClientError::Deadline {
            stage: Stage::Response,
            host: upstream.origin.host.clone(),
            after: patience,
        };
        let sent = timeout(patience, link.send(request)).await;
        let mut error = match sent {
            Ok(Ok(response)) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                return Err(Problem::from(&ClientError::Http(
                    "the protocol was switched without being asked".to_owned(),
                )));
            }
            Ok(Ok(response)) => return Ok((response, lease)),
            Ok(Err(error)) => error,
            Err(_) => return Err(Problem::from(&late())),
        };
        if let Some(unsent) = error.take_message() {
            next = Some(unsent.into_parts());
        }
        let error = error.into_error();
        // Of an HTTP/2 connection, hyper does not hand it on.
        let fault = record.remainder.as_ref().and_then(Remainder::fault);
        if let Some(fault) = fault.or_else(|| fault_in(&error)) {
            return Err(of_the_body(fault));
        }
        refused = is_refused_unread(&error);
        let error = link.fate.explain(error);
        tracing::debug!(interaction_id = ?record.interaction_id, %error, tried, unsent = next.is_some(), refused, "not answered");
        // Closed before anything came, as a hub does with a connection that was idle for long.
        let lost = repeatable && matches!(error, ClientError::NoAnswer(_));
        failed = Some(error);
        if refused && refusals < REFUSALS && again.is_some() {
            // Others may use the connection meanwhile.
            drop(lease);
            refusals += 1;
            tried -= 1;
            sleep(PAUSE * refusals).await;
            next = again;
        } else if lost && next.is_none() {
            next = again;
        }
    }
    if refused {
        tracing::warn!(interaction_id = ?record.interaction_id, "refused by the hub unread");
        return Err(refused_unread());
    }
    let error = failed.unwrap_or_else(|| ClientError::Setup("nothing was sent".to_owned()));
    tracing::warn!(interaction_id = ?record.interaction_id, %error, "no answer");
    Err(Problem::from(&error))
}

fn refused_unread() -> Problem {
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "overload",
        "the hub takes no more at once: it refused the request unread",
        "send it again, and call less at once; ask the hub's operator how many streams a connection may have",
    )
    .after(1)
}

async fn lease(
    house: &House,
    upstream: &Arc<Upstream>,
    record: &Record,
    fresh: bool,
) -> Result<Lease, Problem> {
    let id = &record.interaction_id;
    let leased = match fresh {
        // It is large and rare: not a part of what each request takes.
        true => Box::pin(upstream.fresh(id)).await.map_err(Some),
        false => upstream.lease(id, house.connect_patience).await,
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
    upstream: &Upstream,
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
        parts.authority = Some(upstream.authority.clone());
        head.version = Version::HTTP_2;
    } else {
        head.headers
            .insert(HOST, HeaderValue::clone(&upstream.host));
        head.version = Version::HTTP_11;
    }
    // Its parts were parts of a URI before.
    head.uri = Uri::from_parts(parts).unwrap_or_default();
    Request::from_parts(head, body)
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
        BodyFault::Broken => (
            StatusCode::BAD_REQUEST,
            "request",
            "see why the client broke off, or how it frames its body",
        ),
    };
    Problem::new(status, stage, &fault.to_string(), hint).closing()
}
