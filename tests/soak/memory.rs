//! Memory, threads and descriptors of the client's process, and whether memory grows.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use crate::heap;
use crate::outcome::ClientOutcome;

const EACH: Duration = Duration::from_secs(1);
/// Seconds whose mean is one observation: what the allocator does within them is not a trend.
const BLOCK: usize = 15;
/// KiB of a page, on the machines that the tests run on.
const PAGE: u64 = 4;
/// So many standard errors of the difference are noise: one run in a thousand has more by chance.
const NOISE: f64 = 3.3;
/// KiB per minute below which a slope is not told from none: less than four bytes for each request.
const STEP: f64 = 16.0;

pub struct Memory {
    /// KiB, each second.
    pub heap: Vec<u64>,
    /// KiB, each second.
    pub resident: Vec<u64>,
    pub most_threads: u64,
    pub files: u64,
}

/// Looks each second until the end.
pub fn watch(end: Instant) -> Memory {
    let mut memory = Memory {
        heap: Vec::new(),
        resident: Vec::new(),
        most_threads: 0,
        files: 0,
    };
    let mut next = Instant::now() + EACH;
    while next <= end {
        while let Some(left) = next.checked_duration_since(Instant::now()) {
            thread::park_timeout(left);
        }
        next += EACH;
        memory.heap.push(heap::in_use());
        memory.resident.push(resident());
        memory.most_threads = memory.most_threads.max(entries("/proc/self/task"));
    }
    memory.files = entries("/proc/self/fd");
    memory
}

fn resident() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * PAGE
}

fn entries(folder: &str) -> u64 {
    fs::read_dir(folder).unwrap().count() as u64
}

/// The slope of the heap in use over the second half: KiB per minute, and its standard error.
#[derive(Clone, Copy, Debug)]
pub struct Trend {
    pub slope: f64,
    pub error: f64,
}

impl Trend {
    pub fn of(outcome: &ClientOutcome) -> Self {
        let second_half = &outcome.heap[outcome.heap.len() / 2..];
        let means: Vec<f64> = second_half
            .chunks_exact(BLOCK)
            .map(|block| block.iter().sum::<u64>() as f64 / BLOCK as f64)
            .collect();
        Self::through(&means, BLOCK as f64 / 60.0)
    }

    /// Least squares through values that are so many minutes apart.
    fn through(values: &[f64], apart: f64) -> Self {
        let count = values.len() as f64;
        let x = |index: usize| apart * (index as f64 - (count - 1.0) / 2.0);
        let mean = values.iter().sum::<f64>() / count;
        let spread: f64 = (0..values.len()).map(|index| x(index).powi(2)).sum();
        let with = |(index, value): (usize, &f64)| x(index) * (value - mean);
        let slope = values.iter().enumerate().map(with).sum::<f64>() / spread;
        let beside = |(index, value): (usize, &f64)| (value - mean - slope * x(index)).powi(2);
        let beside: f64 = values.iter().enumerate().map(beside).sum();
        Self {
            slope,
            error: (beside / (count - 2.0) / spread).sqrt(),
        }
    }

    pub fn is_within_noise_of(&self, other: &Self) -> bool {
        let noise = NOISE * self.error.hypot(other.error);
        self.slope - other.slope <= noise + STEP
    }
}

#[test]
fn a_leak_is_told_from_noise() {
    let noise = |index: u64| if index.is_multiple_of(2) { 20.0 } else { -20.0 };
    let calm: Vec<f64> = (0..20).map(|index| 30_000.0 + noise(index)).collect();
    // A hundred bytes for each of 80 requests a second.
    let leaking: Vec<f64> = (0..20)
        .map(|index| 30_000.0 + noise(index) + index as f64 * 117.0)
        .collect();
    let (calm, leaking) = (Trend::through(&calm, 0.25), Trend::through(&leaking, 0.25));
    assert!(
        (leaking.slope - calm.slope - 468.0).abs() < 1.0,
        "{leaking:?}"
    );
    assert!(calm.is_within_noise_of(&calm));
    assert!(!leaking.is_within_noise_of(&calm));
}
