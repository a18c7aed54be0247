//! `hsm-mtls proxy` as an HTTP gateway (RFC 9110, 9112, 9113): requests in, responses out.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

#[path = "../common/mod.rs"]
mod common;

mod early_responses;
mod forwarding;
mod framing;
mod goaway;
mod http2;
mod lingering_close;
mod request_smuggling;
mod requests;
mod responses;
mod slow_clients;
mod stream_limit;
mod strict_framing;
