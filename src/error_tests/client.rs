//! Examples of the errors of the HTTP client.

use std::time::Duration;

use super::*;
use crate::client::http2_error::{EndedBy, Http2Ending, Scope};
use crate::client::jwks_fetch::Content;
use crate::tls::Ending;

pub(super) fn client() -> Vec<Example> {
    let deadline = |stage| ClientError::Deadline {
        stage,
        host: text("cm"),
        after: Duration::from_secs(10),
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
