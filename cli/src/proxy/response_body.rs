//! The body of an answer: the hub's, handed on as it comes, or our own.

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
use super::metrics;
use super::problem_details::Problem;
use super::request_record::RequestRecord;
use super::via::METHODS;
use hsm_mtls::internal::client::{ClientError, INTERACTION_ID, hyper_error};

type Polled = Poll<Option<Result<Frame<Bytes>, Box<dyn StdError + Send + Sync>>>>;

/// A body on its way to the application.
pub(super) enum ResponseBody {
    /// All of it.
    Ours {
        body: Bytes,
        record: Option<RequestRecord>,
    },
    /// As it comes.
    Hubs(HubBody),
}

pub(super) struct HubBody {
    /// What of it was there with the head.
    first: Option<Frame<Bytes>>,
    incoming: Incoming,
    /// Until the end of the answer. Given back then, so that another request can use it.
    lease: Option<Lease>,
    record: RequestRecord,
    patience: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl ResponseBody {
    /// What the hub answers over the leased connection.
    pub(super) fn of_the_hub(
        first: Option<Frame<Bytes>>,
        incoming: Incoming,
        lease: Lease,
        record: RequestRecord,
        patience: Duration,
    ) -> Self {
        if let Some(drain) = &record.drain {
            drain.answers(record.status);
        }
        let mut body = HubBody {
            first,
            incoming,
            lease: Some(lease),
            record,
            patience,
            waiting: None,
        };
        if body.is_end_stream() {
            body.end();
        }
        Self::Hubs(body)
    }

    /// What this gateway says of itself, where OPTIONS has no hop left.
    pub(super) fn of_options(mut record: RequestRecord) -> Response<Self> {
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        headers.insert(ALLOW, METHODS);
        headers.insert(INTERACTION_ID, record.interaction_id.clone());
        record.status = StatusCode::NO_CONTENT.as_u16();
        record.complete = true;
        response.map(|body| Self::Ours {
            body,
            record: Some(record),
        })
    }

    /// A problem of ours.
    pub(super) fn of_problem(problem: &Problem, mut record: RequestRecord) -> Response<Self> {
        metrics::problem(problem.stage);
        let response = problem.response(record.interaction_id.clone());
        record.status = problem.status.as_u16();
        record.stage = Some(problem.stage);
        record.sent = response.body().len() as u64;
        record.complete = true;
        response.map(|body| Self::Ours {
            body,
            record: Some(record),
        })
    }
}

/// What of a body is there already. An error of it is known before the head is handed on then, and
/// can be told.
pub(super) async fn first_of(incoming: &mut Incoming) -> Result<Option<Frame<Bytes>>, ClientError> {
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
            drain.answered(self.record.status);
        }
        match self.lease.take() {
            Some(lease) if drain.is_some_and(BodyDrain::is_early) => lease.finish_early(),
            Some(lease) => lease.finish(),
            None => {}
        }
    }

    fn poll_frame(&mut self, task: &mut Context<'_>) -> Polled {
        let polled = match self.first.take() {
            Some(first) => Poll::Ready(Some(Ok(first))),
            None => Pin::new(&mut self.incoming).poll_frame(task),
        };
        match polled {
            Poll::Ready(Some(Ok(frame))) => {
                self.waiting = None;
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
                let patience = self.patience;
                let waiting = self
                    .waiting
                    .get_or_insert_with(|| Box::pin(sleep(patience)));
                if waiting.as_mut().poll(task).is_pending() {
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

    fn poll_frame(self: Pin<&mut Self>, task: &mut Context<'_>) -> Polled {
        match self.get_mut() {
            Self::Ours { body, .. } if body.is_empty() => Poll::Ready(None),
            Self::Ours { body, record } => {
                drop(record.take());
                Poll::Ready(Some(Ok(Frame::data(std::mem::take(body)))))
            }
            Self::Hubs(body) => body.poll_frame(task),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Ours { body, .. } => body.is_empty(),
            Self::Hubs(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Ours { body, .. } => SizeHint::with_exact(body.len() as u64),
            Self::Hubs(body) => {
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
