//! What is done beside the way of a signature: records are synced to the disk, the end of the chain
//! is handed to whoever tells others of it, and a file that another process has closed is let go of.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::export::Export;
use super::file::ChainFile;
use super::turn;
use crate::config::ledger::{Fsync, LedgerConfig};
use crate::poison::IgnorePoison as _;

/// How often it is looked after a file that another process may have closed.
const LOOK: Duration = Duration::from_secs(10);

/// How long it waits for its turn: nobody waits for it.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long the end of the process waits for a disk that takes its time.
const LAST_SYNC: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Keeper {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    // Its last head comes from the thread.
    _export: Option<Arc<Export>>,
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
    /// Where nobody is told of heads: none.
    export: Option<Arc<Export>>,
    /// How often a head is told.
    interval: Duration,
    /// When the next is.
    next: Instant,
    /// The first record of the file that is written to, as last seen.
    first: u64,
    looked: Instant,
}

impl Keeper {
    /// Starts the thread, and the one that tells heads.
    ///
    /// # Errors
    /// There are none to be had.
    pub(super) fn start(config: &LedgerConfig, chain: &Arc<ChainFile>) -> io::Result<Self> {
        let ledger = chain.path().to_string_lossy();
        let to = config.head.clone();
        let export = to.map(|to| Export::start(to, ledger.into_owned()).map(Arc::new));
        let export = export.transpose()?;
        let shared = Arc::new(Shared::default());
        let mut work = Work {
            chain: Arc::downgrade(chain),
            fsync: (config.fsync == Fsync::Interval).then_some(config.fsync_interval),
            export: export.clone(),
            interval: config.head_interval,
            next: Instant::now() + config.head_interval,
            first: 0,
            looked: Instant::now(),
        };
        let seen = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("hsm-ledger".to_owned())
            .spawn(move || work.go_on(&seen))?;
        Ok(Self {
            shared,
            thread: Some(thread),
            _export: export,
        })
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
        if let Some(thread) = self.thread.take()
            && !turn::ended(thread, LAST_SYNC)
        {
            tracing::error!("the disk does not take the ledger's last records");
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Two values that are each whole.
        self.state.lock().ignore_poison()
    }
}

impl Work {
    fn go_on(&mut self, shared: &Shared) {
        let mut state = shared.lock();
        loop {
            let now = Instant::now();
            let sync = state.dirty.map(|since| since + self.fsync.unwrap_or(LOOK));
            let tell = self.export.as_ref().map(|_| self.next);
            let due = [sync, Some(self.looked + LOOK), tell];
            let next = due.into_iter().flatten().min().unwrap_or(now + LOOK);
            if now < next && !state.stop {
                let waited = shared.changed.wait_timeout(state, next - now);
                (state, _) = waited.ignore_poison();
                continue;
            }
            let stop = state.stop;
            let due = stop || sync.is_some_and(|sync| sync <= now);
            let dirty = if due { state.dirty.take() } else { None };
            drop(state);
            let done = self.tidy(dirty.is_some(), stop);
            if stop {
                return;
            }
            state = shared.lock();
            // What was not synced is to be.
            if !done && let Some(since) = dirty {
                state.dirty = Some(since);
            }
        }
    }

    /// Says whether it had its turn.
    fn tidy(&mut self, dirty: bool, stop: bool) -> bool {
        let Some(chain) = self.chain.upgrade() else {
            return true;
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
            return false;
        };
        let rotated = self.first != 0 && self.first != state.first;
        self.first = state.first;
        let due = rotated || stop || Instant::now() >= self.next;
        let news = self
            .export
            .as_ref()
            .filter(|export| due && !export.knows(&state.head));
        // Nobody waits for the disk meanwhile. A head that others are told of has to be there after
        // a power cut: without it the chain would seem to be cut off.
        let synced = match (dirty && self.fsync.is_some()) || news.is_some() {
            true => chain.synced(state.file.sync_data()),
            false => chain.durable(),
        };
        if let (Some(export), Ok(())) = (news, synced) {
            export.tell(&state.head);
        }
        if due {
            self.next = Instant::now() + self.interval;
        }
        true
    }
}
