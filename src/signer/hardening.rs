//! What a process gives up before it does anything: what it will not need, somebody who takes it over
//! will not have.

use std::fs;

use rustix::process::{
    DumpableBehavior, Resource, Rlimit, Signal, set_dumpable_behavior,
    set_parent_process_death_signal, setrlimit,
};
use rustix::thread::set_no_new_privs;
use serde::{Deserialize, Serialize};

/// One part of the hardening, and whether it is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// What it is.
    pub name: String,
    /// Whether it is in force.
    pub in_force: bool,
    /// What was found, or why it is not.
    pub detail: String,
}

impl Part {
    pub(super) fn new(name: &str, in_force: bool, detail: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            in_force,
            detail: detail.into(),
        }
    }

    fn of(name: &str, done: rustix::io::Result<()>, detail: &str) -> Self {
        match done {
            Ok(()) => Self::new(name, true, detail),
            Err(error) => Self::new(name, false, error.to_string()),
        }
    }
}

/// Hardens this process; after the exec, because that undoes some of it. `handed` descriptors were
/// given to it beside the three of every program.
pub fn harden(handed: usize) -> Vec<Part> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    vec![
        Part::of(
            "not dumpable",
            set_dumpable_behavior(DumpableBehavior::NotDumpable),
            "nobody of this user can trace it or read its memory",
        ),
        Part::of(
            "no core file",
            setrlimit(Resource::Core, none),
            "RLIMIT_CORE is 0",
        ),
        Part::of(
            "no new privileges",
            set_no_new_privs(true),
            "PR_SET_NO_NEW_PRIVS",
        ),
        descriptors(handed),
    ]
}

/// Says in the log what is not in force in a process.
pub(super) fn tell(parts: &[Part], process: &str) {
    for part in parts.iter().filter(|part| !part.in_force) {
        tracing::info!(
            process,
            part = part.name,
            detail = part.detail,
            "not in force"
        );
    }
}

/// Ends this process when whoever started it has ended, however that was.
pub fn end_with_parent() -> Part {
    Part::of(
        "ends with its parent",
        set_parent_process_death_signal(Some(Signal::KILL)),
        "PR_SET_PDEATHSIG",
    )
}

/// Whether more is open than standard input, output and error.
///
/// # Errors
/// There is no /proc.
pub fn has_strays() -> std::io::Result<bool> {
    // The folder that is being read is open too.
    Ok(fs::read_dir("/proc/self/fd")?.count() > 4)
}

/// Keeps descriptors that this process was started with from those that it starts.
pub fn keep_descriptors() {
    close_fds::set_fds_cloexec(3, &[]);
}

fn descriptors(handed: usize) -> Part {
    const NAME: &str = "only the needed descriptors";
    // Standard input, output and error, and the folder that is being read.
    let needed = handed + 4;
    match fs::read_dir("/proc/self/fd").map(Iterator::count) {
        Ok(open) if open <= needed => {
            Part::new(NAME, true, format!("{handed} beside the usual three"))
        }
        Ok(open) => Part::new(
            NAME,
            false,
            format!("{} more than needed are open", open - needed),
        ),
        Err(error) => Part::new(NAME, false, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_too_many_is_told() {
        let open = fs::read_dir("/proc/self/fd")
            .map(Iterator::count)
            .unwrap_or_default();
        assert!(!descriptors(0).in_force || open <= 4, "{open} are open");
        assert!(descriptors(open + 50).in_force);
    }
}
