//! Problem details (RFC 9457): the response of the proxy's own when a request is refused or the hub does not respond.
//! They name the stage that failed. The stages are a contract; `docs/proxy.md` lists them.

use std::time::SystemTime;

use bytes::Bytes;
use http::header::{
    ALLOW, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, DATE, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{HeaderValue, Response, StatusCode};
use serde_json::json;

use super::via::ALLOWED_METHODS;
use hsm_mtls::internal::client::http2_error::EndedBy;
use hsm_mtls::internal::client::{ClientError, INTERACTION_ID, Stage};
use hsm_mtls::internal::diagnostic::Diagnostic as _;
use hsm_mtls::internal::engine::EngineError;
use hsm_mtls::internal::exit_code::ExitCode;
use hsm_mtls::internal::tls::TlsError;

/// The authentication scheme, which a 401 must name (RFC 9110, section 15.5.2).
const CHALLENGE: HeaderValue = HeaderValue::from_static("X-HSM-MTLS-Caller");
/// The stage of a certificate that is not valid yet.
pub(super) const CERTIFICATE_STAGE: &str = "certificate";

/// A refusal or failure that the proxy reports.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    pub(super) stage: &'static str,
    pub(super) detail: String,
    pub(super) hint: String,
    /// The state of the device that the cause names.
    device_state: Option<&'static str>,
    /// `Retry-After` in seconds, if a retry may help.
    pub(super) retry_after: Option<u64>,
    /// The connection is closed after the response: where the next request begins is not certain.
    pub(super) closes: bool,
}

impl Problem {
    pub(super) fn new(status: StatusCode, stage: &'static str, detail: &str, hint: &str) -> Self {
        Self {
            status,
            stage,
            detail: detail.to_owned(),
            hint: hint.to_owned(),
            device_state: None,
            retry_after: None,
            closes: false,
        }
    }

    /// A request that is malformed or ambiguous.
    pub(super) fn malformed(detail: &str) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "request",
            detail,
            "the proxy forwards a request only where all servers would read it alike: correct the client",
        )
        .closing()
    }

    /// A signature that the request needed was not made.
    pub(super) fn of_signature(error: &EngineError, detail: &str) -> Self {
        let (status, stage, retry_after) = classify_signature(error);
        Self {
            device_state: error.device_state(),
            retry_after,
            ..Self::new(status, stage, detail, &error.hint())
        }
    }

    /// Closes the connection after the response.
    pub(super) fn closing(mut self) -> Self {
        self.closes = true;
        self
    }

    /// The same, with another next step.
    pub(super) fn with_hint(mut self, hint: &str) -> Self {
        hint.clone_into(&mut self.hint);
        self
    }

    pub(super) fn with_retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// A configured limit of concurrency was reached.
    pub(super) fn overload(detail: &str, setting: &str) -> Self {
        let hint = format!("call less at once, or raise `{setting}` of [proxy]");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "overload", detail, &hint).with_retry_after(1)
    }

    /// The body as JSON.
    fn json(&self, interaction_id: &HeaderValue) -> Bytes {
        let mut problem = json!({
            "type": format!("urn:hsm-mtls:problem:{}", self.stage),
            "title": self.status.canonical_reason(),
            "status": self.status.as_u16(),
            "detail": self.detail,
            "stage": self.stage,
            "hint": self.hint,
            "interaction_id": interaction_id.to_str().ok(),
        });
        if let Some(state) = self.device_state {
            problem["device_state"] = state.into();
        }
        Bytes::from(problem.to_string())
    }

    pub(super) fn response(&self, interaction_id: HeaderValue) -> Response<Bytes> {
        let mut response = Response::new(self.json(&interaction_id));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        headers.insert(INTERACTION_ID, interaction_id);
        match self.status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(WWW_AUTHENTICATE, CHALLENGE);
            }
            // RFC 9110, section 15.5.6.
            StatusCode::METHOD_NOT_ALLOWED => {
                headers.insert(ALLOW, ALLOWED_METHODS);
            }
            _ => {}
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        if self.closes {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    /// The response as HTTP/1.1 bytes, for a connection that hyper does not serve.
    pub(super) fn to_http1_bytes(&self, interaction_id: &HeaderValue) -> Vec<u8> {
        let mut response = self.clone().closing().response(interaction_id.clone());
        let length = response.body().len();
        let headers = response.headers_mut();
        headers.insert(CONTENT_LENGTH, length.into());
        let now = httpdate::fmt_http_date(SystemTime::now());
        if let Ok(now) = HeaderValue::from_str(&now) {
            headers.insert(DATE, now);
        }
        let reason = self.status.canonical_reason().unwrap_or("");
        let mut bytes = format!("HTTP/1.1 {} {reason}\r\n", self.status.as_str()).into_bytes();
        for (name, value) in response.headers() {
            bytes.extend_from_slice(name.as_str().as_bytes());
            bytes.extend_from_slice(b": ");
            bytes.extend_from_slice(value.as_bytes());
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(response.body());
        bytes
    }
}

impl From<&ClientError> for Problem {
    fn from(error: &ClientError) -> Self {
        let (status, stage, retry_after) = classify(error);
        Self {
            status,
            stage,
            detail: error.to_string(),
            hint: error.hint(),
            device_state: match error {
                ClientError::Tls(TlsError::Signature(error)) => error.device_state(),
                _ => None,
            },
            retry_after,
            closes: false,
        }
    }
}

/// Status, stage and `Retry-After` of an error.
fn classify(error: &ClientError) -> (StatusCode, &'static str, Option<u64>) {
    const BAD: StatusCode = StatusCode::BAD_GATEWAY;
    const LATE: StatusCode = StatusCode::GATEWAY_TIMEOUT;
    match error {
        ClientError::ForwardProxy(error) => {
            let status = if error.failure.is_deadline() {
                LATE
            } else {
                BAD
            };
            (status, "forward-proxy", error.is_transient().then_some(1))
        }
        ClientError::InTunnel { error, .. } => classify(error),
        ClientError::Tls(TlsError::Signature(error)) => classify_signature(error),
        ClientError::Tls(TlsError::NotYetValid { .. }) => {
            (StatusCode::SERVICE_UNAVAILABLE, CERTIFICATE_STAGE, Some(5))
        }
        ClientError::Tls(error) => (BAD, tls_stage(error), None),
        ClientError::Resolve { .. } => (BAD, "name", None),
        ClientError::Connect { .. } => (BAD, "connect", Some(1)),
        ClientError::ConnectDeadline { .. } => (LATE, "deadline-connect", None),
        ClientError::Deadline { stage, .. } => {
            let stage = match stage {
                Stage::Resolve => "deadline-name",
                Stage::Handshake => "deadline-handshake",
                Stage::Response => "deadline-answer",
            };
            (LATE, stage, None)
        }
        ClientError::Http2(ending) if ending.is_unprocessed() => {
            (StatusCode::SERVICE_UNAVAILABLE, "overload", Some(1))
        }
        ClientError::Http2(ending) if ending.by == EndedBy::Us => (BAD, "answer", None),
        ClientError::NoAnswer(_)
        | ClientError::ConnectionLost(_)
        | ClientError::Http2(_)
        | ClientError::NoPing => (BAD, "no-answer", None),
        ClientError::HalfAnswer(_)
        | ClientError::Body(_)
        | ClientError::Http(_)
        | ClientError::Malformed(_)
        | ClientError::HeadTooLong => (BAD, "answer", None),
        ClientError::Identity(_)
        | ClientError::NotConfigured { .. }
        | ClientError::Request(_)
        | ClientError::TooLong(_)
        | ClientError::Setup(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal", None),
    }
}

fn tls_stage(error: &TlsError) -> &'static str {
    match error {
        TlsError::Alert { .. } | TlsError::IssuerNotAccepted { .. } => "tls-refused",
        TlsError::NotAsked | TlsError::NotObserved => "not-asked",
        TlsError::ServerCertificate(_)
        | TlsError::ServerTime { .. }
        | TlsError::ServerSignature
        | TlsError::Revocation(_)
        | TlsError::ServerNotProved
        | TlsError::ServerUntrusted
        | TlsError::ServerName { .. } => "server-certificate",
        _ => "tls",
    }
}

/// The stage of a failed signature.
pub(super) fn signature_stage(error: &EngineError) -> &'static str {
    classify_signature(error).1
}

/// Status, stage and `Retry-After` of a failed signature. Token recovery runs once a second, so a retry may help; a PIN
/// error needs a person, but for a login that the device did not answer.
fn classify_signature(error: &EngineError) -> (StatusCode, &'static str, Option<u64>) {
    const UNAVAILABLE: StatusCode = StatusCode::SERVICE_UNAVAILABLE;
    match error.class() {
        "pin" if error.exit_code() != ExitCode::Token => (UNAVAILABLE, "pin-guarded", None),
        "deadline" => (StatusCode::GATEWAY_TIMEOUT, "deadline-token", Some(1)),
        "queue-full" | "rate" => (UNAVAILABLE, "token-busy", Some(1)),
        "ledger" => (UNAVAILABLE, "ledger", None),
        "mechanism" | "wrong-signature" | "not-the-pair" | "refused" | "no-random"
        | "refused-by-signer" | "message-too-long" | "configuration" => {
            (UNAVAILABLE, "signature", None)
        }
        _ => (UNAVAILABLE, "token-down", Some(1)),
    }
}

/// Whether the failure is one of signer or token, not of the connection to the hub.
pub(super) fn is_token_failure(error: &ClientError) -> bool {
    matches!(error, ClientError::Tls(TlsError::Signature(_)))
}
