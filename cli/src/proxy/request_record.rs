//! The record of one request, from its head to the end of its response: when it is dropped, the request is written to
//! the access log and counted in the metrics.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use http::uri::PathAndQuery;
use http::{HeaderValue, Method};

use super::access_log::AccessLogEntry;
use super::body_drain::BodyDrain;
use super::client_stream::RequestActivity;
use super::context::ProxyContext;
use super::request_body::BytesReceived;
use hsm_mtls::internal::config::Service;

/// What is known of a request.
pub(super) struct RequestRecord {
    context: Arc<ProxyContext>,
    activity: Arc<RequestActivity>,
    started: Instant,
    time: SystemTime,
    uid: Option<u32>,
    method: Method,
    pub(super) interaction_id: HeaderValue,
    pub(super) service: Option<Service>,
    pub(super) path: Option<PathAndQuery>,
    pub(super) received: BytesReceived,
    /// The unread part of the body, if it was not read completely before the request was sent.
    pub(super) drain: Option<BodyDrain>,
    pub(super) status: u16,
    pub(super) sent: u64,
    /// What the connection to the hub was: `warm`, `new` or `resumed`. None: the request was not sent.
    pub(super) connection: Option<&'static str>,
    /// The stage of the problem, if there was one.
    pub(super) stage: Option<&'static str>,
    /// The response was handed over completely.
    pub(super) complete: bool,
    /// The id of the token that the request was sent with.
    pub(super) jti: Option<String>,
}

impl RequestRecord {
    pub(super) fn begin(
        context: &Arc<ProxyContext>,
        activity: &Arc<RequestActivity>,
        uid: Option<u32>,
        method: Method,
        interaction_id: HeaderValue,
    ) -> Self {
        activity.begin_request();
        Self {
            context: Arc::clone(context),
            activity: Arc::clone(activity),
            started: Instant::now(),
            time: SystemTime::now(),
            uid,
            method,
            interaction_id,
            service: None,
            path: None,
            received: BytesReceived::Final(0),
            drain: None,
            status: 0,
            sent: 0,
            connection: None,
            stage: None,
            complete: false,
            jti: None,
        }
    }
}

impl Drop for RequestRecord {
    fn drop(&mut self) {
        if let Some(drain) = self.drain.as_ref().filter(|_| !self.complete) {
            drain.response_aborted();
        }
        self.activity.end();
        let took = self.started.elapsed();
        // The status is 0 if the application went away before the response.
        let upstream = self.service.filter(|_| self.status != 0);
        if let Some(upstream) = upstream.and_then(|service| self.context.upstream(service)) {
            upstream.count_answer(self.status, took);
        }
        let path = self.path.as_ref();
        self.context.log.add(&AccessLogEntry {
            time: self.time,
            uid: self.uid,
            method: self.method.as_str(),
            service: self.service.map_or("", Service::label),
            path: path.map_or("", PathAndQuery::path),
            status: self.status,
            received: self.received.bytes(),
            sent: self.sent,
            took,
            connection: self.connection,
            stage: self.stage,
            complete: self.complete,
            interaction_id: self.interaction_id.to_str().unwrap_or(""),
            jti: self.jti.as_deref(),
        });
    }
}
