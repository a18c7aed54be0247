//! Examples of the errors of the HTTP client.

use std::time::Duration;

use super::*;
use crate::client::forward_proxy::{ForwardProxyError, ForwardProxyFailure, Refusal};
use crate::client::http2_error::{EndedBy, Http2Ending, Scope};
use crate::client::jwks_fetch::Content;
use crate::tls::Ending;

pub(super) fn in_the_way(failure: ForwardProxyFailure) -> ForwardProxyError {
    ForwardProxyError {
        proxy: text("http://proxy:3128"),
        target: text("cm:443"),
        failure,
    }
}

pub(super) fn client() -> Vec<Example> {
    let deadline = |stage| ClientError::Deadline {
        stage,
        host: text("cm"),
        after: Duration::from_secs(10),
    };
    let through = |failure| ClientError::ForwardProxy(Box::new(in_the_way(failure)));
    let refused = |status, said: &str, schemes: &[&str], credentials: Option<&str>| {
        through(ForwardProxyFailure::Refused(Box::new(Refusal {
            status,
            said: text(said),
            schemes: schemes.iter().map(ToString::to_string).collect(),
            credentials: credentials.map(text),
        })))
    };
    let ended = |by, scope, code| ClientError::Http2(Http2Ending { by, scope, code });
    every_variant!(ClientError {
        Identity: [IdentityError::from(TokenError::Empty).into()],
        NotConfigured: [ClientError::NotConfigured {
            origin: text("https://other"),
            configured: vec![text("https://cm")]
        }],
        Request: [ClientError::Request(text("cm is not a URL"))],
        Resolve: [ClientError::Resolve {
            host: text("cm"),
            why: text("no such name")
        }],
        Connect: [ClientError::Connect {
            host: text("cm"),
            why: text("192.0.2.1:443: refused")
        }],
        ConnectDeadline: [ClientError::ConnectDeadline {
            host: text("cm"),
            after: Duration::from_secs(10),
            why: text("192.0.2.1:443: no answer; 192.0.2.2:443: refused")
        }],
        Deadline: [
            deadline(Stage::Resolve),
            deadline(Stage::Handshake),
            deadline(Stage::Response)
        ],
        ForwardProxy: [
            through(ForwardProxyFailure::Unresolved(text("no such name"))),
            through(ForwardProxyFailure::Unreachable(text(
                "192.0.2.1:3128: refused"
            ))),
            through(ForwardProxyFailure::ConnectDeadline {
                after: Duration::from_secs(10),
                why: text("192.0.2.1:3128: no answer")
            }),
            through(ForwardProxyFailure::Tls(Box::new(TlsError::NotTls))),
            through(ForwardProxyFailure::Deadline(Duration::from_secs(10))),
            through(ForwardProxyFailure::Ended(Ending::Reset)),
            through(ForwardProxyFailure::NotHttp(text("no version"))),
            through(ForwardProxyFailure::SpokeFirst(12)),
            refused(407, "", &["Basic"], None),
            refused(407, "", &["Basic"], Some("file /etc/fp")),
            refused(401, "401 Unauthorized", &[], Some("file /etc/fp")),
            refused(407, "", &["Negotiate", "NTLM"], None),
            refused(403, "403 Filtered", &[], None),
            refused(503, "ERR_DNS_FAIL 0, via 1.1 squid", &[], None),
            refused(504, "", &[], None),
            refused(429, "", &[], None),
            refused(302, "moved", &[], None),
            through(ForwardProxyFailure::HeldBack(Duration::from_secs(5))),
            through(ForwardProxyFailure::Credentials {
                source: text("file /etc/fp"),
                why: text("it is empty"),
                advice: text("write `user:password` into it")
            }),
        ],
        InTunnel: [ClientError::InTunnel {
            proxy: text("http://proxy:3128"),
            error: Box::new(deadline(Stage::Handshake))
        }],
        Tls: [ClientError::Tls(TlsError::NotAsked)],
        NoAnswer: [
            ClientError::NoAnswer(Ending::Orderly),
            ClientError::NoAnswer(Ending::Abrupt),
            ClientError::NoAnswer(Ending::Reset)
        ],
        ConnectionLost: [ClientError::ConnectionLost(Ending::Orderly)],
        Http2: [
            ended(EndedBy::Server, Scope::Connection, 0x0),
            ended(EndedBy::Server, Scope::Connection, 0xb),
            ended(EndedBy::Server, Scope::Stream, 0x1),
            ended(EndedBy::Server, Scope::Stream, 0x2),
            ended(EndedBy::Server, Scope::Stream, 0x7),
            ended(EndedBy::Server, Scope::Connection, 0xc),
            ended(EndedBy::Server, Scope::Stream, 0xd),
            ended(EndedBy::Us, Scope::Stream, 0x1),
            ended(EndedBy::Us, Scope::Connection, 0x1),
        ],
        NoPing: [ClientError::NoPing],
        HalfAnswer: [ClientError::HalfAnswer(Ending::Abrupt)],
        Body: [ClientError::Body(text("invalid chunk size"))],
        Http: [ClientError::Http(text("invalid HTTP version parsed"))],
        Malformed: [ClientError::Malformed(text("invalid HTTP header parsed"))],
        HeadTooLong: [ClientError::HeadTooLong],
        TooLong: [ClientError::TooLong(64 << 20)],
        Setup: [ClientError::Setup(text("no resolver"))],
    })
}

pub(super) fn jwks_fetch() -> Vec<Example> {
    let host = || text("keystore");
    let after = Duration::from_secs(10);
    let deadline = |stage| FetchError::Deadline {
        stage,
        host: host(),
        after,
    };
    let tls = |error| FetchError::Tls {
        host: host(),
        error: Box::new(error),
    };
    every_variant!(FetchError {
        Url: [FetchError::Url],
        Resolve: [FetchError::Resolve {
            host: host(),
            why: text("no such name")
        }],
        ForwardProxy: [FetchError::ForwardProxy {
            host: host(),
            error: Box::new(in_the_way(ForwardProxyFailure::Unreachable(text(
                "192.0.2.1:3128: refused"
            ))))
        }],
        Connect: [FetchError::Connect {
            host: host(),
            why: text("192.0.2.1:443: refused")
        }],
        ConnectDeadline: [FetchError::ConnectDeadline {
            host: host(),
            after,
            why: text("192.0.2.1:443: no answer")
        }],
        Deadline: [
            deadline(Stage::Resolve),
            deadline(Stage::Handshake),
            deadline(Stage::Response)
        ],
        Tls: [
            tls(TlsError::ServerUntrusted),
            tls(TlsError::NoPublicRoots(Vec::new()))
        ],
        Http: [FetchError::Http {
            host: host(),
            why: text("the server closed the connection without an answer")
        }],
        Redirect: [FetchError::Redirect {
            status: 302,
            location: text("https://portal/login")
        }],
        Status: [FetchError::Status(404), FetchError::Status(503)],
        Content: [
            FetchError::Content(Content::Empty),
            FetchError::Content(Content::TooLong),
            FetchError::Content(Content::Html),
            FetchError::Content(Content::Other {
                content_type: text("text/plain")
            }),
        ],
    })
}
