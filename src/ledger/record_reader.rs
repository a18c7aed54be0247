//! Reads the records of a ledger from all its files in order, and later those that were appended since: for `ledger show
//! --follow` and the audit.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::LedgerError;
use super::chain_files::{self, ChainFile};
use super::chain_parser::{self, Tail};
use super::chunked_read::{self, ChainPosition, ChainReadError};
use super::hash_chain::{ChainBreak, ChainHead};
use super::verify::{VerifyError, unreadable};

/// The fields of a record that are read. A field that the record's type does not have is `None`.
#[derive(Clone, Debug, Deserialize)]
pub struct Record {
    /// The sequence number.
    pub seq: u64,
    /// The time of the record, RFC 3339 in UTC with microseconds.
    pub time: String,
    /// The type of the record: the variant of [`super::Entry`] in kebab case.
    pub kind: String,
    /// The purpose of a signature.
    pub purpose: Option<String>,
    /// The key's PKCS#11 URI.
    pub key: Option<String>,
    /// SHA-256 of the public key.
    pub spki: Option<String>,
    /// The signature scheme.
    pub scheme: Option<String>,
    /// The peer that the signature was for.
    pub peer: Option<String>,
    /// `x-fapi-interaction-id`.
    pub interaction_id: Option<String>,
    /// The role of a login.
    pub role: Option<String>,
    /// CKA_LABEL of a generated key pair.
    pub label: Option<String>,
    /// The step of a rotation.
    pub step: Option<String>,
    /// Why the signer process refused the request.
    pub why: Option<String>,
    /// Of an outcome: the number of the operation's first record.
    pub of: Option<u64>,
    /// Of an outcome: how the operation ended.
    pub result: Option<String>,
    /// Of an outcome: the class of the error.
    pub class: Option<String>,
    /// Of an outcome: what the module returned.
    pub ckr: Option<String>,
    /// Of an outcome: how long it took, in microseconds.
    pub micros: Option<u64>,
}

/// A line of the ledger.
#[derive(Debug)]
pub enum LedgerLine<'a> {
    /// A record, and the text of its line.
    Record(Box<Record>, &'a str),
    /// The sequence number of a record that continues the chain and has a form that this version does not know.
    UnknownForm(u64),
}

/// Reads the records of a ledger and verifies the hash chain.
#[derive(Debug)]
pub struct RecordReader {
    path: PathBuf,
    /// The files after the current one, as they were listed when the ledger was opened.
    next_files: VecDeque<ChainFile>,
    current: Option<(File, PathBuf)>,
    position: ChainPosition,
}

impl RecordReader {
    /// Opens the ledger at `path`, with the closed files beside it.
    ///
    /// # Errors
    /// It does not exist, or cannot be read.
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        let (files, path) = chain_files::list(path).map_err(|source| LedgerError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            path,
            next_files: files.into(),
            current: None,
            position: ChainPosition {
                offset: 0,
                head: ChainHead::EMPTY,
            },
        })
    }

    /// Calls `on_line` for each record that was not read before.
    ///
    /// # Errors
    /// The ledger cannot be read, or its chain is broken. `on_line` was called for the records before the error.
    pub fn read(&mut self, mut on_line: impl FnMut(LedgerLine<'_>)) -> Result<(), VerifyError> {
        loop {
            // Checked before the file is read: a file that is not active any more is complete, and is read to its end.
            let active = self.is_active()?;
            let incomplete = self.read_file(&mut on_line)?;
            if active {
                return Ok(());
            }
            if let (true, Some((_, path))) = (incomplete, &self.current) {
                return Err(VerifyError::Broken {
                    file: path.clone(),
                    why: ChainBreak::NoRecord {
                        sequence: self.position.head.sequence + 1,
                    },
                });
            }
            if !self.next_file()? {
                return Ok(());
            }
        }
    }

    /// Whether the current file is the active one.
    fn is_active(&self) -> Result<bool, VerifyError> {
        let failed = |error| unreadable(&self.path, error);
        match &self.current {
            Some((file, _)) if self.next_files.is_empty() => {
                chain_files::is_at(file, &self.path).map_err(failed)
            }
            _ => Ok(false),
        }
    }

    /// Reads the rest of the current file. Returns whether it ends with an incomplete line.
    fn read_file(&mut self, on_line: &mut impl FnMut(LedgerLine<'_>)) -> Result<bool, VerifyError> {
        let Some((file, path)) = &self.current else {
            return Ok(false);
        };
        let failed = |error| unreadable(path, error);
        let length = file.metadata().map_err(failed)?.len();
        if length < self.position.offset {
            return Err(unreadable(
                path,
                io::Error::other("it is shorter than it was"),
            ));
        }
        if self.position.head == ChainHead::EMPTY && self.position.offset == 0 {
            let start = chunked_read::read_first_chunk(file, length).map_err(failed)?;
            self.position.head = chain_parser::head_before(&start).unwrap_or(ChainHead::EMPTY);
        }
        let tail = chunked_read::read_chain(&mut self.position, file, length, |header, line, _| {
            let text = str::from_utf8(line).ok();
            let record = text.and_then(|text| Some((serde_json::from_str(text).ok()?, text)));
            on_line(match record {
                Some((record, line)) => LedgerLine::Record(Box::new(record), line),
                None => LedgerLine::UnknownForm(header.seq),
            });
        });
        match tail {
            Ok(Tail::Complete) => Ok(false),
            // The writer is about to complete the line, or the next writer repairs it.
            Ok(Tail::Torn(_) | Tail::MissingNewline) => Ok(true),
            Err(ChainReadError::Unreadable(error)) => Err(unreadable(path, error)),
            Err(ChainReadError::Broken(why)) => Err(VerifyError::Broken {
                file: path.clone(),
                why,
            }),
        }
    }

    /// Opens the next file of the chain; `false` if there is none yet.
    fn next_file(&mut self) -> Result<bool, VerifyError> {
        let opened = match self.next_files.pop_front() {
            Some(next) => {
                let file = next.open();
                let file = file.map_err(|error| unreadable(next.path(), error))?;
                (file, next.path().to_owned())
            }
            None => {
                let first = self.position.head.sequence + 1;
                match chain_files::open_by_first_sequence(&self.path, first, |path| {
                    File::open(path)
                }) {
                    Ok(next) => next,
                    // The active file was moved, and not replaced yet.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
                    Err(error) => return Err(unreadable(&self.path, error)),
                }
            }
        };
        self.current = Some(opened);
        self.position.offset = 0;
        Ok(true)
    }
}
