//! SIGINT (Ctrl-C) as a request to stop early, for a command whose partial result is of use.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::token_process;
use rustix::process::{Signal, getpid, kill_process};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

/// Listens for SIGINT: the first one requests a stop, the second one kills the process.
pub(super) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Listens from now on; the first SIGINT sets `stop`.
    pub(super) fn listen(stop: &Arc<AtomicBool>) -> Self {
        token_process::interrupts_are_handled();
        let received = Arc::new(AtomicBool::new(false));
        let (first, stop) = (Arc::clone(&received), Arc::clone(stop));
        let listen = move || {
            let Ok(runtime) = Builder::new_current_thread().enable_io().build() else {
                return;
            };
            runtime.block_on(async {
                // The parent passes SIGINT on as SIGTERM.
                let Ok(mut interrupt) = signal(SignalKind::terminate()) else {
                    return;
                };
                interrupt.recv().await;
                first.store(true, Ordering::Relaxed);
                stop.store(true, Ordering::Relaxed);
                interrupt.recv().await;
                // A PKCS#11 call may hang: calls in progress are not waited for.
                let _ = kill_process(getpid(), Signal::KILL);
            });
        };
        // Without the thread SIGINT keeps its default action: it ends the process.
        let _ = thread::Builder::new()
            .name("hsm-interrupt".to_owned())
            .spawn(listen);
        Self(received)
    }

    /// Whether SIGINT was received.
    pub(super) fn is_received(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
