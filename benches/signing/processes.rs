//! The processes of a server, and the memory that they take, as Linux tells it.

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
