//! Appends records to the ledger's active file. Before each append it catches up with other processes: it verifies the
//! records that they appended, also in a file that they rotated to, and repairs a line that a crash tore. It appends only
//! to the head of a chain that it has verified.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use uuid::Uuid;

use super::LedgerError;
use super::chain_parser::{self, Tail};
use super::chunked_read::{self, ChainPosition, ChainReadError};
use super::hash_chain::{self, BeginRecord, ChainBreak, ChainHead, MAX_LINE_LENGTH, RepairRecord};
use super::lock::FileLock;
use super::rotation::NextFile;
use super::{chain_files, location};

/// How long after a failed rotation the next one is attempted.
const ROTATION_RETRY_DELAY: Duration = Duration::from_secs(60);

/// The active file, and the position up to which its hash chain was verified. Methods that append must be called with the
/// file lock held.
#[derive(Clone, Debug)]
pub(super) struct Appender {
    /// The configured path, with symbolic links resolved.
    path: Arc<Path>,
    file: Arc<File>,
    /// Where the next record is appended.
    position: ChainPosition,
    /// The sequence number of the file's first record.
    first_sequence: u64,
    /// The unique name of the ledger, which is in the first record of each of its files.
    ledger_name: String,
    rotate_after: Instant,
}

impl Appender {
    /// Opens the chain in a file whose lock the caller holds: finds its last record, repairs a torn line after it, and
    /// writes the first record of an empty file.
    ///
    /// # Errors
    /// The file is not a ledger, or cannot be read or written.
    pub(super) fn open(path: Arc<Path>, file: Arc<File>) -> Result<Self, LedgerError> {
        let mut appender = Self {
            path,
            file,
            position: ChainPosition {
                offset: 0,
                head: ChainHead::EMPTY,
            },
            first_sequence: 1,
            ledger_name: Uuid::new_v4().to_string(),
            rotate_after: Instant::now(),
        };
        let length = appender.seek_last_record()?;
        appender.catch_up(length)?;
        Ok(appender)
    }

    pub(super) fn file(&self) -> &Arc<File> {
        &self.file
    }

    pub(super) fn head(&self) -> &ChainHead {
        &self.position.head
    }

    /// The sequence number of the active file's first record. It changes by a rotation.
    pub(super) fn first_sequence(&self) -> u64 {
        self.first_sequence
    }

    /// Whether the file has reached its maximum length, and no rotation has failed within [`ROTATION_RETRY_DELAY`].
    pub(super) fn is_rotation_due(&self, max_length: u64) -> bool {
        self.position.offset >= max_length && Instant::now() >= self.rotate_after
    }

    /// Delays the next rotation, after one that failed.
    pub(super) fn delay_rotation(&mut self) {
        self.rotate_after = Instant::now() + ROTATION_RETRY_DELAY;
    }

    /// If other processes have rotated, switches to the file that has the configured name now, and replaces `lock` by the
    /// lock of that file. Returns the file's length.
    pub(super) fn switch_to_active_file(
        &mut self,
        lock: &mut FileLock,
        deadline: Instant,
    ) -> Result<u64, LedgerError> {
        let path = Arc::clone(&self.path);
        let failed = |error| LedgerError::unwritable(&path, error);
        loop {
            let metadata = self.file.metadata().map_err(failed)?;
            if chain_files::is_metadata_at(&metadata, &path).map_err(failed)? {
                return Ok(metadata.len());
            }
            if metadata.nlink() == 0 {
                return Err(self.replaced(match path.exists() {
                    true => "another file is in its place",
                    false => "it was removed",
                }));
            }
            if self.verify_to(metadata.len())? != Tail::Complete {
                let sequence = self.position.head.sequence + 1;
                return Err(self.broken(ChainBreak::NoRecord { sequence }));
            }
            let first_sequence = self.position.head.sequence + 1;
            let opened =
                chain_files::open_by_first_sequence(&path, first_sequence, location::open_existing);
            let (file, found_at) = opened.map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => self.replaced("it is gone"),
                _ => failed(error),
            })?;
            location::check_file(&file, &found_at)?;
            let file = Arc::new(file);
            let next_lock = FileLock::acquire_until(&file, deadline).map_err(failed)?;
            let next_lock = next_lock.ok_or_else(|| LedgerError::lock_timeout(&path))?;
            let mut next = Self {
                file,
                position: ChainPosition {
                    offset: 0,
                    head: self.position.head.clone(),
                },
                first_sequence,
                ..self.clone()
            };
            let length = next.file.metadata().map_err(failed)?.len();
            let verified = next.verify_to(length);
            if next.position.head == self.position.head {
                return Err(verified.err().unwrap_or_else(|| {
                    self.replaced("another file is in its place that does not carry it on")
                }));
            }
            (*self, *lock) = (next, next_lock);
        }
    }

    /// Moves the position after the last complete record of an existing file, and returns the file's length.
    fn seek_last_record(&mut self) -> Result<u64, LedgerError> {
        let failed = |error| LedgerError::unwritable(&self.path, error);
        let unfit = |why| LedgerError::Unfit {
            path: self.path.to_path_buf(),
            why,
        };
        let length = self.file.metadata().map_err(failed)?.len();
        let start = chunked_read::read_first_chunk(&self.file, length).map_err(failed)?;
        let Some((first_sequence, ledger_name)) = chain_parser::first_record(&start) else {
            return match chain_parser::is_torn_first_record(&start) {
                true => Ok(length),
                false => Err(unfit("it holds something that is no ledger")),
            };
        };
        let last = match chunked_read::find_last_record(&self.file, length).map_err(failed)? {
            // The file holds its first record only, without a newline.
            None if length == start.len() as u64 => None,
            None => return Err(unfit("there is no record near its end")),
            last => last,
        };
        (self.first_sequence, self.ledger_name) = (first_sequence, ledger_name);
        if let Some(last) = last {
            self.position = last;
        }
        Ok(length)
    }

    /// Verifies the records that other processes appended, repairs a torn line, and writes the first record of an empty
    /// file.
    pub(super) fn catch_up(&mut self, length: u64) -> Result<(), LedgerError> {
        match self.verify_to(length)? {
            Tail::Complete => {}
            Tail::MissingNewline => {
                self.write_at(length, b"\n")?;
                self.verify_to(length + 1)?;
            }
            // Nothing was signed before the first record, so no repair record is needed.
            Tail::Torn(torn) if self.position.offset == 0 => {
                tracing::warn!(ledger = %self.path.display(), bytes = torn, "a crash tore the first line; it is written anew");
                let emptied = self.file.set_len(0);
                emptied.map_err(|error| self.unwritable(error))?;
            }
            Tail::Torn(torn) => {
                let bytes = chunked_read::read_range(&self.file, self.position.offset, length);
                let bytes = bytes.map_err(|error| self.unwritable(error))?;
                self.position.offset += torn as u64;
                tracing::warn!(ledger = %self.path.display(), bytes = torn, "a crash tore the last line; a repair is recorded");
                let repaired = self.append_after(b"\n", &RepairRecord::new(&bytes));
                if repaired.is_err() {
                    self.position.offset -= torn as u64;
                }
                repaired?;
            }
        }
        if self.position.offset == 0 {
            let name = self.ledger_name.clone();
            self.append(&BeginRecord::new(&name))?;
        }
        Ok(())
    }

    /// Verifies the chain up to `length`, or to an incomplete line before it.
    fn verify_to(&mut self, length: u64) -> Result<Tail, LedgerError> {
        if length < self.position.offset {
            return Err(self.replaced("it is shorter than it was"));
        }
        let Self {
            position,
            file,
            ledger_name,
            ..
        } = self;
        let verified = chunked_read::read_chain(position, file, length, |header, _, _| {
            if let Some(name) = header.ledger() {
                name.clone_into(ledger_name);
            }
        });
        verified.map_err(|error| match error {
            ChainReadError::Unreadable(error) => self.unwritable(error),
            ChainReadError::Broken(why) => self.broken(why),
        })
    }

    /// Appends the next record of the chain.
    pub(super) fn append(&mut self, entry: &impl Serialize) -> Result<(), LedgerError> {
        self.append_after(b"", entry)
    }

    /// Appends some bytes and the next record in one write.
    fn append_after(&mut self, before: &[u8], entry: &impl Serialize) -> Result<(), LedgerError> {
        let (line, head) = hash_chain::encode_line(&self.position.head, entry)
            .map_err(|error| self.unwritable(io::Error::other(error)))?;
        if line.len() > MAX_LINE_LENGTH {
            return Err(LedgerError::TooLong {
                path: self.path.to_path_buf(),
                bytes: line.len(),
                max: MAX_LINE_LENGTH,
            });
        }
        let bytes = [before, &line, b"\n"].concat();
        self.write_at(self.position.offset, &bytes)?;
        self.position = ChainPosition {
            offset: self.position.offset + bytes.len() as u64,
            head,
        };
        Ok(())
    }

    /// Appends bytes to the file, whose length is `offset`. After a failed write the file is truncated to that length: the
    /// operation that the record announces does not take place.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), LedgerError> {
        let mut file = &*self.file;
        file.write_all(bytes).map_err(|error| {
            // If the truncation fails too, the next writer repairs the torn line.
            let _ = self.file.set_len(offset);
            self.unwritable(error)
        })?;
        // O_APPEND writes at the file's end, which is another if something wrote without the lock.
        let end = file.stream_position();
        if end.map_err(|error| self.unwritable(error))? == offset + bytes.len() as u64 {
            Ok(())
        } else {
            Err(self.replaced("something wrote to it that did not wait for its lock"))
        }
    }

    /// Rotates: replaces the active file by a new one, and `lock` by the lock of the new file.
    pub(super) fn rotate(&mut self, lock: &mut FileLock) -> io::Result<NextFile> {
        let begin = BeginRecord::new(&self.ledger_name);
        let (mut line, head) = hash_chain::encode_line(&self.position.head, &begin)?;
        line.push(b'\n');
        let next = NextFile::create(&self.path, &self.file, &line)?;
        // The lock is taken before other processes can find the file by its name.
        let next_lock = FileLock::acquire_until(next.file(), Instant::now())?;
        let next_lock = next_lock.ok_or_else(|| io::Error::other("the new file is locked"))?;
        next.replace_active(&self.path, &self.file, self.first_sequence)?;
        *lock = next_lock;
        self.first_sequence = head.sequence;
        self.position = ChainPosition {
            offset: line.len() as u64,
            head,
        };
        self.file = Arc::clone(next.file());
        Ok(next)
    }

    fn unwritable(&self, error: io::Error) -> LedgerError {
        LedgerError::unwritable(&self.path, error)
    }

    fn replaced(&self, why: &'static str) -> LedgerError {
        LedgerError::Replaced {
            path: self.path.to_path_buf(),
            why,
        }
    }

    fn broken(&self, why: ChainBreak) -> LedgerError {
        LedgerError::Broken {
            path: self.path.to_path_buf(),
            why,
        }
    }
}
