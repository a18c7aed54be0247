//! What hyper's HTTP/2 reports, in the terms of RFC 9113: a code of the server's, or one of ours.
//!
//! h2 gives a stream that is above the last one of a GOAWAY the GOAWAY itself as its error, and those below it go on.
//! So an error of that kind says that the request was not processed.

use std::error::Error as _;
use std::io;

use hsm_mtls::internal::client::http2_error::{EndedBy, Http2Ending, Scope};

/// How the stream or connection was ended, where that is what failed.
pub(super) fn ending(error: &hyper::Error) -> Option<Http2Ending> {
    let error: &h2::Error = error.source()?.downcast_ref()?;
    let scope = match (error.is_reset(), error.is_go_away()) {
        (true, _) => Scope::Stream,
        (_, true) => Scope::Connection,
        _ => return None,
    };
    let by = match error.is_remote() {
        true => EndedBy::Server,
        false => EndedBy::Us,
    };
    let code = error.reason()?.into();
    Some(Http2Ending { by, scope, code })
}

/// The end of the connection under it: h2 keeps it in a shape of its own.
pub(super) fn io_kind(error: &hyper::Error) -> Option<io::ErrorKind> {
    let error: &h2::Error = error.source()?.downcast_ref()?;
    error.get_io().map(io::Error::kind)
}
