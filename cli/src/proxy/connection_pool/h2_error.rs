//! Converts the errors of the crate h2 into an [`Http2Ending`]: RST_STREAM or GOAWAY, its error code, and who sent it.
//!
//! After a GOAWAY, h2 gives that error only to streams above the last one that the server processes; the others
//! continue. So an error with a GOAWAY means that the request was not processed.

use std::error::Error as _;
use std::io;

use hsm_mtls::internal::client::http2_error::{EndedBy, Http2Ending, Scope};

/// How the stream or the connection was ended. None: the error has another cause.
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

/// The I/O error of the underlying connection, which h2 does not report as a source.
pub(super) fn io_kind(error: &hyper::Error) -> Option<io::ErrorKind> {
    let error: &h2::Error = error.source()?.downcast_ref()?;
    error.get_io().map(io::Error::kind)
}
