//! What is remembered of a request while it is under way, and logged and counted at its end,
//! however that comes.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use http::uri::PathAndQuery;
use http::{HeaderValue, Method};

use super::access_log::Line;
use super::body::Come;
use super::house::House;
use super::stream::Business;
use super::unread::Remainder;
use hsm_mtls::internal::config::environment::Service;

/// A request, from its head to the end of its answer.
pub(super) struct Record {
    house: Arc<House>,
    business: Arc<Business>,
    started: Instant,
    time: SystemTime,
    uid: Option<u32>,
    method: Method,
    pub(super) interaction_id: HeaderValue,
    pub(super) service: Option<Service>,
    pub(super) path: Option<PathAndQuery>,
    pub(super) received: Come,
    /// Of a body that was not read as a whole before the hub was asked.
    pub(super) remainder: Option<Remainder>,
    pub(super) status: u16,
    pub(super) sent: u64,
    /// Whether the connection was there before the request. None: the hub was not asked.
    pub(super) warm: Option<bool>,
    pub(super) stage: Option<&'static str>,
    pub(super) complete: bool,
}

impl Record {
    pub(super) fn begin(
        house: &Arc<House>,
        business: &Arc<Business>,
        uid: Option<u32>,
        method: Method,
        interaction_id: HeaderValue,
    ) -> Self {
        business.begin();
        Self {
            house: Arc::clone(house),
            business: Arc::clone(business),
            started: Instant::now(),
            time: SystemTime::now(),
            uid,
            method,
            interaction_id,
            service: None,
            path: None,
            received: Come::All(0),
            remainder: None,
            status: 0,
            sent: 0,
            warm: None,
            stage: None,
            complete: false,
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if let Some(remainder) = self.remainder.as_ref().filter(|_| !self.complete) {
            remainder.abandoned();
        }
        self.business.leave();
        let took = self.started.elapsed();
        // Who went away before there was an answer got none.
        if let Some(service) = self.service.filter(|_| self.status != 0) {
            let meter = &self.house.upstream(service).meter;
            meter.answered(self.status, took);
        }
        let path = self.path.as_ref();
        self.house.log.add(&Line {
            time: self.time,
            uid: self.uid,
            method: self.method.as_str(),
            service: self.service.map_or("", Service::label),
            path: path.map_or("", PathAndQuery::path),
            status: self.status,
            received: self.received.bytes(),
            sent: self.sent,
            took,
            connection: self.warm.map(|warm| if warm { "warm" } else { "new" }),
            stage: self.stage,
            complete: self.complete,
            interaction_id: self.interaction_id.to_str().unwrap_or(""),
        });
    }
}
