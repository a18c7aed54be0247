//! The ledger's background thread: calls fsync at an interval, queues the head of the chain for export, and closes a file
//! that another process has rotated away.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::file_ledger::ChainWriter;
use super::head_export::HeadExporter;
use super::lock;
use crate::config::ledger::{Fsync, LedgerConfig};
use crate::poison::IgnorePoison as _;

/// How often to check whether another process has rotated.
const CATCH_UP_INTERVAL: Duration = Duration::from_secs(10);

/// How long this thread waits for the appender's mutex: longer than a thread that signs, since no request waits for this
/// thread.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the last fsync may delay the end of the process.
const LAST_SYNC_TIMEOUT: Duration = Duration::from_secs(10);

/// The handle of the thread. Dropping it calls fsync once more and ends the thread.
#[derive(Debug)]
pub(super) struct SyncThread {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    // Dropped after the thread has ended: the thread queues the last head.
    _exporter: Option<Arc<HeadExporter>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<SyncState>,
    changed: Condvar,
}

/// The state that the thread shares with its handle.
#[derive(Debug, Default)]
struct SyncState {
    /// Since when there are records without an fsync after them.
    unsynced_since: Option<Instant>,
    stop: bool,
}

/// The thread's own state.
struct SyncTask {
    writer: Weak<ChainWriter>,
    /// `None`: fsync is called for each record when it is written, and not by this thread.
    fsync_interval: Option<Duration>,
    exporter: Option<Arc<HeadExporter>>,
    export_interval: Duration,
    next_export: Instant,
    /// The sequence number of the active file's first record at the last check; 0 before the first check.
    first_sequence: u64,
    last_catch_up: Instant,
}

impl SyncThread {
    /// Starts the thread, and the one that exports heads if that is configured.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub(super) fn start(config: &LedgerConfig, writer: &Arc<ChainWriter>) -> io::Result<Self> {
        let ledger = writer.path().to_string_lossy();
        let target = config.head.clone();
        let exporter =
            target.map(|target| HeadExporter::start(target, ledger.into_owned()).map(Arc::new));
        let exporter = exporter.transpose()?;
        let shared = Arc::new(Shared::default());
        let mut task = SyncTask {
            writer: Arc::downgrade(writer),
            fsync_interval: (config.fsync == Fsync::Interval).then_some(config.fsync_interval),
            exporter: exporter.clone(),
            export_interval: config.head_interval,
            next_export: Instant::now() + config.head_interval,
            first_sequence: 0,
            last_catch_up: Instant::now(),
        };
        let thread_shared = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("hsm-ledger".to_owned())
            .spawn(move || task.run(&thread_shared))?;
        Ok(Self {
            shared,
            thread: Some(thread),
            _exporter: exporter,
        })
    }

    /// Tells the thread that a record was appended.
    pub(super) fn notify(&self) {
        let mut state = self.shared.lock();
        if state.unsynced_since.is_none() {
            state.unsynced_since = Some(Instant::now());
            drop(state);
            self.shared.changed.notify_one();
        }
    }
}

impl Drop for SyncThread {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take()
            && !lock::join_timeout(thread, LAST_SYNC_TIMEOUT)
        {
            tracing::error!("the disk does not take the ledger's last records");
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, SyncState> {
        self.state.lock().ignore_poison()
    }
}

impl SyncTask {
    fn run(&mut self, shared: &Shared) {
        let mut state = shared.lock();
        loop {
            let now = Instant::now();
            let sync = state
                .unsynced_since
                .map(|since| since + self.fsync_interval.unwrap_or(CATCH_UP_INTERVAL));
            let export = self.exporter.as_ref().map(|_| self.next_export);
            let due = [sync, Some(self.last_catch_up + CATCH_UP_INTERVAL), export];
            let next = due.into_iter().flatten().min();
            let next = next.unwrap_or(now + CATCH_UP_INTERVAL);
            if now < next && !state.stop {
                let waited = shared.changed.wait_timeout(state, next - now);
                (state, _) = waited.ignore_poison();
                continue;
            }
            let stop = state.stop;
            let due = stop || sync.is_some_and(|sync| sync <= now);
            let unsynced_since = if due {
                state.unsynced_since.take()
            } else {
                None
            };
            drop(state);
            let done = self.sync_and_export(unsynced_since.is_some(), stop);
            if stop {
                return;
            }
            state = shared.lock();
            // The appender was locked: the fsync is still due.
            if !done && let Some(since) = unsynced_since {
                state.unsynced_since = Some(since);
            }
        }
    }

    /// Catches up, syncs and exports, each if it is due. `false`: the appender was locked until the timeout.
    fn sync_and_export(&mut self, unsynced: bool, stop: bool) -> bool {
        let Some(writer) = self.writer.upgrade() else {
            return true;
        };
        if self.last_catch_up.elapsed() >= CATCH_UP_INTERVAL {
            self.last_catch_up = Instant::now();
            if let Err(error) = writer.catch_up() {
                tracing::error!(%error, "the ledger cannot be followed");
            }
        }
        let Ok(appender) = writer.snapshot(Instant::now() + LOCK_TIMEOUT) else {
            return false;
        };
        let first_sequence = appender.first_sequence();
        let rotated = self.first_sequence != 0 && self.first_sequence != first_sequence;
        self.first_sequence = first_sequence;
        let export_due = rotated || stop || Instant::now() >= self.next_export;
        let exporter = self
            .exporter
            .as_ref()
            .filter(|exporter| export_due && !exporter.has_exported(appender.head()));
        // fsync is called on the snapshot, so no signature waits for the disk. A head is exported only after its record is
        // on the disk: otherwise the chain would look truncated after a power cut.
        let synced = match (unsynced && self.fsync_interval.is_some()) || exporter.is_some() {
            true => writer.sync(&appender),
            false => writer.check_synced(),
        };
        if let (Some(exporter), Ok(())) = (exporter, synced) {
            exporter.export(appender.head());
        }
        if export_due {
            self.next_export = Instant::now() + self.export_interval;
        }
        true
    }
}
