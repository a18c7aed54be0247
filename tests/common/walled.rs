//! A signer process as a test starts it, and what /proc tells of processes.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use hsm_mtls::internal::config::Config;
use hsm_mtls::internal::signer::signer_supervisor::Launch;

use super::bank::{BINARY, Bank};
use super::chaos::Chaos;

/// The command, as a signer of this bank's.
pub fn launch(bank: &Bank, chaos: Option<&Chaos>) -> Launch {
    launch_of(&config(bank), chaos)
}

pub fn launch_of(config: &Config, chaos: Option<&Chaos>) -> Launch {
    let mut environment: BTreeMap<String, String> = config.token.env.clone();
    let text = |path: PathBuf| path.to_str().expect("a plain path").to_owned();
    if let Some(chaos) = chaos {
        let more = chaos.environment();
        environment.extend(more.map(|(name, value)| (name.to_owned(), text(value))));
    }
    Launch {
        program: BINARY
            .expect("cargo tells tests where the command is")
            .into(),
        arguments: vec![
            "--config".into(),
            config.path.clone().into(),
            "signer".into(),
        ],
        environment,
        attended: false,
        configuration: None,
    }
}

pub fn config(bank: &Bank) -> Config {
    Config::load(&bank.config_path()).expect("the bank's configuration")
}

/// The signer processes of a bank that run.
pub fn signers(bank: &Bank) -> Vec<u32> {
    let path = bank.config_path();
    let path = path.to_str().expect("a plain path").as_bytes();
    let processes = fs::read_dir("/proc").expect("/proc").flatten();
    processes
        .filter_map(|process| process.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            let argv = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let mut words = argv.split(|byte| *byte == 0);
            words.any(|word| word == path) && argv.ends_with(b"signer\0")
        })
        .filter(|pid| state(*pid).is_some_and(|state| state != 'Z'))
        .collect()
}

/// The processes that a process started and that still run.
pub fn children(pid: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"));
    let tasks = tasks.into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists
        .flat_map(|list| {
            list.split_whitespace()
                .filter_map(|pid| pid.parse().ok())
                .collect::<Vec<_>>()
        })
        .filter(|pid| state(*pid).is_some_and(|state| state != 'Z'))
        .collect()
}

/// R, S, Z ...; `None` where it is no more.
pub fn state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
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
    let memory = File::open(format!("/proc/{pid}/mem")).expect("root may read it");
    let own = |line: &&str| {
        let mut words = line.split_whitespace().skip(1);
        let writable = words.next().is_some_and(|mode| mode.contains('w'));
        writable || words.nth(2) == Some("0")
    };
    maps(pid).lines().filter(own).any(|line| {
        let range = line
            .split(' ')
            .next()
            .and_then(|range| range.split_once('-'));
        let range = range.and_then(|(from, to)| {
            let hexadecimal = |text| u64::from_str_radix(text, 16).ok();
            Some((hexadecimal(from)?, hexadecimal(to)?))
        });
        let Some((from, to)) = range else {
            return false;
        };
        let mut bytes = vec![0; (to - from) as usize];
        // What the kernel shows of itself cannot be read.
        memory.read_exact_at(&mut bytes, from).is_ok()
            && memchr::memmem::find(&bytes, wanted).is_some()
    })
}
