//! The chart of the key's uses, as SVG: a bar for each day, stacked by purpose. Each purpose has a pattern, which can be read
//! without colour.

use std::collections::{BTreeMap, BTreeSet};

use maud::{Markup, PreEscaped, html};

use crate::audit::ledger_check::KeyUsage;

/// Sizes in units of the drawing.
const WIDTH: usize = 720;
const HEIGHT: usize = 180;
const LEFT_MARGIN: usize = 60;
const BOTTOM_MARGIN: usize = 30;
/// How many days are drawn. Older uses are in the ledger only.
const MAX_DAYS: usize = 92;
/// Fill colours, and the paths of their hatching.
const FILLS: [(&str, &str); 5] = [
    ("#222", ""),
    ("#777", "M0 6L6 0"),
    ("#bbb", "M0 3H6"),
    ("#eee", "M3 0V6"),
    ("#999", "M0 0L6 6M0 6L6 0"),
];

/// Draws the chart.
pub(super) fn uses_per_day(uses: &[KeyUsage]) -> Markup {
    let mut by_day: BTreeMap<&str, BTreeMap<&str, u64>> = BTreeMap::new();
    let mut purposes = BTreeSet::new();
    for usage in uses {
        let day = by_day.entry(&usage.day).or_default();
        *day.entry(&usage.purpose).or_default() += usage.count;
        purposes.insert(usage.purpose.as_str());
    }
    let left_out = by_day.len().saturating_sub(MAX_DAYS);
    let days: Vec<_> = by_day.into_iter().skip(left_out).collect();
    let max_count = days
        .iter()
        .map(|(_, day)| day.values().sum::<u64>())
        .max()
        .unwrap_or(1)
        .max(1);
    let step = (WIDTH - LEFT_MARGIN) / days.len().max(1);
    let bar_width = step.saturating_sub(2).clamp(2, 40);
    let purposes: Vec<_> = purposes.into_iter().collect();
    let segments = |number: usize, day: &BTreeMap<&str, u64>| {
        let mut top = HEIGHT;
        let mut parts = Vec::new();
        for (index, purpose) in purposes.iter().enumerate() {
            let count = day.get(purpose).copied().unwrap_or(0);
            if count > 0 {
                // A single use must be visible.
                let height = (count as usize * (HEIGHT - 12) / max_count as usize).max(2);
                top = top.saturating_sub(height);
                parts.push((
                    LEFT_MARGIN + number * step,
                    top,
                    height,
                    index % FILLS.len(),
                    count,
                    *purpose,
                ));
            }
        }
        parts
    };
    let (first, last) = (days.first(), days.last());
    html! {
        figure {
            svg xmlns="http://www.w3.org/2000/svg" viewBox=(format!("0 0 {WIDTH} {}", HEIGHT + BOTTOM_MARGIN)) role="img" {
                title { "Uses of the key per day, by purpose" }
                defs { @for (number, (fill, path)) in FILLS.iter().enumerate() {
                    pattern id=(format!("p{number}")) width="6" height="6" patternUnits="userSpaceOnUse" {
                        rect width="6" height="6" fill=(fill) {}
                        @if !path.is_empty() { path d=(path) stroke="#000" stroke-width="1" fill="none" {} }
                    }
                } }
                line x1=(LEFT_MARGIN) y1=(HEIGHT) x2=(WIDTH) y2=(HEIGHT) stroke="#000" {}
                text x=(LEFT_MARGIN - 6) y="14" text-anchor="end" font-size="11" { (max_count) }
                text x=(LEFT_MARGIN - 6) y=(HEIGHT) text-anchor="end" font-size="11" { "0" }
                @for (number, (name, day)) in days.iter().enumerate() {
                    @for (x, y, height, fill, count, purpose) in segments(number, day) {
                        rect x=(x) y=(y) width=(bar_width) height=(height) fill=(format!("url(#p{fill})")) stroke="#000" stroke-width="0.5" {
                            title { (name) ": " (purpose) " " (count) }
                        }
                    }
                }
                @if let Some((day, _)) = first {
                    text x=(LEFT_MARGIN) y=(HEIGHT + 16) font-size="11" { (day) }
                }
                @if let Some((day, _)) = last.filter(|_| days.len() > 1) {
                    text x=(WIDTH) y=(HEIGHT + 16) text-anchor="end" font-size="11" { (day) }
                }
            }
            figcaption {
                @for (number, purpose) in purposes.iter().enumerate() {
                    @let total: u64 = uses.iter().filter(|usage| usage.purpose == *purpose).map(|usage| usage.count).sum();
                    svg width="12" height="12" viewBox="0 0 12 12" {
                        rect width="12" height="12" fill=(format!("url(#p{})", number % FILLS.len())) stroke="#000" {}
                    }
                    " " (purpose) " " (total) (PreEscaped("&emsp;"))
                }
                @if left_out > 0 { "(the last " (MAX_DAYS) " days on which it was used)" }
            }
        }
    }
}
