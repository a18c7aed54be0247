//! Handles the requests of one channel in the signer: receives a frame, checks it against the policy, signs, and responds.
//! A request that is malformed or against the policy is refused and recorded; the channel goes on.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::frame::{self, MAX_FRAME_LEN, Request, Response};
use super::health::SignerHealth;
use super::heartbeat::CallDeadlines;
use super::jwt_policy::JwtRefusal;
use super::open_key::{OpenKey, OpenKeys};
use super::policy::Refusal;
use super::state::SharedState;
use super::timespec;
use super::tls12_policy::Tls12Refusal;
use crate::config::trust::Fingerprint;
use crate::engine::{EngineError, ReportedError, Sign as _, SignRequest};
use crate::exit_code::ExitCode;
use crate::ledger::{Entry, Process, RefusedRequest};

/// Handles the requests of all channels.
pub(super) struct RequestHandler {
    pub(super) state: SharedState,
    pub(super) calls: CallDeadlines,
    /// The timeout of a signature: the longest of all keys.
    pub(super) timeout: Duration,
    /// Health was requested since the last check of the token.
    pub(super) health_requested: AtomicBool,
}

impl RequestHandler {
    /// The signer's health. The token is checked soon after it.
    fn health(&self) -> SignerHealth {
        self.health_requested.store(true, Ordering::Relaxed);
        self.state.health()
    }
}

/// Serves a channel until its other end is closed.
pub(super) fn serve_channel(handler: &RequestHandler, number: usize, channel: &OwnedFd) {
    let mut frame = vec![0; MAX_FRAME_LEN];
    let mut response = Vec::new();
    loop {
        // TRUNC: the returned length is that of the datagram, even if the datagram is longer than the buffer.
        let received = retry_on_intr(|| recv(channel, &mut frame[..], RecvFlags::TRUNC));
        let length = match received {
            Ok((_, 0)) if is_closed(channel) => return,
            Ok((_, length)) => length,
            Err(Errno::CONNRESET) => return,
            Err(error) => {
                // The other end cannot cause this. A PKCS#11 module can, by closing descriptors that it did not open.
                tracing::error!(%error, "a channel cannot be read");
                return handler.calls.mark_hung();
            }
        };
        match frame.get(..length) {
            None => refuse_frame(
                handler,
                None,
                &format!("a frame of {length} bytes"),
                &mut response,
            ),
            Some(bytes) => match frame::decode_request(bytes) {
                Ok((id, request)) => handle(handler, number, id, &request, &mut response),
                Err((id, error)) => refuse_frame(handler, id, &error.to_string(), &mut response),
            },
        }
        let sent = retry_on_intr(|| {
            send(
                channel,
                &response,
                SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
            )
        });
        if let Err(error) = sent {
            // The channel is full: the front end does not read its responses.
            tracing::warn!(%error, "an answer was not taken");
        }
    }
}

/// Whether the other end is closed, or closed for sending: `recv` returns 0 bytes then, and for an empty datagram too.
fn is_closed(channel: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(channel, PollFlags::RDHUP)];
    let polled = retry_on_intr(|| poll(&mut fds, Some(&timespec(Duration::ZERO))));
    polled.is_err()
        || fds
            .iter()
            .any(|fd| fd.revents().intersects(PollFlags::HUP | PollFlags::RDHUP))
}

fn refuse_frame(handler: &RequestHandler, id: Option<u64>, why: &str, response: &mut Vec<u8>) {
    if let Some(key) = handler.state.key() {
        key.record_refusal(None, why);
    }
    encode_error(response, id.unwrap_or_default(), &refusal_error(why));
}

/// Encodes the response to a request into `response`.
fn handle(
    handler: &RequestHandler,
    caller: usize,
    id: u64,
    request: &Request<'_>,
    response: &mut Vec<u8>,
) {
    match request {
        Request::Describe => match handler.state.wait_for_key(None) {
            Ok(key) => {
                frame::encode_response(response, id, &Response::Described(&key.description()));
            }
            Err(error) => encode_error(response, id, &error),
        },
        Request::Health => {
            let health = handler.health();
            // Serialisation of strings and numbers does not fail.
            let json = serde_json::to_vec(&health).unwrap_or_default();
            frame::encode_response(response, id, &Response::Health(&json));
        }
        Request::Sign { spki, request } => match sign(handler, caller, *spki, request) {
            Ok(signature) => {
                frame::encode_response(response, id, &Response::Signed(&signature));
            }
            Err(error) => encode_error(response, id, &error),
        },
    }
}

fn encode_error(response: &mut Vec<u8>, id: u64, error: &ReportedError) {
    // Serialisation of strings and numbers does not fail.
    let json = serde_json::to_vec(error).unwrap_or_default();
    frame::encode_response(response, id, &Response::Failed(&json));
}

fn sign(
    handler: &RequestHandler,
    caller: usize,
    spki: Fingerprint,
    request: &SignRequest<'_>,
) -> Result<Vec<u8>, ReportedError> {
    let began = Instant::now();
    let until = request.deadline.min(began + handler.timeout);
    let keys = handler.state.wait_for_key(Some(until))?;
    let key = keys.key(spki, request.purpose)?;
    // A call that takes longer than `timeout` counts as hung, even if the caller's deadline is later.
    let request = SignRequest {
        deadline: until.min(began + key.timeout),
        ..*request
    };
    keys.check_policy(&key, spki, &request)?;
    let _in_progress = handler.calls.begin(caller, request.deadline);
    let signed = key.engine.sign(&request);
    if signed.as_ref().is_err_and(EngineError::is_before_attempt) {
        key.policy.not_attempted();
    }
    signed
        .map(|signature| signature.bytes)
        .map_err(ReportedError::from)
}

impl OpenKeys {
    /// Checks a request against the policy. A refusal is recorded.
    fn check_policy(
        &self,
        key: &OpenKey,
        spki: Fingerprint,
        request: &SignRequest<'_>,
    ) -> Result<(), ReportedError> {
        let checked = key.policy.check(spki, request, Instant::now());
        checked.map_err(|refusal| {
            let why = refusal.to_string();
            if refusal == Refusal::Jwt(JwtRefusal::Ended) {
                // The HSM is slow: an honest front end asked in time.
                return ReportedError::from(EngineError::Deadline(key.timeout));
            }
            self.record_refusal(Some(request), &why);
            match refusal {
                Refusal::Rate(_) => rate_limit_error(&why),
                Refusal::Tls12(Tls12Refusal::NotTheHub(_) | Tls12Refusal::ForeignCertificate) => {
                    not_the_hub_error(&why)
                }
                Refusal::Tls12(Tls12Refusal::Unavailable { hint, .. }) => {
                    unavailable_error(why, hint)
                }
                _ => refusal_error(&why),
            }
        })
    }

    /// Records the refusal of a request or of a malformed frame, unless the rate limit of such records is reached.
    fn record_refusal(&self, request: Option<&SignRequest<'_>>, why: &str) {
        let Some(left_out) = self.policy().may_record(Instant::now()) else {
            return;
        };
        let purpose = request.map(|request| request.purpose.name());
        let peer = request.and_then(|request| request.peer.name);
        tracing::error!(purpose, why, peer, left_out, "refused to sign");
        let entry = Entry::Refused(RefusedRequest {
            purpose,
            why,
            peer,
            interaction_id: request.and_then(|request| request.peer.interaction_id),
            left_out,
            process: Process::current(),
        });
        if let Err(error) = self.recorder.record(&entry) {
            tracing::error!(%error, "a refusal is not on record");
        }
    }
}

/// The error of a request that is malformed or against the policy: our own front end sends none.
fn refusal_error(why: &str) -> ReportedError {
    ReportedError {
        message: format!("the signer process does not sign: {why}"),
        hint: "this is a fault of ours, or somebody has taken over the front end: keep ledger and logs, and look at both"
            .to_owned(),
        class: "refused-by-signer".to_owned(),
        exit: ExitCode::Bug as u8,
        transient: false,
        device_state: None,
    }
}

/// The error of a handshake with a server that the signer does not believe, and the front end does.
fn not_the_hub_error(why: &str) -> ReportedError {
    ReportedError {
        hint: "if anchors, CRLs or [hub] were changed, reload or restart: each process reads them when it starts. Else this is a fault \
               of ours, or somebody has taken over the front end: keep ledger and logs, and look at both"
            .to_owned(),
        ..refusal_error(why)
    }
}

/// The error of a handshake of TLS 1.2 that the signer has not the means to judge.
fn unavailable_error(why: String, hint: String) -> ReportedError {
    ReportedError {
        message: format!("no handshake of TLS 1.2 is signed: {why}"),
        hint,
        class: "configuration".to_owned(),
        exit: ExitCode::Configuration as u8,
        transient: false,
        device_state: None,
    }
}

fn rate_limit_error(why: &str) -> ReportedError {
    ReportedError {
        message: format!("the signer process does not sign: {why}"),
        hint: "if these were requests of yours, raise `burst` of [signer] where so many connections are opened at once, and \
               `per_second` where they are opened all the time; if not, somebody may have taken over the front end"
            .to_owned(),
        class: "rate".to_owned(),
        exit: ExitCode::Token as u8,
        transient: false,
        device_state: None,
    }
}
