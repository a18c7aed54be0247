//! What others have written since: their records are followed, also into a file that they have begun,
//! and what a crash of theirs left is mended. What does not carry on the chain is not followed.

use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;
use std::time::Instant;

use super::LedgerError;
use super::chain::{self, Begin, Broken, End, Repair, follow};
use super::file::{ChainFile, State};
use super::rotation;
use super::turn::Locked;

/// The longest line, with room to spare: so much of a file's end holds its last record.
const LONGEST_LINE: u64 = 64 << 10;

impl ChainFile {
    /// Another process may have begun a new file since. The lock of the one that has the name is
    /// what counts. Says how long that one is.
    pub(super) fn to_the_last_file(
        &self,
        state: &mut State,
        lock: &mut Locked,
        until: Instant,
    ) -> Result<u64, LedgerError> {
        let failed = |error| self.unwritable(error);
        loop {
            let ours = state.file.metadata().map_err(failed)?;
            if rotation::leads_to(self.path(), &ours).map_err(failed)? {
                return Ok(ours.len());
            }
            if ours.nlink() == 0 {
                return Err(self.replaced("it was removed"));
            }
            if self.read_on(state, ours.len())? != End::Whole {
                let sequence = state.head.sequence + 1;
                return Err(self.broken(Broken::NoRecord { sequence }));
            }
            let sequence = state.head.sequence + 1;
            let closed = rotation::closed(self.path(), sequence);
            let next = rotation::open_existing(&closed)
                .or_else(|_| rotation::open_existing(self.path()))
                .map_err(|error| match error.kind() {
                    io::ErrorKind::NotFound => self.replaced("it is gone"),
                    _ => failed(error),
                })?;
            let next = Arc::new(next);
            let next_lock = Locked::wait(&next, until).map_err(failed)?;
            let next_lock = next_lock.ok_or_else(|| self.in_vain())?;
            let mut carried_on = State {
                file: next,
                end: 0,
                first: sequence,
                ..state.clone()
            };
            let length = carried_on.file.metadata().map_err(failed)?.len();
            let read = self.read_on(&mut carried_on, length);
            if carried_on.head == state.head {
                return Err(read.err().unwrap_or_else(|| {
                    self.replaced("another file is in its place that does not carry it on")
                }));
            }
            (*state, *lock) = (carried_on, next_lock);
        }
    }

    /// Goes to the last whole record of a file that was there before.
    pub(super) fn find_end(&self, state: &mut State) -> Result<(), LedgerError> {
        let failed = |error| self.unwritable(error);
        let length = state.file.metadata().map_err(failed)?.len();
        let read = |from: u64, to: u64| {
            let mut bytes = vec![0; (to - from) as usize];
            state.file.read_exact_at(&mut bytes, from).map(|()| bytes)
        };
        let begin = read(0, length.min(LONGEST_LINE)).map_err(failed)?;
        let Some((first, name)) = chain::first_of(&begin) else {
            // Of a first record that a crash tore there is its beginning.
            return match chain::may_begin(&begin) {
                true => Ok(()),
                false => Err(LedgerError::Unfit {
                    path: self.path().to_owned(),
                    why: "it holds something that is no ledger",
                }),
            };
        };
        let from = length.saturating_sub(LONGEST_LINE);
        let tail = read(from, length).map_err(failed)?;
        (state.first, state.name) = (first, name);
        if let Some((at, head)) = chain::last_of(&tail) {
            state.end = from + at as u64;
            state.head = head;
        }
        Ok(())
    }

    /// Follows what stands behind what is known, mends what a crash left, and begins what is empty.
    pub(super) fn catch_up(&self, state: &mut State, length: u64) -> Result<(), LedgerError> {
        match self.read_on(state, length)? {
            End::Whole => {}
            // All of the record is there.
            End::WithoutNewline => {
                let whole = State {
                    end: length,
                    ..state.clone()
                };
                self.write(&whole, b"\n")?;
                self.read_on(state, length + 1)?;
            }
            End::Torn(torn) => {
                let mut bytes = vec![0; torn];
                let read = state.file.read_exact_at(&mut bytes, state.end);
                read.map_err(|error| self.unwritable(error))?;
                state.end += torn as u64;
                tracing::warn!(ledger = %self.path().display(), bytes = torn, "a crash tore the last line; a repair is recorded");
                let repaired = self.append(state, &Repair::of(&bytes), b"\n");
                if repaired.is_err() {
                    state.end -= torn as u64;
                }
                repaired?;
            }
        }
        if state.end == 0 {
            let name = state.name.clone();
            self.append(state, &Begin::of(&name), b"")?;
        }
        Ok(())
    }

    /// Follows the chain to the end of the file, `length`, or to what is not whole there: then says how many
    /// bytes that are.
    fn read_on(&self, state: &mut State, length: u64) -> Result<End, LedgerError> {
        let new = match length.checked_sub(state.end) {
            Some(0) => return Ok(End::Whole),
            Some(new) => new as usize,
            None => return Err(self.replaced("it is shorter than it was")),
        };
        let mut bytes = vec![0; new];
        let read = state.file.read_exact_at(&mut bytes, state.end);
        read.map_err(|error| self.unwritable(error))?;
        let before = state.end;
        let State {
            head, end, name, ..
        } = state;
        let followed = follow(head, &bytes, |link, _, at| {
            *end = before + at as u64;
            if let Some(ledger) = &link.ledger {
                name.clone_from(ledger);
            }
        });
        followed.map_err(|why| self.broken(why))
    }
}
