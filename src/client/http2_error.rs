//! RST_STREAM and GOAWAY of HTTP/2: who ended a stream or a connection, and with which error code (RFC 9113, section 7). No
//! message is about the client certificate.

use std::fmt;

/// How an HTTP/2 stream or connection was ended before a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Http2Ending {
    /// Who ended it.
    pub by: EndedBy,
    /// What was ended.
    pub scope: Scope,
    /// The error code of RFC 9113, section 7.
    pub code: u32,
}

/// The side that ended it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndedBy {
    /// The server, by RST_STREAM or GOAWAY.
    Server,
    /// This client, because of invalid frames of the server.
    Us,
}

/// What was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The request's own stream, by RST_STREAM.
    Stream,
    /// The connection, by GOAWAY.
    Connection,
}

/// GOAWAY without an error: a graceful shutdown of the connection.
pub const NO_ERROR: u32 = 0x0;
/// RST_STREAM of a request that was not processed (RFC 9113, section 8.7).
const REFUSED_STREAM: u32 = 0x7;
/// RST_STREAM or GOAWAY of a server that gets too many requests.
const ENHANCE_YOUR_CALM: u32 = 0xb;
/// RST_STREAM of a server that requires HTTP/1.1.
pub const HTTP_1_1_REQUIRED: u32 = 0xd;

const NAMES: [&str; 14] = [
    "NO_ERROR",
    "PROTOCOL_ERROR",
    "INTERNAL_ERROR",
    "FLOW_CONTROL_ERROR",
    "SETTINGS_TIMEOUT",
    "STREAM_CLOSED",
    "FRAME_SIZE_ERROR",
    "REFUSED_STREAM",
    "CANCEL",
    "COMPRESSION_ERROR",
    "CONNECT_ERROR",
    "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY",
    "HTTP_1_1_REQUIRED",
];

impl Http2Ending {
    /// Whether the server has certainly not processed the request: it refused the stream, the stream is above the last one
    /// of its GOAWAY (RFC 9113, sections 6.8 and 8.7), or it requires HTTP/1.1. Such a request may be retried, whatever its
    /// method.
    pub fn is_unprocessed(&self) -> bool {
        let refused = [REFUSED_STREAM, HTTP_1_1_REQUIRED].contains(&self.code);
        self.by == EndedBy::Server && (self.scope == Scope::Connection || refused)
    }

    /// Whether the server requires HTTP/1.1.
    pub fn requires_http1(&self) -> bool {
        self.by == EndedBy::Server && self.code == HTTP_1_1_REQUIRED
    }

    fn name(&self) -> String {
        let name = NAMES.get(self.code as usize);
        name.map_or_else(
            || format!("code {:#x}", self.code),
            |name| (*name).to_owned(),
        )
    }

    /// What to do next.
    pub fn hint(&self) -> &'static str {
        match (self.by, self.code) {
            (EndedBy::Us, _) => {
                "the hub, or a gateway before it, sends HTTP/2 that is not as it should be: ask its operator with the time of this call; `h2 = false` of [proxy] does without HTTP/2"
            }
            (_, NO_ERROR) => {
                "the hub ends its connections, as servers do that are restarted: try again"
            }
            (_, REFUSED_STREAM | ENHANCE_YOUR_CALM) => {
                "the hub takes no more at once: try again, and call less at once"
            }
            (_, 0xc) => {
                "the hub finds the TLS parameters too weak for HTTP/2: ask its operator what it wants; `h2 = false` of [proxy] does without HTTP/2"
            }
            (_, HTTP_1_1_REQUIRED) => "set `h2 = false` in [proxy]: the hub wants HTTP/1.1",
            (_, 0x1 | 0x3 | 0x6 | 0x9) => {
                "the hub, or a gateway before it, finds our HTTP/2 wrong: report it with the time of this call; `h2 = false` of [proxy] does without HTTP/2"
            }
            _ => {
                "the hub, or a gateway before it, gave this request up: ask its operator with the time and the interaction id of this call"
            }
        }
    }
}

impl fmt::Display for Http2Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name();
        match (self.by, self.scope) {
            (EndedBy::Server, Scope::Stream) => {
                write!(
                    f,
                    "the server ended the request with {name} (RST_STREAM of HTTP/2)"
                )
            }
            (EndedBy::Server, Scope::Connection) => write!(
                f,
                "the server ended the connection with {name} (GOAWAY of HTTP/2) before it looked at the request"
            ),
            (EndedBy::Us, Scope::Stream) => write!(
                f,
                "the answer is no valid HTTP/2, or its head is longer than is taken, so we ended the request with {name}"
            ),
            (EndedBy::Us, Scope::Connection) => write!(
                f,
                "what the server sent is no valid HTTP/2, so we ended the connection with {name}"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Only requests that RFC 9113 defines as unprocessed may be retried.
    #[test]
    fn unprocessed_requests_are_distinguished_from_others() {
        for code in 0..=14 {
            for (by, scope) in [
                (EndedBy::Server, Scope::Stream),
                (EndedBy::Server, Scope::Connection),
                (EndedBy::Us, Scope::Stream),
                (EndedBy::Us, Scope::Connection),
            ] {
                let ending = Http2Ending { by, scope, code };
                let expected = match (by, scope) {
                    (EndedBy::Server, Scope::Connection) => true,
                    (EndedBy::Server, Scope::Stream) => code == 0x7 || code == 0xd,
                    _ => false,
                };
                assert_eq!(ending.is_unprocessed(), expected, "{ending}");
                for word in ["certificate", "refused us"] {
                    assert!(!ending.to_string().contains(word), "{ending}");
                    assert!(!ending.hint().contains(word), "{ending}");
                }
            }
        }
    }

    #[test]
    fn an_unknown_error_code_is_shown_as_a_number() {
        let ending = Http2Ending {
            by: EndedBy::Server,
            scope: Scope::Stream,
            code: 0x1f,
        };
        assert!(ending.to_string().contains("code 0x1f"), "{ending}");
    }
}
