//! `make growth`: how cost grows with the work. A table and a picture for each kind of work, in docs/growth.md and docs/bench/.
//!
//! `GROWTH_RECORDS` says up to how many records of the ledger; a million unless told. `GROWTH_PARTS` names the parts of a short
//! run, which writes no file.

use std::fs;
use std::path::Path;

use serde::Serialize;

use crate::growth_ledger;
use crate::growth_proxy;
use crate::growth_sessions;
use crate::line_plot;
use crate::machine::Machine;
use crate::report::{docs_folder, replaced};
use crate::setup::{KEYS, Setup};
use crate::table::Table;

/// What was measured of one kind of work.
#[derive(Serialize)]
pub struct Series {
    pub title: &'static str,
    /// Of the picture's file, docs/bench/growth-NAME.svg.
    pub name: &'static str,
    /// The axes, with their units.
    pub x: &'static str,
    pub y: &'static str,
    pub lines: Vec<Line>,
}

#[derive(Serialize)]
pub struct Line {
    pub name: &'static str,
    pub points: Vec<(f64, f64)>,
}

impl Line {
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            points: Vec::new(),
        }
    }

    /// By which power of the work it grows, at its end and at its beginning: 1 is a straight line through nothing, 0 no growth at all.
    fn powers(&self) -> Option<(f64, f64)> {
        let between = |(a, b): ((f64, f64), (f64, f64))| (b.1 / a.1).log10() / (b.0 / a.0).log10();
        let middle = *self.points.get(self.points.len() / 2)?;
        let (first, last) = (*self.points.first()?, *self.points.last()?);
        let both = (between((first, middle)), between((middle, last)));
        (both.0.is_finite() && both.1.is_finite()).then_some(both)
    }
}

type Measurement = fn(&mut Setup) -> Series;

/// Measures everything and writes docs/growth.md.
pub fn run(seconds: f64) {
    let machine = Machine::here();
    let mut setup = Setup::new(KEYS[1], seconds);
    // Names of parts, for trying them: "bodies,sessions".
    let parts = std::env::var("GROWTH_PARTS").ok();
    // In this order: the last leaves another module in between.
    let measurements: [(&str, Measurement); 5] = [
        ("ledger", growth_ledger::measured),
        ("connections", growth_proxy::connections),
        ("bodies", growth_proxy::bodies),
        ("requests", growth_proxy::requests),
        ("sessions", growth_sessions::measured),
    ];
    let mut all = Vec::new();
    for (name, measure) in measurements {
        let wanted = |parts: &String| parts.split(',').any(|part| part == name);
        if parts.as_ref().is_none_or(wanted) {
            all.push(measure(&mut setup));
            println!("\n{}", table(&all[all.len() - 1]).plain());
        }
    }
    // A part of a run would take the place of a whole one.
    if parts.is_some() {
        return;
    }
    write(&machine, &all);
}

fn write(machine: &Machine, all: &[Series]) {
    let docs = docs_folder();
    let folder = docs.join("bench");
    let json = serde_json::to_string_pretty(all).expect("JSON");
    fs::write(folder.join("growth.json"), json + "\n").expect("growth.json");
    let mut markdown = format!("{}\n", machine.describe());
    for series in all {
        let file = format!("growth-{}.svg", series.name);
        fs::write(folder.join(&file), line_plot::draw(series)).expect("a picture");
        let table = table(series);
        markdown += &format!(
            "\n{}\n![{}: {} over {}](bench/{file})\n",
            table.markdown(),
            series.title,
            series.y,
            series.x
        );
    }
    replaced(Path::new("growth.md"), &markdown);
    println!("\ndocs/growth.md, docs/bench/growth.json, docs/bench/growth-*.svg");
}

/// A row for each amount of work, and one that says how each line grows.
fn table(series: &Series) -> Table {
    let amounts: Vec<f64> = series
        .lines
        .iter()
        .max_by_key(|line| line.points.len())
        .map(|line| line.points.iter().map(|point| point.0).collect())
        .unwrap_or_default();
    let mut rows: Vec<Vec<String>> = amounts
        .iter()
        .map(|amount| {
            let of_line = |line: &Line| {
                let mut points = line.points.iter();
                let point = points.find(|point| point.0 == *amount);
                point.map_or(String::new(), |point| figure(point.1))
            };
            let mut cells = vec![format!("{amount:.0}")];
            cells.extend(series.lines.iter().map(of_line));
            cells
        })
        .collect();
    let mut powers = vec!["grows by the power (first half, second half)".to_owned()];
    powers.extend(series.lines.iter().map(|line| {
        let powers = line.powers();
        powers.map_or(String::new(), |(first, second)| {
            format!("{first:.2}, {second:.2}")
        })
    }));
    rows.push(powers);
    let mut head = vec![series.x];
    head.extend(series.lines.iter().map(|line| line.name));
    Table {
        title: series.title,
        head,
        rows,
    }
}

/// Three digits that mean something.
fn figure(value: f64) -> String {
    match value {
        ..1.0 => format!("{value:.4}"),
        ..10.0 => format!("{value:.2}"),
        ..100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}
