//! Signals that a process of the proxy leaves to its supervisor: one to the whole process group or to all processes of the
//! name must not end it before the last response.

/// Ignores SIGTERM, SIGINT and SIGHUP while the result is held. By empty handlers: unlike SIG_IGN, child processes do not
/// inherit them.
#[cfg(feature = "front-end")]
pub(super) fn ignore_signals() -> std::io::Result<impl Sized> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let held = {
        let _entered = runtime.enter();
        [
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
            signal(SignalKind::hangup())?,
        ]
    };
    Ok((runtime, held))
}

/// Without a proxy, the signals have the effect that the application gives them.
#[cfg(not(feature = "front-end"))]
pub(super) fn ignore_signals() {}
