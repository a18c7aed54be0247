//! SIGINT (Ctrl-C) as a wish to come to an end: for work whose first half is worth something.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::process::{Signal, getpid, kill_process};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

/// From its making on, the first SIGINT is noted; the second ends the program as any other's would.
pub(super) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Sets `stop` too when it comes.
    pub(super) fn sets(stop: &Arc<AtomicBool>) -> Self {
        let came = Arc::new(AtomicBool::new(false));
        let (noted, stop) = (Arc::clone(&came), Arc::clone(stop));
        let listen = move || {
            let Ok(runtime) = Builder::new_current_thread().enable_io().build() else {
                return;
            };
            runtime.block_on(async {
                let Ok(mut interrupt) = signal(SignalKind::interrupt()) else {
                    return;
                };
                interrupt.recv().await;
                noted.store(true, Ordering::Relaxed);
                stop.store(true, Ordering::Relaxed);
                interrupt.recv().await;
                // A call of the module may hang: what is under way is not waited for.
                let _ = kill_process(getpid(), Signal::KILL);
            });
        };
        // Without a thread it is as it was: SIGINT ends the program.
        let _ = thread::Builder::new()
            .name("hsm-interrupt".to_owned())
            .spawn(listen);
        Self(came)
    }

    /// Whether it came.
    pub(super) fn came(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
