//! `ledger show`: what the key was used for, when, and for whom.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use hsm_mtls::error::ExitCode;
use hsm_mtls::ledger::history::Flaw;
use hsm_mtls::ledger::reader::{Reader, Record, Seen};
use hsm_mtls::step::plain;
use serde_json::json;

use super::super::{CommandError, Global, ShowArgs, output};

/// How often it is looked for new records.
const LOOK: Duration = Duration::from_millis(200);

pub(super) fn show(
    global: &Global,
    args: &ShowArgs,
    mut reader: Reader,
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
        failed: None,
    };
    loop {
        let read = reader.read(|seen| match seen {
            Seen::Record(record, line) => shown.take(*record, line),
            Seen::OfAnotherForm(_) => {}
        });
        if let Some(error) = shown.failed.take() {
            return Err(error);
        }
        match read {
            Ok(()) => {}
            Err(Flaw::Unreadable(error)) => return Err(CommandError::stage(error)),
            Err(flaw) => {
                output::remark(&format!("the chain does not hold here: {flaw}"));
                return Ok(ExitCode::Finding);
            }
        }
        if !args.follow {
            break;
        }
        thread::park_timeout(LOOK);
    }
    shown.end()?;
    Ok(ExitCode::Good)
}

/// What was seen so far.
struct Shown<'a> {
    args: &'a ShowArgs,
    as_json: bool,
    /// What waits for its outcome.
    begun: BTreeMap<u64, (Record, String)>,
    counts: BTreeMap<Counted, u64>,
    failed: Option<CommandError>,
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
    fn take(&mut self, record: Record, line: &str) {
        let begun = match record.of {
            Some(of) => self.begun.remove(&of),
            None => {
                if !matches!(record.kind.as_str(), "begin" | "repair") && self.wants(&record) {
                    self.begun.insert(record.seq, (record, line.to_owned()));
                }
                return;
            }
        };
        if let (Some((begun, first)), None) = (begun, &self.failed) {
            let told = self.tell(&begun, &first, Some((&record, line)));
            self.failed = told.err();
        }
    }

    /// What has no outcome.
    fn end(mut self) -> Result<(), CommandError> {
        for (begun, line) in std::mem::take(&mut self.begun).into_values() {
            self.tell(&begun, &line, None)?;
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
            table.add_row([&of.day, &of.what, &of.result, &count.to_string(), &of.spki]);
        }
        if let Some(counts) = table.column_mut(3) {
            counts.set_cell_alignment(CellAlignment::Right);
        }
        output::line(&table.to_string())
    }

    fn wants(&self, record: &Record) -> bool {
        let ShowArgs {
            since,
            until,
            purpose,
            peer,
            ..
        } = self.args;
        let of_peer = |peer: &String| {
            let host = |whole: &str| whole.rsplit_once(':').is_some_and(|(host, _)| host == peer);
            let theirs = record.peer.as_ref();
            theirs.is_some_and(|theirs| theirs == peer || host(theirs))
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
        begun: &Record,
        line: &str,
        outcome: Option<(&Record, &str)>,
    ) -> Result<(), CommandError> {
        let what = begun.purpose.as_ref().unwrap_or(&begun.kind);
        let result = match outcome {
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
            output::line(line)?;
            return outcome.map_or(Ok(()), |(_, line)| output::line(line));
        }
        let about = [
            &begun.peer,
            &begun.interaction_id,
            &begun.role,
            &begun.label,
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
        output::line(&row)
    }
}
