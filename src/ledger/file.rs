//! The ledger as a file that several processes append to: one chain, whoever writes.
//!
//! A lock is held for each record, with a bounded wait. Whoever has it first reads what others have
//! written since and follows their chain, so that a record never carries on from anything but the
//! last. A line that a crash tore stays; its hash becomes a record of its own.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use serde::Serialize;
use uuid::Uuid;

use super::chain::{self, Begin, Broken, Head, LONGEST_LINE};
use super::keeper::Keeper;
use super::place;
use super::rotation::{self, Next};
use super::turn::{Locked, Taken, Turn};
use super::{Entry, Ledger, LedgerError};
use crate::config::ledger::{Fsync, LedgerConfig};

/// How long another's record is waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// After a rotation that failed, the next is tried so much later.
const ROTATE_AGAIN: Duration = Duration::from_secs(60);

/// A ledger in a file.
#[derive(Debug)]
pub struct FileLedger {
    // Before the chain: what it does last, it does with it.
    keeper: Keeper,
    chain: Arc<ChainFile>,
}

/// The file and what is known of it.
#[derive(Debug)]
pub(super) struct ChainFile {
    path: PathBuf,
    fsync: Fsync,
    rotate_at: u64,
    // Held beside the lock of the file, which a process has as a whole.
    state: Turn<State>,
    /// What the disk did not take. That it takes the next is no consolation.
    unsynced: OnceLock<io::Error>,
}

#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) file: Arc<File>,
    /// Up to here the chain was followed.
    pub(super) end: u64,
    pub(super) head: Head,
    /// The number of the file's first record.
    pub(super) first: u64,
    /// What the ledger calls itself.
    pub(super) name: String,
    pub(super) rotate_after: Instant,
}

impl FileLedger {
    /// Opens the file, or begins it with its folder. What is in it is not checked but for its end;
    /// `hsm-mtls ledger verify` does that.
    ///
    /// # Errors
    /// It cannot be written, holds something else, or others may change it.
    pub fn open(config: &LedgerConfig) -> Result<Self, LedgerError> {
        let path = place::prepare(&config.file)?;
        let until = Instant::now() + PATIENCE;
        let (file, _locked) = open_locked(&path, until)?;
        let chain = Arc::new(ChainFile {
            state: Turn::new(State {
                file,
                end: 0,
                head: Head::BEGIN,
                first: 1,
                name: Uuid::new_v4().to_string(),
                rotate_after: Instant::now(),
            }),
            fsync: config.fsync,
            rotate_at: config.rotate_at_mib << 20,
            unsynced: OnceLock::new(),
            path,
        });
        let mut state = chain.turn(until)?;
        let length = chain.find_end(&mut state)?;
        chain.catch_up(&mut state, length)?;
        drop(state);
        let keeper = Keeper::start(config, &chain).map_err(|source| LedgerError::NoThread {
            path: chain.path.clone(),
            source,
        })?;
        Ok(Self { keeper, chain })
    }

    /// Where the chain ends, as far as this process has seen.
    ///
    /// # Errors
    /// Other threads hold it.
    pub fn head(&self) -> Result<Head, LedgerError> {
        self.chain
            .turn(Instant::now() + PATIENCE)
            .map(|state| state.head.clone())
    }
}

impl Ledger for FileLedger {
    fn record(&self, entry: &Entry<'_>) -> Result<u64, LedgerError> {
        let number = self.chain.record(entry)?;
        self.keeper.told();
        Ok(number)
    }
}

/// Opens the file that is written to, with its lock: another process may close it, and begin the
/// next, before there is one.
fn open_locked(path: &Path, until: Instant) -> Result<(Arc<File>, Locked), LedgerError> {
    let unwritable = |error| LedgerError::unwritable(path, error);
    loop {
        let file = Arc::new(place::open(path)?);
        match Locked::wait(&file, until).map_err(unwritable)? {
            Some(locked) if rotation::is(&file, path).map_err(unwritable)? => {
                return Ok((file, locked));
            }
            Some(_) if Instant::now() < until => {}
            _ => return Err(in_vain(path)),
        }
    }
}

fn in_vain(path: &Path) -> LedgerError {
    LedgerError::Locked {
        path: path.to_owned(),
        after: PATIENCE,
    }
}

impl ChainFile {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn record(&self, entry: &Entry<'_>) -> Result<u64, LedgerError> {
        self.locked(|chain, state, lock, length| {
            chain.durable()?;
            chain.catch_up(state, length)?;
            if state.end >= chain.rotate_at {
                chain.rotate(state, lock)?;
            }
            chain.append(state, entry, b"")?;
            if chain.fsync == Fsync::Each {
                chain.synced(state.file.sync_data())?;
            }
            Ok(state.head.sequence)
        })
    }

    /// Follows others to a new file, so that an old one may go.
    pub(super) fn follow_others(&self) -> Result<(), LedgerError> {
        self.locked(|chain, state, _, length| chain.catch_up(state, length))
    }

    pub(super) fn turn(&self, until: Instant) -> Result<Taken<'_, State>, LedgerError> {
        self.state.take(until).ok_or_else(|| self.in_vain())
    }

    /// Does something while no other thread and no other process does; it is told how long the file is.
    fn locked<T>(
        &self,
        work: impl FnOnce(&Self, &mut State, &mut Locked, u64) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        let until = Instant::now() + PATIENCE;
        let mut state = self.turn(until)?;
        let locked = Locked::wait(&state.file, until).map_err(|error| self.unwritable(error))?;
        let mut locked = locked.ok_or_else(|| self.in_vain())?;
        let length = self.to_the_last_file(&mut state, &mut locked, until)?;
        work(self, &mut state, &mut locked, length)
    }

    pub(super) fn in_vain(&self) -> LedgerError {
        in_vain(&self.path)
    }

    /// Remembers what the disk did not take.
    pub(super) fn synced(&self, done: io::Result<()>) -> Result<(), LedgerError> {
        if let Err(error) = done {
            tracing::error!(ledger = %self.path.display(), %error, "the ledger cannot be synced to the disk");
            // The first is as good as any.
            let _ = self.unsynced.set(error);
        }
        self.durable()
    }

    /// Whether the disk took all that it was told to take.
    pub(super) fn durable(&self) -> Result<(), LedgerError> {
        let Some(error) = self.unsynced.get() else {
            return Ok(());
        };
        let code = error.raw_os_error();
        Err(LedgerError::Unsynced {
            path: self.path.clone(),
            source: code.map_or_else(|| error.kind().into(), io::Error::from_raw_os_error),
        })
    }

    pub(super) fn unwritable(&self, error: io::Error) -> LedgerError {
        LedgerError::unwritable(&self.path, error)
    }

    pub(super) fn replaced(&self, why: &'static str) -> LedgerError {
        LedgerError::Replaced {
            path: self.path.clone(),
            why,
        }
    }

    pub(super) fn broken(&self, why: Broken) -> LedgerError {
        LedgerError::Broken {
            path: self.path.clone(),
            why,
        }
    }

    /// Carries the chain on.
    pub(super) fn append(
        &self,
        state: &mut State,
        entry: &impl Serialize,
        before: &[u8],
    ) -> Result<(), LedgerError> {
        let (line, head) = chain::line(&state.head, entry)
            .map_err(|error| self.unwritable(io::Error::other(error)))?;
        if line.len() > LONGEST_LINE {
            return Err(LedgerError::TooLong {
                path: self.path.clone(),
                bytes: line.len(),
                most: LONGEST_LINE,
            });
        }
        let whole = [before, &line, b"\n"].concat();
        self.write(state, &whole)?;
        state.end += whole.len() as u64;
        state.head = head;
        Ok(())
    }

    /// What cannot be written whole is taken back: nothing was done on its account.
    pub(super) fn write(&self, state: &State, bytes: &[u8]) -> Result<(), LedgerError> {
        let mut file = &*state.file;
        file.write_all(bytes).map_err(|error| {
            // Where that fails too, it is a torn line, and the next writer's.
            let _ = state.file.set_len(state.end);
            self.unwritable(error)
        })?;
        // It goes to the file's end, wherever that is by then.
        let end = file.stream_position();
        if end.map_err(|error| self.unwritable(error))? == state.end + bytes.len() as u64 {
            Ok(())
        } else {
            Err(self.replaced("something wrote to it that did not wait for its lock"))
        }
    }

    /// Closes the file and begins the next. Where that cannot be done, the one that there is grows.
    fn rotate(&self, state: &mut State, lock: &mut Locked) -> Result<(), LedgerError> {
        if Instant::now() < state.rotate_after {
            return Ok(());
        }
        self.synced(state.file.sync_data())?;
        match self.begin_next(state, lock) {
            Ok(next) => self.synced(next.settle()),
            Err(error) => {
                tracing::error!(ledger = %self.path.display(), %error, "the ledger's file cannot be closed; it grows on");
                state.rotate_after = Instant::now() + ROTATE_AGAIN;
                // Whatever became of it: what has the name is written to.
                let until = Instant::now() + PATIENCE;
                let length = self.to_the_last_file(state, lock, until)?;
                self.catch_up(state, length)
            }
        }
    }

    /// Once the next file has the name, it is the one.
    fn begin_next(&self, state: &mut State, lock: &mut Locked) -> io::Result<Next> {
        let (mut line, head) = chain::line(&state.head, &Begin::of(&state.name))?;
        line.push(b'\n');
        let next = Next::begin(&self.path, &state.file, &line)?;
        // Before anybody else can find it.
        let locked = Locked::wait(&next.file, Instant::now())?;
        let locked = locked.ok_or_else(|| io::Error::other("the new file is locked"))?;
        next.take_place(&self.path, &state.file, state.first)?;
        *lock = locked;
        state.first = head.sequence;
        state.head = head;
        state.end = line.len() as u64;
        state.file = Arc::clone(&next.file);
        Ok(next)
    }
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
