//! What others have written since: their records are followed, also into a file that they have begun,
//! and what a crash of theirs left is mended. What does not carry on the chain is not followed.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::Instant;

use super::LedgerError;
use super::chain::{Begin, Broken, Repair};
use super::file::{ChainFile, State};
use super::follow::{self, End};
use super::stretch::{self, Place, Stop};
use super::turn::Locked;
use super::{place, rotation};

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
            let (next, path) = rotation::with_first(self.path(), sequence, place::existing)
                .map_err(|error| match error.kind() {
                    io::ErrorKind::NotFound => self.replaced("it is gone"),
                    _ => failed(error),
                })?;
            place::check(&next, &path)?;
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

    /// Goes to the last whole record of a file that was there before. Says how long the file is.
    pub(super) fn find_end(&self, state: &mut State) -> Result<u64, LedgerError> {
        let failed = |error| self.unwritable(error);
        let unfit = |why| LedgerError::Unfit {
            path: self.path().to_owned(),
            why,
        };
        let length = state.file.metadata().map_err(failed)?.len();
        let begin = stretch::beginning(&state.file, length).map_err(failed)?;
        let Some((first, name)) = follow::first_of(&begin) else {
            // Of a first record that a crash tore there is its beginning.
            return match follow::may_begin(&begin) {
                true => Ok(length),
                false => Err(unfit("it holds something that is no ledger")),
            };
        };
        (state.first, state.name) = (first, name);
        match stretch::last(&state.file, length).map_err(failed)? {
            Some(last) => (state.end, state.head) = (last.offset, last.head),
            // Its first record alone, without a newline.
            None if length == begin.len() as u64 => {}
            None => return Err(unfit("there is no record near its end")),
        }
        Ok(length)
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
            // Before there was a record, nothing was done: there is nothing to account for.
            End::Torn(torn) if state.end == 0 => {
                tracing::warn!(ledger = %self.path().display(), bytes = torn, "a crash tore the first line; it is written anew");
                let emptied = state.file.set_len(0);
                emptied.map_err(|error| self.unwritable(error))?;
            }
            End::Torn(torn) => {
                let bytes = stretch::read(&state.file, state.end, length);
                let bytes = bytes.map_err(|error| self.unwritable(error))?;
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
        if length < state.end {
            return Err(self.replaced("it is shorter than it was"));
        }
        let mut place = Place {
            offset: state.end,
            head: state.head.clone(),
        };
        let State { file, name, .. } = state;
        let followed = stretch::go_on(&mut place, file, length, |link, _, _| {
            if let Some(ledger) = link.ledger() {
                ledger.clone_into(name);
            }
        });
        (state.end, state.head) = (place.offset, place.head);
        followed.map_err(|stop| match stop {
            Stop::Unreadable(error) => self.unwritable(error),
            Stop::Broken(why) => self.broken(why),
        })
    }
}
