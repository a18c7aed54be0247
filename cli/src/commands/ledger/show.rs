//! `ledger show`: what the key was used for, when, and for whom.

use std::collections::{BTreeMap, BTreeSet};
use std::io::stdout;
use std::time::{Duration, Instant};

use crate::check_steps::plain;
use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use hsm_mtls::internal::exit_code::ExitCode;
use hsm_mtls::internal::ledger::record_reader::{LedgerLine, Record, RecordReader};
use hsm_mtls::internal::ledger::verify::VerifyError;
use serde_json::json;

use super::super::line_wrap::{columns, flow};
use super::super::{CommandError, Global, output};
use super::ShowArgs;
use super::follow::Pause;

/// With --follow: after so long without an outcome a use is shown as it is. Its outcome may still come.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the number of a record takes, and what stands after it.
const SEQUENCE: usize = 2;

/// As many peers are named where none matches.
const FEW: usize = 5;

/// What the signer process was asked for and did not sign: nothing was begun, and there is no outcome.
const REFUSED: &str = "refused";

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
    let mut shown = Shown {
        args,
        as_json: global.json,
        begun: BTreeMap::new(),
        counts: BTreeMap::new(),
        looked: 0,
        matching: 0,
        peers: BTreeSet::new(),
        gone: false,
        failed: None,
    };
    let mut patience = Duration::ZERO;
    let pause = Pause::new();
    loop {
        let read = reader.read(|seen| shown.see(seen));
        if let Some(error) = shown.failed.take() {
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
        // What had none before we came is shown at once.
        shown.without_outcome(patience)?;
        patience = PATIENCE;
        if shown.gone || pause.until_gone() {
            return Ok(ExitCode::Good);
        }
    }
    shown.end()?;
    Ok(ExitCode::Good)
}

/// What was seen so far.
struct Shown<'a> {
    args: &'a ShowArgs,
    as_json: bool,
    /// What waits for its outcome.
    begun: BTreeMap<u64, Begun>,
    counts: BTreeMap<Counted, u64>,
    /// Records that were read.
    looked: u64,
    /// Those of them that were asked for.
    matching: u64,
    /// Whom there are uses for.
    peers: BTreeSet<String>,
    /// Whether whoever reads has gone.
    gone: bool,
    failed: Option<CommandError>,
}

/// What waits for its outcome.
struct Begun {
    record: Record,
    line: String,
    seen: Instant,
    told: bool,
}

/// What is counted together.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Counted {
    day: String,
    what: String,
    result: String,
    spki: String,
}

impl Shown<'_> {
    fn see(&mut self, seen: LedgerLine<'_>) {
        if self.failed.is_some() || self.gone {
            return;
        }
        self.looked += 1;
        let told = match seen {
            LedgerLine::Record(record, line) => self.take(*record, line),
            LedgerLine::UnknownForm(sequence) => self.another_form(sequence),
        };
        self.failed = told.err();
    }

    fn take(&mut self, record: Record, line: &str) -> Result<(), CommandError> {
        match (record.kind.as_str(), record.of) {
            ("begin" | "repair", _) => Ok(()),
            ("outcome", Some(of)) => match self.begun.remove(&of) {
                Some(begun) => self.tell(&begun, Some((&record, line))),
                None => Ok(()),
            },
            ("outcome", None) => self.another_form(record.seq),
            _ => {
                if let Some(peer) = record.peer.as_ref().filter(|_| self.args.peer.is_some()) {
                    self.peers.insert(peer.clone());
                }
                if self.wants(&record) {
                    self.matching += 1;
                    let sequence = record.seq;
                    let begun = Begun {
                        record,
                        line: line.to_owned(),
                        seen: Instant::now(),
                        told: false,
                    };
                    if begun.record.kind == REFUSED {
                        return self.tell(&begun, None);
                    }
                    self.begun.insert(sequence, begun);
                }
                Ok(())
            }
        }
    }

    /// It carries the chain on, and this program did not write it so.
    fn another_form(&mut self, sequence: u64) -> Result<(), CommandError> {
        if self.args.counts || self.as_json {
            output::remark(&format!("record {sequence}: of another form"));
            return Ok(());
        }
        self.print(&format!("{sequence:>8}  of another form"))
    }

    fn print(&mut self, row: &str) -> Result<(), CommandError> {
        self.gone |= !output::still_read(row)?;
        Ok(())
    }

    /// What was begun so long ago, and has no outcome.
    fn without_outcome(&mut self, patience: Duration) -> Result<(), CommandError> {
        let mut begun = std::mem::take(&mut self.begun);
        for begun in begun.values_mut() {
            if !begun.told && begun.seen.elapsed() >= patience {
                begun.told = true;
                self.tell(begun, None)?;
            }
        }
        self.begun = begun;
        Ok(())
    }

    /// What has no outcome, and the counts.
    fn end(mut self) -> Result<(), CommandError> {
        self.without_outcome(Duration::ZERO)?;
        if self.matching == 0 {
            // An empty answer could also be one to a question that was not meant.
            output::remark(&self.none());
        }
        if !self.args.counts {
            return Ok(());
        }
        if self.as_json {
            let counts: Vec<_> = self
                .counts
                .iter()
                .map(|(of, count)| {
                    json!({ "day": of.day, "what": of.what, "result": of.result, "spki": of.spki, "count": count })
                })
                .collect();
            return output::json(&json!({ "schema": 0, "counts": counts }));
        }
        let mut table = Table::new();
        *table.style_mut() = NOTHING;
        table.set_header(["day", "what", "result", "count", "public key"]);
        for (of, count) in &self.counts {
            let count = count.to_string();
            let cells = [&of.day, &of.what, &of.result, &count, &of.spki];
            table.add_row(cells.map(|cell| cell.chars().map(plain).collect::<String>()));
        }
        if let Some(counts) = table.column_mut(3) {
            counts.set_cell_alignment(CellAlignment::Right);
        }
        let table = table.to_string();
        if output::fits(&table) {
            return output::whole(&table);
        }
        let mut key = None;
        for (of, count) in &self.counts {
            if key.replace(&of.spki) != Some(&of.spki) {
                output::line(&format!("public key {}", of.spki))?;
            }
            let Counted {
                day, what, result, ..
            } = of;
            let row = format!("  {day}  {what:17}  {result}  {count}");
            output::line(&row.chars().map(plain).collect::<String>())?;
        }
        Ok(())
    }

    fn none(&self) -> String {
        let mut said = format!(
            "no use of the key matches; {} records were looked at",
            self.looked
        );
        let known: Vec<_> = self.peers.iter().take(FEW).map(String::as_str).collect();
        if self.args.peer.is_some() && known.is_empty() {
            said.push_str("; none is for a peer");
        } else if self.args.peer.is_some() {
            said.push_str(&format!("; there are some for {}", known.join(", ")));
            match self.peers.len() - known.len() {
                0 => {}
                more => said.push_str(&format!(" and {more} more")),
            }
        }
        said.chars().map(plain).collect()
    }

    fn wants(&self, record: &Record) -> bool {
        let ShowArgs {
            since,
            until,
            purpose,
            peer,
            ..
        } = self.args;
        // Host names have no case (RFC 4343).
        let of_peer = |peer: &String| {
            let is = |theirs: &str| theirs.eq_ignore_ascii_case(peer);
            let host = |whole: &str| whole.rsplit_once(':').is_some_and(|(host, _)| is(host));
            let theirs = record.peer.as_ref();
            theirs.is_some_and(|theirs| is(theirs) || host(theirs))
        };
        since.as_ref().is_none_or(|since| record.time >= since.0)
            && until
                .as_ref()
                .is_none_or(|until| record.time <= until.0 || record.time.starts_with(&until.0))
            && purpose
                .as_ref()
                .is_none_or(|purpose| record.purpose.as_ref() == Some(purpose))
            && peer.as_ref().is_none_or(of_peer)
    }

    fn tell(
        &mut self,
        begun: &Begun,
        outcome: Option<(&Record, &str)>,
    ) -> Result<(), CommandError> {
        let told = begun.told && outcome.is_some();
        let Begun {
            record: begun,
            line,
            ..
        } = begun;
        let what = begun.purpose.as_ref().unwrap_or(&begun.kind);
        let result = match outcome {
            None if begun.kind == REFUSED => REFUSED.to_owned(),
            None => "no outcome".to_owned(),
            Some((outcome, _)) => {
                let said = [&outcome.result, &outcome.class, &outcome.ckr];
                let said: Vec<_> = said.into_iter().flatten().map(String::as_str).collect();
                said.join(" ")
            }
        };
        if self.args.counts {
            let counted = Counted {
                day: begun.time.chars().take(10).collect(),
                what: what.clone(),
                result,
                spki: begun.spki.clone().unwrap_or_default(),
            };
            *self.counts.entry(counted).or_default() += 1;
            return Ok(());
        }
        if self.as_json {
            if !told {
                self.print(&output::tame(line))?;
            }
            return outcome.map_or(Ok(()), |(_, line)| self.print(&output::tame(line)));
        }
        let about = [
            &begun.peer,
            &begun.interaction_id,
            &begun.role,
            &begun.label,
            &begun.why,
        ];
        let about: Vec<_> = about.into_iter().flatten().map(String::as_str).collect();
        let millis = outcome
            .and_then(|(outcome, _)| outcome.micros)
            .map_or(String::new(), |micros| {
                format!("{:.1} ms", micros as f64 / 1e3)
            });
        let row = format!(
            "{:>8}  {}  {what:17}  {result:10}  {millis:>9}  {}",
            begun.seq,
            begun.time,
            about.join(" ")
        );
        // A label or a peer is text of somebody else's.
        let row: String = row.trim_end().chars().map(plain).collect();
        self.print(&flow(&row, SEQUENCE, columns(stdout())))
    }
}
