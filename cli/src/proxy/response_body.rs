//! The body of a response: the hub's, streamed to the application, or one that the proxy made.

use std::error::Error as StdError;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::ALLOW;
use http::{Response, StatusCode};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Sleep, sleep};

use super::body_drain::BodyDrain;
use super::connection_pool::Lease;
use super::problem_details::Problem;
use super::proxy_metrics;
use super::request_record::RequestRecord;
use super::via::ALLOWED_METHODS;
use hsm_mtls::internal::client::{ClientError, INTERACTION_ID, hyper_error};

type PolledFrame = Poll<Option<Result<Frame<Bytes>, Box<dyn StdError + Send + Sync>>>>;

/// The body of a response to an application.
pub(super) enum ResponseBody {
    /// The complete body of a response of the proxy.
    Local {
        body: Bytes,
        record: Option<RequestRecord>,
    },
    /// The body of a response of the hub, as it is received.
    Hub(HubBody),
}

/// A body that is streamed from the hub.
pub(super) struct HubBody {
    /// The first frame, if it was received with the head.
    first: Option<Frame<Bytes>>,
    incoming: Incoming,
    /// Held until the end of the body, and then returned to the pool.
    lease: Option<Lease>,
    record: RequestRecord,
    /// How long the hub may send nothing.
    read_timeout: Duration,
    read_timer: Option<Pin<Box<Sleep>>>,
}

impl ResponseBody {
    /// The body that the hub sends over the leased connection.
    pub(super) fn from_hub(
        first: Option<Frame<Bytes>>,
        incoming: Incoming,
        lease: Lease,
        record: RequestRecord,
        read_timeout: Duration,
    ) -> Self {
        if let Some(drain) = &record.drain {
            drain.response_started(record.status);
        }
        let mut body = HubBody {
            first,
            incoming,
            lease: Some(lease),
            record,
            read_timeout,
            read_timer: None,
        };
        if body.is_end_stream() {
            body.end();
        }
        Self::Hub(body)
    }

    /// The proxy's own response to OPTIONS with `Max-Forwards: 0`.
    pub(super) fn options_response(mut record: RequestRecord) -> Response<Self> {
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        headers.insert(ALLOW, ALLOWED_METHODS);
        headers.insert(INTERACTION_ID, record.interaction_id.clone());
        record.status = StatusCode::NO_CONTENT.as_u16();
        record.complete = true;
        response.map(|body| Self::Local {
            body,
            record: Some(record),
        })
    }

    /// The response that reports a problem.
    pub(super) fn problem_response(problem: &Problem, mut record: RequestRecord) -> Response<Self> {
        proxy_metrics::problem(problem.stage);
        let response = problem.response(record.interaction_id.clone());
        record.status = problem.status.as_u16();
        record.stage = Some(problem.stage);
        record.sent = response.body().len() as u64;
        record.complete = true;
        response.map(|body| Self::Local {
            body,
            record: Some(record),
        })
    }
}

/// The first frame of a body, if it was received already. An error in it is found before the head of the response is
/// forwarded, so that the application still gets a problem report.
pub(super) async fn first_frame(
    incoming: &mut Incoming,
) -> Result<Option<Frame<Bytes>>, ClientError> {
    let polled = poll_fn(|task| Poll::Ready(Pin::new(&mut *incoming).poll_frame(task))).await;
    match polled {
        Poll::Ready(Some(Err(error))) => Err(hyper_error::within_response(&error)),
        Poll::Ready(Some(Ok(frame))) => Ok(Some(frame)),
        Poll::Ready(None) | Poll::Pending => Ok(None),
    }
}

impl HubBody {
    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.incoming.is_end_stream()
    }

    fn end(&mut self) {
        self.record.complete = true;
        let drain = self.record.drain.as_ref();
        if let Some(drain) = drain {
            drain.response_ended(self.record.status);
        }
        match self.lease.take() {
            Some(lease) if drain.is_some_and(BodyDrain::is_early_response) => {
                lease.finish_without_reuse()
            }
            Some(lease) => lease.finish(),
            None => {}
        }
    }

    fn poll_frame(&mut self, task: &mut Context<'_>) -> PolledFrame {
        let polled = match self.first.take() {
            Some(first) => Poll::Ready(Some(Ok(first))),
            None => Pin::new(&mut self.incoming).poll_frame(task),
        };
        match polled {
            Poll::Ready(Some(Ok(frame))) => {
                self.read_timer = None;
                let length = frame.data_ref().map_or(0, Bytes::len);
                self.record.sent += length as u64;
                if self.incoming.is_end_stream() {
                    self.end();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(None) => {
                self.end();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => {
                let error = hyper_error::within_response(&error);
                self.record.stage = Some("answer");
                tracing::warn!(interaction_id = ?self.record.interaction_id, %error, "half an answer");
                Poll::Ready(Some(Err(error.into())))
            }
            Poll::Pending => {
                let timeout = self.read_timeout;
                let timer = self
                    .read_timer
                    .get_or_insert_with(|| Box::pin(sleep(timeout)));
                if timer.as_mut().poll(task).is_pending() {
                    return Poll::Pending;
                }
                self.record.stage = Some("deadline-answer");
                tracing::warn!(interaction_id = ?self.record.interaction_id, "the answer did not go on in time");
                Poll::Ready(Some(Err("the answer did not go on in time".into())))
            }
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Box<dyn StdError + Send + Sync>;

    fn poll_frame(self: Pin<&mut Self>, task: &mut Context<'_>) -> PolledFrame {
        match self.get_mut() {
            Self::Local { body, .. } if body.is_empty() => Poll::Ready(None),
            Self::Local { body, record } => {
                drop(record.take());
                Poll::Ready(Some(Ok(Frame::data(std::mem::take(body)))))
            }
            Self::Hub(body) => body.poll_frame(task),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Local { body, .. } => body.is_empty(),
            Self::Hub(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Local { body, .. } => SizeHint::with_exact(body.len() as u64),
            Self::Hub(body) => {
                let first = body.first.as_ref().and_then(Frame::data_ref);
                let first = first.map_or(0, Bytes::len) as u64;
                match body.incoming.size_hint().exact() {
                    Some(rest) => SizeHint::with_exact(first + rest),
                    None => SizeHint::default(),
                }
            }
        }
    }
}
