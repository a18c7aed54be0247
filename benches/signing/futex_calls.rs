//! The futex calls of a proxy's threads while a load runs: each is a thread that waits for another, or that wakes one.
//! Counted in a run of its own, because counting costs time.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::role::{Measured, Role, play, play_under};
use crate::servers::program;

const EVENT: &str = "syscalls:sys_enter_futex";

/// Futex calls of the processes while the load runs, and what the load was; an error says for the table what is missing.
pub fn count(processes: &[u32], load: &Role) -> Result<(u64, Measured), String> {
    let folder = tempfile::tempdir().expect("a folder for counts");
    let file = folder.path().join("counts");
    if let Some(found) = by_perf(processes, load, &file) {
        return Ok(found);
    }
    by_strace(processes, load, &file)
}

/// `perf stat -p PROCESSES -- LOAD` counts the processes for as long as the load runs. `None` where there is no perf, or where
/// the kernel lets it see no system calls.
fn by_perf(processes: &[u32], load: &Role, file: &Path) -> Option<(u64, Measured)> {
    let perf = program(&["perf"])?;
    let list: Vec<_> = processes.iter().map(u32::to_string).collect();
    let usable = Command::new(&perf)
        .args(["stat", "-x", ",", "-e", EVENT, "--", "true"])
        .output()
        .is_ok_and(|done| done.status.success());
    if !usable {
        return None;
    }
    let words: Vec<OsString> = [perf.as_os_str()]
        .into_iter()
        .map(OsString::from)
        .chain(["stat", "-x", ",", "-e", EVENT, "-p"].map(OsString::from))
        .chain([list.join(",").into(), "-o".into(), file.into(), "--".into()])
        .collect();
    let measured = play_under(&words, load, &[]);
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.contains(EVENT))?;
    Some((line.split(',').next()?.parse().ok()?, measured))
}

/// By ptrace, which slows the processes down more.
fn by_strace(processes: &[u32], load: &Role, file: &Path) -> Result<(u64, Measured), String> {
    let strace = program(&["strace"]).ok_or("neither perf nor strace is installed")?;
    let mut command = Command::new(strace);
    command
        .args(["-f", "-c", "-e", "trace=futex", "-o"])
        .arg(file);
    for process in processes {
        command.args(["-p", &process.to_string()]);
    }
    let spawned = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn();
    let mut tracer = spawned.map_err(|error| error.to_string())?;
    if !attached(&mut tracer, processes.len()) {
        let _ = tracer.wait();
        return Err("may not trace".to_owned());
    }
    let measured = play(load, &[]);
    let _ = Command::new("kill")
        .args(["-INT", &tracer.id().to_string()])
        .status();
    let _ = tracer.wait();
    let text = fs::read_to_string(file).map_err(|error| error.to_string())?;
    // % time     seconds  usecs/call     calls    errors syscall
    let line = text.lines().find(|line| line.ends_with(" futex"));
    let calls = line.map_or(Some(0), |line| line.split_whitespace().nth(3)?.parse().ok());
    let calls = calls.ok_or("strace's table is of another form")?;
    Ok((calls, measured))
}

/// Waits until strace says so of each process: it does of the first thread of each, before the load begins.
fn attached(tracer: &mut Child, processes: usize) -> bool {
    let Some(messages) = tracer.stderr.take() else {
        return false;
    };
    let mut lines = BufReader::new(messages).lines().map_while(Result::ok);
    let seen = lines.by_ref().filter(|line| line.contains("attached"));
    let all = seen.take(processes).count() == processes;
    // strace goes on writing: what nobody reads would stop it.
    std::thread::spawn(move || lines.for_each(drop));
    all
}
