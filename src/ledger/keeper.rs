//! What is done beside the way of a signature: records are synced to the disk, the end of the chain
//! is told to others, and a file that another process has closed is let go of.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::export::Export;
use super::file::ChainFile;
use crate::config::ledger::{Fsync, LedgerConfig};

/// How often it is looked after a file that another process may have closed.
const LOOK: Duration = Duration::from_secs(10);

/// How long it waits for its turn: nobody waits for it.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Keeper {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Since when there are records that were not synced.
    dirty: Option<Instant>,
    stop: bool,
}

/// What it works with, on its thread.
struct Work {
    chain: Weak<ChainFile>,
    fsync: Option<Duration>,
    export: Export,
    /// The first record of the file that is written to, as last seen.
    first: u64,
    looked: Instant,
}

impl Keeper {
    pub(super) fn start(config: &LedgerConfig, chain: &Arc<ChainFile>) -> Self {
        let shared = Arc::new(Shared::default());
        let mut work = Work {
            chain: Arc::downgrade(chain),
            fsync: (config.fsync == Fsync::Interval).then_some(config.fsync_interval),
            export: Export::new(config),
            first: 0,
            looked: Instant::now(),
        };
        let seen = Arc::clone(&shared);
        let started = thread::Builder::new()
            .name("hsm-ledger".to_owned())
            .spawn(move || work.go_on(&seen));
        if let Err(error) = &started {
            tracing::error!(%error, "no thread syncs the ledger to the disk");
        }
        Self {
            shared,
            thread: started.ok(),
        }
    }

    /// There is a new record.
    pub(super) fn told(&self) {
        let mut state = self.shared.lock();
        if state.dirty.is_none() {
            state.dirty = Some(Instant::now());
            drop(state);
            self.shared.changed.notify_one();
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            // A panic there has been told of.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Two values that are each whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Work {
    fn go_on(&mut self, shared: &Shared) {
        let mut state = shared.lock();
        loop {
            let now = Instant::now();
            let sync = state.dirty.map(|since| since + self.fsync.unwrap_or(LOOK));
            let due = [sync, Some(self.looked + LOOK), self.export.due()];
            let next = due.into_iter().flatten().min().unwrap_or(now + LOOK);
            if now < next && !state.stop {
                let waited = shared.changed.wait_timeout(state, next - now);
                (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let stop = state.stop;
            let dirty = state.dirty.is_some() && (stop || sync.is_some_and(|sync| sync <= now));
            if dirty {
                state.dirty = None;
            }
            drop(state);
            self.tidy(dirty, stop);
            if stop {
                return;
            }
            state = shared.lock();
        }
    }

    fn tidy(&mut self, dirty: bool, stop: bool) {
        let Some(chain) = self.chain.upgrade() else {
            return;
        };
        if self.looked.elapsed() >= LOOK {
            self.looked = Instant::now();
            if let Err(error) = chain.follow_others() {
                tracing::error!(%error, "the ledger cannot be followed");
            }
        }
        let Ok(state) = chain
            .turn(Instant::now() + PATIENCE)
            .map(|state| state.clone())
        else {
            return;
        };
        let rotated = self.first != 0 && self.first != state.first;
        self.first = state.first;
        // Nobody waits for the disk meanwhile.
        if dirty
            && self.fsync.is_some()
            && let Err(error) = state.file.sync_data()
        {
            tracing::error!(ledger = %chain.path().display(), %error, "the ledger cannot be synced to the disk");
        }
        let ledger = chain.path().to_string_lossy();
        self.export.tell(&ledger, &state.head, rotated || stop);
    }
}
