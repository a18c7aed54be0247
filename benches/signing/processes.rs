//! The processes of a server, the memory that they take and how often they were switched, as Linux tells it.

use std::collections::BTreeMap;
use std::fs;

/// A process and all below it: those that any of its threads has started, and theirs.
pub fn tree(root: u32) -> Vec<u32> {
    let mut all = vec![root];
    let mut at = 0;
    while let Some(process) = all.get(at) {
        let below = children(*process);
        all.extend(below);
        at += 1;
    }
    all
}

fn children(process: u32) -> Vec<u32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else {
        return Vec::new();
    };
    let of_thread = |thread: fs::DirEntry| {
        let listed = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        let ids = listed.split_whitespace();
        ids.filter_map(|id| id.parse().ok()).collect::<Vec<u32>>()
    };
    threads.flatten().flat_map(of_thread).collect()
}

/// The most that each was resident with since it began, in KiB.
pub fn peaks_kib(processes: &[u32]) -> Option<Vec<u64>> {
    let peak = |process: &u32| kibibytes(*process, "status", "VmHWM:");
    processes.iter().map(peak).collect()
}

/// What they are resident with now, in KiB: a page that several share counts once, or less where
/// others have it too. None where the kernel does not say: processes that let nobody look into them
/// say it to root only.
pub fn pss_kib(processes: &[u32]) -> Option<u64> {
    let pss = |process: &u32| kibibytes(*process, "smaps_rollup", "Pss:");
    processes.iter().map(pss).sum()
}

fn kibibytes(process: u32, file: &str, field: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/{file}")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Context switches of all threads of some processes since a moment, those that they wanted (they wait) and those that they did
/// not (another took the processor). The kernel keeps them for each thread, and for one that has ended no more: what is
/// seen last of it counts, so the look has to be repeated.
pub struct Switches {
    processes: Vec<u32>,
    before: BTreeMap<(u32, u32), u64>,
    seen: BTreeMap<(u32, u32), u64>,
}

impl Switches {
    pub fn since_now(processes: &[u32]) -> Self {
        let mut all = Self {
            processes: processes.to_vec(),
            before: BTreeMap::new(),
            seen: BTreeMap::new(),
        };
        all.look();
        all.before = all.seen.clone();
        all
    }

    pub fn look(&mut self) {
        for process in &self.processes {
            let threads = fs::read_dir(format!("/proc/{process}/task"));
            for thread in threads.into_iter().flatten().flatten() {
                let id = thread.file_name().to_str().and_then(|id| id.parse().ok());
                let status = fs::read_to_string(thread.path().join("status"));
                if let (Some(id), Ok(status)) = (id, status) {
                    self.seen.insert((*process, id), switches(&status));
                }
            }
        }
    }

    /// Until the last look.
    pub fn count(&self) -> u64 {
        let since = |(thread, count): (&(u32, u32), &u64)| {
            count.saturating_sub(self.before.get(thread).copied().unwrap_or(0))
        };
        self.seen.iter().map(since).sum()
    }
}

fn switches(status: &str) -> u64 {
    let of = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().parse::<u64>().ok()
    };
    ["voluntary_ctxt_switches:", "nonvoluntary_ctxt_switches:"]
        .iter()
        .filter_map(|name| of(name))
        .sum()
}
