//! Interprets HTTP error responses: which component of the hub probably sent them, and what to do.
//!
//! The hub's response to a missing or refused certificate is not documented. nginx and similar servers complete the
//! handshake and respond with a 400 page; a gateway behind them responds 401 or 403; the services respond 400 with
//! JSON.

use std::borrow::Cow;

use http::StatusCode;
use http::header::LOCATION;
use serde_json::Value;

use super::HubResponse;

/// The maximum size of the part of a body that is searched, in bytes.
const MAX_SEARCHED: usize = 16 << 10;
/// The maximum length of an excerpt, in characters.
const MAX_EXCERPT: usize = 160;

/// What a response with an error status or redirect means.
#[derive(Debug)]
pub struct ErrorResponse {
    /// The status and an excerpt of the body.
    pub detail: String,
    /// What to do next.
    pub hint: &'static str,
}

impl HubResponse {
    /// A short text for messages: the title of an HTML page, else the first 160 characters of the body.
    pub fn excerpt(&self) -> String {
        excerpt(&self.searched_text())
    }

    fn searched_text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(self.body.get(..MAX_SEARCHED).unwrap_or(&self.body))
    }

    /// What an error status (4xx, 5xx) or redirect (3xx) probably means. `None` if the status is 2xx. A caller that
    /// expects a redirect does not call this.
    pub fn error_response(&self) -> Option<ErrorResponse> {
        let status = self.status;
        if status.is_success() {
            return None;
        }
        let text = self.searched_text();
        let page = text.to_ascii_lowercase();
        let hint = match status {
            StatusCode::BAD_REQUEST if page.contains("no required ssl certificate") => {
                "the server that answers saw no certificate, though we sent ours: something in between ends TLS and does not pass it on"
            }
            StatusCode::BAD_REQUEST if page.contains("ssl certificate error") => {
                "the server refuses our certificate with a page, as nginx does: see with `hsm-mtls cert show` that it is the C3 of this environment and in its time"
            }
            StatusCode::BAD_REQUEST if page.contains("plain http request") => {
                "the server took this for plain HTTP: something in between ends TLS"
            }
            StatusCode::BAD_REQUEST if is_service_error(&self.body) => {
                "the service itself answers, so mutual TLS is there: correct the request as its message says"
            }
            StatusCode::BAD_REQUEST => {
                "the server does not say what it finds wrong: correct the request, if that may be it; some reverse proxies refuse a certificate so: check `hsm-mtls cert show`, then ask the hub's operator"
            }
            StatusCode::UNAUTHORIZED => {
                "whoever answers wants to be told who calls beyond the certificate: JWT Auth may be switched on for this client, or a gateway in between wants credentials; ask the hub's operator"
            }
            StatusCode::FORBIDDEN => {
                "whoever answers forbids it: ask the hub's operator whether this client is enabled for this service; a firewall in between that looks into requests may say so too"
            }
            StatusCode::NOT_FOUND => {
                "nothing is there: check the path, that the service is the right one, and [hub]"
            }
            StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
                "a forward proxy answers, not the hub: name it in `proxy` of [network], or let this machine reach the hub directly"
            }
            StatusCode::TOO_MANY_REQUESTS => {
                "the hub asks for fewer calls: wait as long as its Retry-After header says"
            }
            status if status.is_redirection() => {
                "something that sends browsers elsewhere answers: /hello-mtls redirects nobody, so look for a portal or gateway in between"
            }
            StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => {
                "a gateway answers because what is behind it does not: try again later, then ask the hub's operator"
            }
            status if status.is_server_error() => {
                "the hub failed: ask its operator with the time and the interaction id of this call"
            }
            _ => "ask the hub's operator with the time and the interaction id of this call",
        };
        let detail = match self.headers.get(LOCATION).and_then(|to| to.to_str().ok()) {
            Some(to) => format!("to {to}"),
            None => excerpt(&text),
        };
        // nginx's title begins with the status.
        let detail = detail.trim_start_matches(status.as_str()).trim();
        Some(ErrorResponse {
            detail: format!("{} {detail}", status.as_str())
                .trim_end()
                .to_owned(),
            hint,
        })
    }
}

/// Whether a body is the JSON of an error of an API, `{errorCode, errorMessage}`, or of an authorisation server, `{error,
/// error_description}`.
fn is_service_error(body: &[u8]) -> bool {
    let Ok(Value::Object(fields)) = serde_json::from_slice(body) else {
        return false;
    };
    fields.contains_key("errorCode") || fields.contains_key("error")
}

pub(super) fn excerpt(text: &str) -> String {
    // An HTML page's title is its summary.
    let lower = text.to_ascii_lowercase();
    let title = lower
        .find("<title>")
        .zip(lower.find("</title>"))
        .and_then(|(from, to)| text.get(from + "<title>".len()..to));
    let plain = title.unwrap_or(text);
    plain
        .chars()
        .filter(|c| !c.is_control())
        .take(MAX_EXCERPT)
        .collect()
}
