//! What /proc tells of processes (proc(5)).

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use super::poll::found;

/// The processes that a process started and that still run. /proc/pid/task/tid/children would be quicker to read, and leaves
/// out some where one ends meanwhile.
pub fn children(pid: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").expect("proc(5)").flatten();
    processes
        .filter_map(|process| process.file_name().to_str()?.parse().ok())
        .filter(|process| {
            let stat = stat(*process);
            let mut fields = stat.split(' ');
            let (state, parent) = (fields.next(), fields.next());
            state != Some("Z") && parent.is_some_and(|parent| parent == pid.to_string())
        })
        .collect()
}

/// The command line of a process, each argument with a zero byte behind it; empty where it is none of a program. While a
/// process executes another program its memory has no command line yet: that is over at once.
pub fn command_line(pid: u32) -> Vec<u8> {
    let is_program = || fs::read_link(format!("/proc/{pid}/exe")).is_ok();
    let read = || fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    found(|| Some(read()).filter(|words| !words.is_empty() || !is_program())).unwrap_or_default()
}

/// The processes of a proxy that its launcher started and that still run: signers and front end.
pub fn launched(supervisor: u32) -> Vec<u32> {
    let launchers = children(supervisor).into_iter();
    let reads_configuration = |pid: &u32| command_line(*pid).ends_with(b"config-reader\0");
    launchers
        .flat_map(children)
        .filter(|pid| !reads_configuration(pid))
        .collect()
}

/// The memory of a process in bytes, pages that it shares by their share (PSS).
pub fn proportional_memory(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("a process");
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kibibytes.expect("its PSS") << 10
}

/// R, S, Z ...; `None` where it is no more.
pub fn state(pid: u32) -> Option<char> {
    stat(pid).chars().next()
}

/// What follows the name in /proc/pid/stat, from the state on; empty where it is no more.
fn stat(pid: u32) -> String {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .map_or_else(String::new, |(_, rest)| rest.to_owned())
}

pub fn threads(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count)
}

/// Whether the process has a thread of this name.
pub fn has_thread(pid: u32, name: &str) -> bool {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("a process");
    let names = tasks
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
    names.into_iter().any(|found| found.trim_end() == name)
}

pub fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

pub fn maps(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/maps")).expect("root may read it")
}

/// Whether a process's memory holds these bytes, anywhere but in what is a file's on the disk.
pub fn memory_holds(pid: u32, wanted: &[u8]) -> bool {
    copies_in_memory(pid, wanted) > 0
}

/// How often a process's memory holds these bytes.
pub fn copies_in_memory(pid: u32, wanted: &[u8]) -> usize {
    let ranges = memory(pid).into_iter();
    ranges
        .map(|bytes| memchr::memmem::find_iter(&bytes, wanted).count())
        .sum()
}

/// A process's memory, but for what is a file's on the disk.
pub fn memory(pid: u32) -> Vec<Vec<u8>> {
    let memory = File::open(format!("/proc/{pid}/mem")).expect("root may read it");
    let own = |line: &&str| {
        let mut words = line.split_whitespace().skip(1);
        let writable = words.next().is_some_and(|mode| mode.contains('w'));
        writable || words.nth(2) == Some("0")
    };
    let of_range = |line: &str| {
        let (from, to) = line.split(' ').next()?.split_once('-')?;
        let hexadecimal = |text| u64::from_str_radix(text, 16).ok();
        let (from, to) = (hexadecimal(from)?, hexadecimal(to)?);
        let mut bytes = vec![0; (to - from) as usize];
        // What the kernel shows of itself cannot be read.
        memory.read_exact_at(&mut bytes, from).ok()?;
        Some(bytes)
    };
    maps(pid).lines().filter(own).filter_map(of_range).collect()
}
