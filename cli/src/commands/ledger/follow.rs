//! `ledger show --follow`: waits between two polls of the ledger. The wait ends at once where the reader of standard output
//! closes the pipe: the next record may not come for a long time.

use std::fs::File;
use std::io::stdout;
use std::os::fd::AsFd;
use std::thread;
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::unix::pipe::Sender;
use tokio::runtime::{Builder, Runtime};

/// The interval at which the ledger is polled for new records.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Waits for the next poll, and watches standard output where that is a pipe.
pub(super) struct PollTimer(Option<(Sender, Runtime)>);

impl PollTimer {
    pub(super) fn new() -> Self {
        let pipe = || {
            let runtime = Builder::new_current_thread().enable_all().build().ok()?;
            let _entered = runtime.enter();
            let out = File::from(stdout().as_fd().try_clone_to_owned().ok()?);
            // Unchecked: the pipe need not be non-blocking, since nothing is written through this descriptor.
            let out = Sender::from_file_unchecked(out).ok()?;
            Some((out, runtime))
        };
        Self(pipe())
    }

    /// Waits for the next poll. Returns true where the reader of the pipe has closed it.
    pub(super) fn wait_or_closed(&self) -> bool {
        let Some((out, runtime)) = &self.0 else {
            thread::park_timeout(POLL_INTERVAL);
            return false;
        };
        let closed = out.ready(Interest::ERROR);
        runtime.block_on(async { tokio::time::timeout(POLL_INTERVAL, closed).await.is_ok() })
    }
}
