//! `ledger show`: prints the uses of the key, or counts them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::stdout;
use std::time::{Duration, Instant};

use crate::check_steps::plain;
use hsm_mtls::internal::exit_code::ExitCode;
use hsm_mtls::internal::ledger::record_reader::{LedgerLine, Record, RecordReader};
use hsm_mtls::internal::ledger::verify::VerifyError;

use super::super::line_wrap::{columns, wrap};
use super::super::{CommandError, Global, output};
use super::ShowArgs;
use super::follow::PollTimer;
use super::use_counts::UseCounts;

/// With `--follow`: an attempt without an outcome is printed after this long. Its outcome may still come.
const OUTCOME_TIMEOUT: Duration = Duration::from_secs(10);

/// The hanging indent of a wrapped row.
const HANGING_INDENT: usize = 2;

/// How many peers are listed where none matches `--peer`.
const MAX_PEERS_LISTED: usize = 5;

/// The kind of a record of a request that the signing policy refused. It has no outcome: nothing was attempted.
const REFUSED: &str = "refused";

/// The kind of a record of a step of a rotation. It has no outcome: what the step does with a key has records of its own.
const ROTATION: &str = "rotation";

pub(super) fn show(
    global: &Global,
    args: &ShowArgs,
    mut reader: RecordReader,
) -> Result<ExitCode, CommandError> {
    if args.follow && args.counts {
        return Err(CommandError::usage(
            "--follow shows records as they come, and --counts is their number in the end",
            "leave out one of them",
        ));
    }
    let mut printer = RecordPrinter {
        args,
        as_json: global.json,
        pending: BTreeMap::new(),
        counts: UseCounts::default(),
        records_read: 0,
        matching: 0,
        peers: BTreeSet::new(),
        is_closed: false,
        error: None,
    };
    let mut outcome_timeout = Duration::ZERO;
    let poll_timer = PollTimer::new();
    loop {
        let read = reader.read(|line| printer.add(line));
        if let Some(error) = printer.error.take() {
            return Err(error);
        }
        match read {
            Ok(()) => {}
            Err(VerifyError::Unreadable(error)) => return Err(CommandError::stage(error)),
            Err(flaw) => {
                output::remark(&format!("the chain does not hold here: {flaw}"));
                return Ok(ExitCode::Finding);
            }
        }
        if !args.follow {
            break;
        }
        // Old attempts without an outcome are printed at once, new ones after the timeout.
        printer.print_pending(outcome_timeout)?;
        outcome_timeout = OUTCOME_TIMEOUT;
        if printer.is_closed || poll_timer.wait_or_closed() {
            return Ok(ExitCode::Good);
        }
    }
    printer.finish()?;
    Ok(ExitCode::Good)
}

/// Joins attempts with their outcomes, and prints or counts them.
struct RecordPrinter<'a> {
    args: &'a ShowArgs,
    as_json: bool,
    /// Attempts without an outcome so far, by sequence number.
    pending: BTreeMap<u64, Attempt>,
    counts: UseCounts,
    records_read: u64,
    /// How many uses match the options.
    matching: u64,
    /// The peers of all uses, where `--peer` was given.
    peers: BTreeSet<String>,
    /// Whether the reader of standard output has closed the pipe.
    is_closed: bool,
    error: Option<CommandError>,
}

/// A use of the key: its record, and the line of the file.
struct Attempt {
    record: Record,
    line: String,
    read_at: Instant,
    /// Whether it was printed without an outcome.
    is_printed: bool,
}

impl RecordPrinter<'_> {
    fn add(&mut self, line: LedgerLine<'_>) {
        if self.error.is_some() || self.is_closed {
            return;
        }
        self.records_read += 1;
        let added = match line {
            LedgerLine::Record(record, line) => self.add_record(*record, line),
            LedgerLine::UnknownForm(sequence) => self.print_unknown_form(sequence),
        };
        self.error = added.err();
    }

    fn add_record(&mut self, record: Record, line: &str) -> Result<(), CommandError> {
        match (record.kind.as_str(), record.of) {
            ("begin" | "repair", _) => Ok(()),
            ("outcome", Some(of)) => match self.pending.remove(&of) {
                Some(attempt) => self.print_use(&attempt, Some((&record, line))),
                None => Ok(()),
            },
            ("outcome", None) => self.print_unknown_form(record.seq),
            _ => {
                if let Some(peer) = record.peer.as_ref().filter(|_| self.args.peer.is_some()) {
                    self.peers.insert(peer.clone());
                }
                if self.matches(&record) {
                    self.matching += 1;
                    let sequence = record.seq;
                    let attempt = Attempt {
                        record,
                        line: line.to_owned(),
                        read_at: Instant::now(),
                        is_printed: false,
                    };
                    if [REFUSED, ROTATION].contains(&attempt.record.kind.as_str()) {
                        return self.print_use(&attempt, None);
                    }
                    self.pending.insert(sequence, attempt);
                }
                Ok(())
            }
        }
    }

    /// Prints a record of the chain whose form this version does not know.
    fn print_unknown_form(&mut self, sequence: u64) -> Result<(), CommandError> {
        if self.args.counts || self.as_json {
            output::remark(&format!("record {sequence}: of another form"));
            return Ok(());
        }
        self.print_row(&format!("{sequence:>8}  of another form"))
    }

    fn print_row(&mut self, row: &str) -> Result<(), CommandError> {
        self.is_closed |= !output::unless_closed(row)?;
        Ok(())
    }

    /// Prints attempts that have had no outcome for `timeout`.
    fn print_pending(&mut self, timeout: Duration) -> Result<(), CommandError> {
        let mut pending = std::mem::take(&mut self.pending);
        for attempt in pending.values_mut() {
            if !attempt.is_printed && attempt.read_at.elapsed() >= timeout {
                attempt.is_printed = true;
                self.print_use(attempt, None)?;
            }
        }
        self.pending = pending;
        Ok(())
    }

    /// Prints the attempts without an outcome, and the counts.
    fn finish(mut self) -> Result<(), CommandError> {
        self.print_pending(Duration::ZERO)?;
        if self.matching == 0 {
            // The options may be mistyped: an empty result alone does not show that.
            output::remark(&self.no_match_note());
        }
        if !self.args.counts {
            return Ok(());
        }
        match self.as_json {
            true => self.counts.print_json(),
            false => self.counts.print(),
        }
    }

    /// What was searched, where no use matches.
    fn no_match_note(&self) -> String {
        let mut note = format!(
            "no use of the key matches; {} records were looked at",
            self.records_read
        );
        let known: Vec<_> = self
            .peers
            .iter()
            .take(MAX_PEERS_LISTED)
            .map(String::as_str)
            .collect();
        if self.args.peer.is_some() && known.is_empty() {
            note.push_str("; none is for a peer");
        } else if self.args.peer.is_some() {
            note.push_str(&format!("; there are some for {}", known.join(", ")));
            match self.peers.len() - known.len() {
                0 => {}
                more => note.push_str(&format!(" and {more} more")),
            }
        }
        note.chars().map(plain).collect()
    }

    /// Whether a record matches the options.
    fn matches(&self, record: &Record) -> bool {
        let ShowArgs {
            since,
            until,
            purpose,
            peer,
            ..
        } = self.args;
        // Host names are case-insensitive (RFC 4343).
        let is_peer = |peer: &String| {
            let equals = |recorded: &str| recorded.eq_ignore_ascii_case(peer);
            let host_equals = |recorded: &str| {
                let host = recorded.rsplit_once(':');
                host.is_some_and(|(host, _)| equals(host))
            };
            let recorded = record.peer.as_ref();
            recorded.is_some_and(|recorded| equals(recorded) || host_equals(recorded))
        };
        since.as_ref().is_none_or(|since| record.time >= since.0)
            && until
                .as_ref()
                .is_none_or(|until| record.time <= until.0 || record.time.starts_with(&until.0))
            && purpose
                .as_ref()
                .is_none_or(|purpose| record.purpose.as_ref() == Some(purpose))
            && peer.as_ref().is_none_or(is_peer)
    }

    /// Prints or counts a use: an attempt and its outcome, where it has one.
    fn print_use(
        &mut self,
        attempt: &Attempt,
        outcome: Option<(&Record, &str)>,
    ) -> Result<(), CommandError> {
        let only_outcome = attempt.is_printed && outcome.is_some();
        let Attempt { record, line, .. } = attempt;
        let purpose = record.purpose.as_ref().unwrap_or(&record.kind);
        let result = match outcome {
            None if record.kind == REFUSED => REFUSED.to_owned(),
            None if record.kind == ROTATION => record.step.clone().unwrap_or_default(),
            None => "no outcome".to_owned(),
            Some((outcome, _)) => {
                let parts = [&outcome.result, &outcome.class, &outcome.ckr];
                let parts: Vec<_> = parts.into_iter().flatten().map(String::as_str).collect();
                parts.join(" ")
            }
        };
        if self.args.counts {
            self.counts.add(record, purpose, result);
            return Ok(());
        }
        if self.as_json {
            if !only_outcome {
                self.print_row(&output::escape_json(line))?;
            }
            return outcome.map_or(Ok(()), |(_, line)| {
                self.print_row(&output::escape_json(line))
            });
        }
        let details = [
            &record.peer,
            &record.interaction_id,
            &record.role,
            &record.label,
            &record.key.clone().filter(|_| record.kind == ROTATION),
            &record.why,
        ];
        let details: Vec<_> = details.into_iter().flatten().map(String::as_str).collect();
        let millis = outcome
            .and_then(|(outcome, _)| outcome.micros)
            .map_or(String::new(), |micros| {
                format!("{:.1} ms", micros as f64 / 1e3)
            });
        let row = format!(
            "{:>8}  {}  {purpose:17}  {result:10}  {millis:>9}  {}",
            record.seq,
            record.time,
            details.join(" ")
        );
        // Peer and label are text from outside.
        let row: String = row.trim_end().chars().map(plain).collect();
        self.print_row(&wrap(&row, HANGING_INDENT, columns(stdout())))
    }
}
