//! Hardening of a process at its start: it gives up privileges, core dumps and descriptors that it does not need, so that an
//! attacker who takes it over does not have them.

use std::fs;

use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, Signal, getrlimit, set_dumpable_behavior,
    set_parent_process_death_signal, setrlimit,
};
use rustix::thread::{CapabilitySet, capabilities, set_no_new_privs};
use serde::{Deserialize, Serialize};

/// The name of the measure that `system_call_filter` is.
pub(super) const SYSTEM_CALL_FILTER: &str = "system call filter";

/// The name of the measure of the locked memory.
pub const MEMORY_LOCKED: &str = "memory locked";

/// One hardening measure, and whether it is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measure {
    /// Its name.
    pub name: String,
    /// Whether it is in force.
    pub in_force: bool,
    /// How it is in force, or why it is not.
    pub detail: String,
}

impl Measure {
    pub(super) fn new(name: &str, in_force: bool, detail: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            in_force,
            detail: detail.into(),
        }
    }

    fn of(name: &str, applied: rustix::io::Result<()>, detail: &str) -> Self {
        match applied {
            Ok(()) => Self::new(name, true, detail),
            Err(error) => Self::new(name, false, error.to_string()),
        }
    }
}

/// Hardens this process. To be called after the exec, which resets some of the measures. `inherited` is the number of
/// descriptors that the process inherited, without the three standard streams.
pub fn harden(inherited: usize) -> Vec<Measure> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    vec![
        not_dumpable(),
        Measure::of(
            "no core file",
            setrlimit(Resource::Core, none),
            "RLIMIT_CORE is 0",
        ),
        Measure::of(
            "no new privileges",
            set_no_new_privs(true),
            "PR_SET_NO_NEW_PRIVS",
        ),
        check_descriptors(inherited),
    ]
}

/// Keeps other processes of the same user from tracing this one.
pub fn not_dumpable() -> Measure {
    Measure::of(
        "not dumpable",
        set_dumpable_behavior(DumpableBehavior::NotDumpable),
        "nobody of this user can trace it or read its memory",
    )
}

/// Logs the measures that are not in force.
pub(super) fn log_missing(measures: &[Measure], process: &str) {
    for measure in measures.iter().filter(|measure| !measure.in_force) {
        tracing::info!(
            process,
            part = measure.name,
            detail = measure.detail,
            "not in force"
        );
    }
}

/// Makes the kernel kill this process when its parent ends.
pub fn end_with_parent() -> Measure {
    Measure::of(
        "ends with its parent",
        set_parent_process_death_signal(Some(Signal::KILL)),
        "PR_SET_PDEATHSIG",
    )
}

/// Lifts the limit of locked memory where this process may: a user that it becomes later may not.
pub(super) fn lift_memory_limit() {
    let unlimited = Rlimit {
        current: None,
        maximum: None,
    };
    // Fails without privileges, unless the hard limit is unlimited.
    let _ = setrlimit(Resource::Memlock, unlimited);
}

/// Keeps the memory of this process out of swap, now and later: the process has a PIN, and so has the module somewhere.
///
/// Each page is locked when it is first used. With a limit, whatever is mapped later counts against it at once, and the
/// module would be refused memory: so memory is locked only without one.
pub(super) fn lock_memory() -> Measure {
    match getrlimit(Resource::Memlock)
        .current
        .filter(|_| !is_past_memory_limit())
    {
        None => Measure::of(
            MEMORY_LOCKED,
            mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT),
            "nothing of it is swapped",
        ),
        Some(limit) => Measure::new(
            MEMORY_LOCKED,
            false,
            format!(
                "RLIMIT_MEMLOCK is {} KiB, and has to be unlimited (LimitMEMLOCK=infinity of systemd, `ulimit -l unlimited`)",
                limit >> 10
            ),
        ),
    }
}

/// Whether RLIMIT_MEMLOCK does not hold for this process. A capability counts there in the first user namespace only.
fn is_past_memory_limit() -> bool {
    let capable = capabilities(None).is_ok_and(|sets| {
        let lock = CapabilitySet::IPC_LOCK;
        sets.effective.contains(lock)
    });
    let users = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    capable && users.split_whitespace().eq(["0", "0", "4294967295"])
}

/// Whether other descriptors than standard input, output and error are open.
///
/// # Errors
/// There is no /proc.
pub fn has_stray_descriptors() -> std::io::Result<bool> {
    // The fourth is that of the folder that is being read.
    Ok(fs::read_dir("/proc/self/fd")?.count() > 4)
}

/// Sets FD_CLOEXEC on all descriptors but the standard streams: child processes do not inherit them.
pub fn close_descriptors_on_exec() {
    close_fds::set_fds_cloexec(3, &[]);
}

fn check_descriptors(inherited: usize) -> Measure {
    const NAME: &str = "only the needed descriptors";
    // Three for the standard streams, and one for the folder that is being read.
    let needed = inherited + 4;
    match fs::read_dir("/proc/self/fd").map(Iterator::count) {
        Ok(open) if open <= needed => {
            Measure::new(NAME, true, format!("{inherited} beside the usual three"))
        }
        Ok(open) => Measure::new(
            NAME,
            false,
            format!("{} more than needed are open", open - needed),
        ),
        Err(error) => Measure::new(NAME, false, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unneeded_descriptor_is_found() {
        let open = fs::read_dir("/proc/self/fd")
            .map(Iterator::count)
            .unwrap_or_default();
        assert!(
            !check_descriptors(0).in_force || open <= 4,
            "{open} are open"
        );
        assert!(check_descriptors(open + 50).in_force);
    }
}
