//! Pairs in turn within one run: what disturbs the machine disturbs both, so the ratio of the medians says more than two
//! figures of different minutes, and the spread of the pairs says how much it is worth.

use serde::Serialize;

/// Of one figure, ours beside another client's.
#[derive(Clone, Copy, Serialize)]
pub struct Ratio {
    /// Medians of the rounds, in the figure's unit.
    pub ours: f64,
    pub theirs: f64,
    pub of_medians: f64,
    /// The least and the greatest ratio of a single pair.
    pub least: f64,
    pub most: f64,
    pub pairs: usize,
}

impl Ratio {
    /// `None` without a pair.
    pub fn of(pairs: &[(f64, f64)]) -> Option<Self> {
        let ours = median(pairs.iter().map(|pair| pair.0).collect())?;
        let theirs = median(pairs.iter().map(|pair| pair.1).collect())?;
        let ratios = || pairs.iter().map(|(ours, theirs)| ours / theirs);
        Some(Self {
            ours,
            theirs,
            of_medians: ours / theirs,
            least: ratios().fold(f64::INFINITY, f64::min),
            most: ratios().fold(0.0, f64::max),
            pairs: pairs.len(),
        })
    }

    /// The ratio with its spread.
    pub fn text(&self) -> String {
        let Self {
            of_medians,
            least,
            most,
            ..
        } = self;
        format!("{of_medians:.2} ({least:.2} to {most:.2})")
    }

    /// The same with what it is made of.
    pub fn with_figures(&self, unit: &str) -> String {
        let Self { ours, theirs, .. } = *self;
        let digits = if ours.min(theirs) < 100.0 { 1 } else { 0 };
        format!(
            "{}; {ours:.digits$} {unit} : {theirs:.digits$} {unit}",
            self.text()
        )
    }
}

/// `None` of nothing.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() % 2 {
        1 => values.get(middle).copied(),
        _ => Some((values.get(middle.checked_sub(1)?)? + values.get(middle)?) / 2.0),
    }
}
