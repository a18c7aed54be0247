//! JWT Auth of the proxy (`jwt` of `[proxy]`): each request to a service that demands it is sent with a token of its own, from a
//! stock that is minted ahead. The clock of the hub is watched, because its verdict on a token depends on it.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use http::header::{AUTHORIZATION, DATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Value, json};

use super::key_set_monitor::{self, KeySetMonitor, KeySetResult};
use super::problem_details::{CERTIFICATE_STAGE, Problem};
use super::proxy_metrics;
use hsm_mtls::internal::certificate::Certificate;
use hsm_mtls::internal::config::Service;
use hsm_mtls::internal::config::proxy::JwtAuth as CoveredServices;
use hsm_mtls::internal::config::{Config, KeyRole};
use hsm_mtls::internal::diagnostic::Diagnostic as _;
use hsm_mtls::internal::engine::EngineError;
use hsm_mtls::internal::identity::SigningIdentity;
use hsm_mtls::internal::jwt::{Minter, TokenStock};
use hsm_mtls::internal::poison::IgnorePoison as _;

/// What requests with a token need.
#[derive(Debug)]
pub(super) struct JwtAuth {
    services: CoveredServices,
    stock: TokenStock,
    state: Mutex<JwtState>,
    key_set: KeySetMonitor,
}

/// What a reload replaces, and what was seen of the hub's clock.
#[derive(Debug)]
struct JwtState {
    config: Arc<Config>,
    certificate: Certificate,
    audience: String,
    /// How long a request may wait for a token.
    timeout: Duration,
    max_clock_skew: Duration,
    /// Of each service.
    clocks: Vec<WatchedClock>,
}

/// The clock of one service.
#[derive(Debug)]
struct WatchedClock {
    service: Service,
    /// The last `Date`, so that one which was judged already is not judged again.
    last_date: Option<HeaderValue>,
    judged: Option<HubClock>,
}

impl WatchedClock {
    fn of(service: Service) -> Self {
        Self {
            service,
            last_date: None,
            judged: None,
        }
    }
}

/// How far the hub's clock is from this machine's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct HubClock {
    /// In whole seconds; more than 0: the hub's is ahead.
    ahead: i64,
    is_beyond: bool,
}

impl JwtAuth {
    /// Starts to mint. `None`: no requests carry tokens.
    ///
    /// # Errors
    /// No thread can be started.
    pub(super) fn start(
        config: &Config,
        sig4: Option<&SigningIdentity>,
    ) -> io::Result<Option<Arc<Self>>> {
        let services = config.proxy.as_ref().map(|proxy| proxy.jwt.clone());
        let services = services.filter(|services| *services != CoveredServices::Off);
        let (Some(services), Some(sig4)) = (services, sig4) else {
            return Ok(None);
        };
        let token = config.token_of_sig4();
        Ok(Some(Arc::new(Self {
            services,
            stock: TokenStock::start(Minter::of(config, sig4), token.sessions)?,
            state: Mutex::new(JwtState::new(config, sig4)),
            key_set: KeySetMonitor::default(),
        })))
    }

    /// Takes the key, certificate and claims of a reload. The tokens of the key before are thrown away.
    pub(super) fn switch(&self, config: &Config, sig4: Option<&SigningIdentity>) {
        let Some(sig4) = sig4 else {
            return;
        };
        *self.state.lock().ignore_poison() = JwtState::new(config, sig4);
        self.stock.switch(Minter::of(config, sig4));
    }

    /// Checks the published key set at once, and then every ten minutes. Does not end.
    pub(super) async fn watch_key_set(self: Arc<Self>) {
        let mut interval = tokio::time::interval(key_set_monitor::INTERVAL);
        loop {
            interval.tick().await;
            let (config, certificate) = {
                let state = self.state.lock().ignore_poison();
                (Arc::clone(&state.config), state.certificate.clone())
            };
            self.key_set.check(&config, &certificate).await;
        }
    }

    /// Whether the hub will find the key of another certificate, before a reload takes it.
    ///
    /// # Errors
    /// The published set says that it will not.
    pub(super) async fn check_successor(
        &self,
        config: &Config,
        sig4: &SigningIdentity,
    ) -> Result<(), String> {
        let successor = sig4.certificate();
        if successor.der() == self.state.lock().ignore_poison().certificate.der() {
            return Ok(());
        }
        match key_set_monitor::check(config, successor).await {
            KeySetResult::Published => Ok(()),
            KeySetResult::Fault(why) => Err(why),
            KeySetResult::Unknown(why) => {
                tracing::warn!(
                    why,
                    "it is not known whether the hub finds the new Sig4 key: the published key set cannot be had"
                );
                Ok(())
            }
        }
    }

    /// Refuses a request that brings an `Authorization` of its own to a service for which the proxy sets it: which of the two
    /// the application means is not known, and one of them would be lost.
    /// `has_own` is whether it came with one, even if `Connection` named it for removal.
    pub(super) fn check(&self, service: Service, has_own: bool) -> Result<(), Problem> {
        if !self.services.covers(service) || !has_own {
            return Ok(());
        }
        Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "authorization",
            &format!(
                "the request has an Authorization of its own, and the proxy puts the token of JWT Auth there for {}",
                service.name()
            ),
            "leave the header out: the proxy makes a token for each request; or have `jwt` of [proxy] changed",
        ))
    }

    /// Sets `Authorization` of a request to this service to a token that no other request has. Returns the token's `jti`;
    /// `None`: the service demands none.
    ///
    /// # Errors
    /// There is no token: the response for the application.
    pub(super) async fn authorize(
        &self,
        service: Service,
        headers: &mut HeaderMap,
    ) -> Result<Option<String>, Problem> {
        if !self.services.covers(service) {
            return Ok(None);
        }
        let timeout = {
            let state = self.state.lock().ignore_poison();
            state.check_certificate()?;
            state.timeout
        };
        let token = self.stock.token(Instant::now() + timeout).await;
        let token = token.map_err(|error| no_token(&error))?;
        headers.insert(AUTHORIZATION, token.authorization());
        Ok(Some(token.jti().to_owned()))
    }

    /// Compares the hub's clock, as its response tells it, with this machine's. `sent` is when the request was sent.
    pub(super) fn watch_clock(&self, service: Service, headers: &HeaderMap, sent: SystemTime) {
        let Some(date) = headers.get(DATE).filter(|_| self.services.covers(service)) else {
            return;
        };
        let mut state = self.state.lock().ignore_poison();
        let bound = state.max_clock_skew.as_secs();
        let mut clocks = state.clocks.iter_mut();
        let Some(clock) = clocks.find(|clock| clock.service == service) else {
            return;
        };
        if clock.last_date.as_ref() == Some(date) {
            return;
        }
        clock.last_date = Some(date.clone());
        let parsed = date
            .to_str()
            .ok()
            .and_then(|date| httpdate::parse_http_date(date).ok());
        let Some(at) = parsed else {
            return;
        };
        let ahead = seconds_ahead(at, sent, SystemTime::now());
        let is_beyond = ahead.unsigned_abs() > bound;
        let before = clock.judged.replace(HubClock { ahead, is_beyond });
        drop(state);
        proxy_metrics::hub_clock(service, ahead);
        if is_beyond && before.is_none_or(|before| !before.is_beyond) {
            tracing::warn!(
                service = service.label(),
                seconds = ahead,
                "the hub's clock differs from this machine's by more than `max_clock_skew` of [sig4]: a hub that is too far away \
                 takes tokens for expired, or for not valid yet; check the time service of this machine"
            );
        } else if !is_beyond && before.is_some_and(|before| before.is_beyond) {
            tracing::info!(
                service = service.label(),
                seconds = ahead,
                "the hub's clock is near this machine's again"
            );
        }
    }

    /// Publishes the counts of the stock.
    pub(super) fn count(&self) {
        proxy_metrics::set_tokens(self.stock.counts());
    }

    /// Its part of the readiness report, and whether requests can be sent.
    pub(super) fn report(&self, now: SystemTime) -> (bool, Value) {
        let state = self.state.lock().ignore_poison();
        let certificate = &state.certificate;
        let of_certificate = certificate.check_role(KeyRole::Sig4, now).err();
        let of_token = self.stock.last_error();
        let told = match (&of_certificate, &of_token) {
            (Some(error), _) => Some((error.to_string(), error.hint())),
            (None, Some(error)) => Some((error.to_string(), error.hint())),
            (None, None) => None,
        };
        let clocks = state.clocks.iter().filter_map(|clock| clock.judged);
        let farthest = clocks.max_by_key(|clock| clock.ahead.unsigned_abs());
        let mut report = json!({
            "services": self.services.as_str(),
            "good": told.is_none(),
            "audience": state.audience,
            "kid": certificate.x5t_s256(),
            "not_after": certificate.not_after(),
            "days_left": certificate.days_left(now),
            "hub_clock_ahead_seconds": farthest.map(|clock| clock.ahead),
            "hub_clock_is_beyond_bound": farthest.is_some_and(|clock| clock.is_beyond),
            "key_set": self.key_set.report(),
        });
        let good = told.is_none();
        if let Some((detail, hint)) = told {
            report["detail"] = detail.into();
            report["hint"] = hint.into();
        }
        (good, report)
    }
}

impl JwtState {
    fn new(config: &Config, sig4: &SigningIdentity) -> Self {
        let token = config.token_of_sig4();
        let max_clock_skew = config.sig4.as_ref().map(|sig4| sig4.max_clock_skew);
        let services = config.hub.services.iter().map(|service| service.service);
        Self {
            config: Arc::new(config.clone()),
            certificate: sig4.certificate().clone(),
            audience: sig4.claim_set().audience.clone(),
            timeout: token.timeout,
            max_clock_skew: max_clock_skew.unwrap_or_default(),
            clocks: services.map(WatchedClock::of).collect(),
        }
    }

    /// No token is made with a certificate that no hub accepts.
    fn check_certificate(&self) -> Result<(), Problem> {
        let valid = self
            .certificate
            .check_role(KeyRole::Sig4, SystemTime::now());
        valid.map_err(|error| {
            let status = StatusCode::SERVICE_UNAVAILABLE;
            let detail = format!("no token of JWT Auth: {error}");
            Problem::new(status, CERTIFICATE_STAGE, &detail, &error.hint())
        })
    }
}

/// The response where there is no token: the stages are those of a handshake that the token does not sign.
fn no_token(error: &EngineError) -> Problem {
    Problem::of_signature(error, &format!("no token of JWT Auth: {error}"))
}

/// By how many seconds a `Date` is ahead of this machine's clock, at the least: it was made between the two times, and tells
/// whole seconds.
fn seconds_ahead(date: SystemTime, sent: SystemTime, received: SystemTime) -> i64 {
    let seconds = |later: SystemTime, earlier: SystemTime| {
        let by = later.duration_since(earlier).unwrap_or_default();
        i64::try_from(by.as_secs()).unwrap_or(i64::MAX)
    };
    let ahead = seconds(date, received);
    let behind = seconds(sent, date + Duration::from_secs(1));
    match ahead {
        0 => -behind,
        ahead => ahead,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_as_far_away_as_its_whole_seconds_show() {
        let at = |millis: u64| SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
        for (date, sent, received, expected) in [
            (100_000, 100_000, 100_020, 0),
            (100_000, 100_990, 101_010, 0),
            (100_000, 99_500, 107_000, 0),
            (100_000, 106_000, 106_100, -5),
            (107_000, 99_900, 100_000, 7),
            (100_000, 101_900, 101_950, 0),
        ] {
            let ahead = seconds_ahead(at(date), at(sent), at(received));
            assert_eq!(ahead, expected, "{date} {sent} {received}");
        }
    }
}
