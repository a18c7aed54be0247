//! `ledger show --counts`: how many uses of the key there are, by day, purpose, result and key.

use std::collections::BTreeMap;

use crate::check_steps::plain;
use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use hsm_mtls::internal::ledger::record_reader::Record;
use serde_json::json;

use super::super::{CommandError, output};

/// Uses that are counted together have the same key.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct CountKey {
    day: String,
    /// The purpose, or the kind of a record without one.
    purpose: String,
    result: String,
    spki: String,
}

/// The number of uses for each key of [`CountKey`].
#[derive(Default)]
pub(super) struct UseCounts(BTreeMap<CountKey, u64>);

impl UseCounts {
    /// Counts a use by the record of its attempt.
    pub(super) fn add(&mut self, record: &Record, purpose: &str, result: String) {
        let key = CountKey {
            day: record.time.chars().take(10).collect(),
            purpose: purpose.to_owned(),
            result,
            spki: record.spki.clone().unwrap_or_default(),
        };
        *self.0.entry(key).or_default() += 1;
    }

    /// Prints the counts as JSON.
    pub(super) fn print_json(&self) -> Result<(), CommandError> {
        let counts: Vec<_> = self
                .0
                .iter()
                .map(|(key, count)| {
                    json!({ "day": key.day, "what": key.purpose, "result": key.result, "spki": key.spki, "count": count })
                })
                .collect();
        output::json(&json!({ "schema": 0, "counts": counts }))
    }

    /// Prints a table, or lists where the terminal is too narrow for it.
    pub(super) fn print(&self) -> Result<(), CommandError> {
        let mut table = Table::new();
        *table.style_mut() = NOTHING;
        table.set_header(["day", "what", "result", "count", "public key"]);
        for (key, count) in &self.0 {
            let count = count.to_string();
            let cells = [&key.day, &key.purpose, &key.result, &count, &key.spki];
            table.add_row(cells.map(|cell| cell.chars().map(plain).collect::<String>()));
        }
        if let Some(counts) = table.column_mut(3) {
            counts.set_cell_alignment(CellAlignment::Right);
        }
        let table = table.to_string();
        if output::fits(&table) {
            return output::unwrapped(&table);
        }
        let mut heading = None;
        for (key, count) in &self.0 {
            if heading.replace(&key.spki) != Some(&key.spki) {
                output::line(&format!("public key {}", key.spki))?;
            }
            let CountKey {
                day,
                purpose,
                result,
                ..
            } = key;
            let row = format!("  {day}  {purpose:17}  {result}  {count}");
            output::line(&row.chars().map(plain).collect::<String>())?;
        }
        Ok(())
    }
}
