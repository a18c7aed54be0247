//! Between two looks at a ledger, for `ledger show --follow`: it ends when whoever reads has gone,
//! and not with the next record, which may be long in coming.

use std::fs::File;
use std::io::stdout;
use std::os::fd::AsFd;
use std::thread;
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::unix::pipe::Sender;
use tokio::runtime::{Builder, Runtime};

/// How often it is looked for new records.
const LOOK: Duration = Duration::from_millis(200);

pub(super) struct Pause(Option<(Sender, Runtime)>);

impl Pause {
    /// A pipe tells that its reader has gone; a file has none.
    pub(super) fn new() -> Self {
        let watched = || {
            let runtime = Builder::new_current_thread().enable_all().build().ok()?;
            let _entered = runtime.enter();
            let out = File::from(stdout().as_fd().try_clone_to_owned().ok()?);
            // Nothing is written through it: so it need not be a pipe that never blocks.
            let out = Sender::from_file_unchecked(out).ok()?;
            Some((out, runtime))
        };
        let watched = watched();
        Self(watched)
    }

    /// Waits for the next look. Says whether the reader has gone meanwhile.
    pub(super) fn until_gone(&self) -> bool {
        let Some((out, runtime)) = &self.0 else {
            thread::park_timeout(LOOK);
            return false;
        };
        let gone = out.ready(Interest::ERROR);
        runtime.block_on(async { tokio::time::timeout(LOOK, gone).await.is_ok() })
    }
}
