//! The system-call filter (seccomp): restricts a process to the system calls that it needs, and some of these to the
//! arguments that it needs. Landlock keeps files and ports from the front end; this keeps acts from it that Landlock knows
//! nothing of: a change of mode, owner or date of a file, limits and memory of other processes, programs, new kinds of
//! sockets.
//!
//! The filter is a list of what is allowed. All else fails with EPERM, and not with the end of the process, so that what was
//! refused is in the log of who tried it.
//!
//! The crate `seccompiler` compiles the list. It is kept by rust-vmm for virtual machine monitors (Firecracker, Cloud
//! Hypervisor), knows x86_64 and aarch64, installs a filter for all threads, and has nothing but `libc` below it.

mod argument;
mod front_end;
mod supervisor;
mod threads;

use std::collections::BTreeMap;
use std::env::consts::ARCH;

use libc::{ENOSYS, EPERM, c_long};
use seccompiler::{
    BackendError, BpfProgram, Error, SeccompAction, SeccompFilter, SeccompRule, TargetArch,
    apply_filter_all_threads,
};

use super::SignerError;
use super::hardening::{Measure, SYSTEM_CALL_FILTER};
use argument::Argument;

/// A system call with the arguments that it may have: one of these lists has to fit as a whole. Without a list any do.
type Allowed = (c_long, Vec<Vec<Argument>>);

/// The system calls that a process may make.
#[derive(Debug)]
pub struct SystemCallFilter {
    allowed: Vec<Allowed>,
    resolves_names: bool,
}

impl SystemCallFilter {
    /// The front end's: requests, TLS with the hub, name resolution, the access log, and the files of a reload.
    pub fn front_end() -> Self {
        Self {
            allowed: [threads::allowed(), front_end::allowed()].concat(),
            resolves_names: true,
        }
    }

    /// The same, of a front end whose connections are bound to a local address (`source_address` of `[network]`). Landlock has the
    /// ports, and nothing listens all the same.
    pub fn with_bind(mut self) -> Self {
        self.allowed.push((libc::SYS_bind, Vec::new()));
        self
    }

    /// The supervisor's: channels between its children, signals to itself, and log lines. It opens neither files nor
    /// sockets, and starts no process.
    pub fn supervisor() -> Self {
        Self {
            allowed: [threads::allowed(), supervisor::allowed()].concat(),
            resolves_names: false,
        }
    }

    /// The numbers of the system calls that are allowed, with some arguments at least.
    pub fn numbers(&self) -> Vec<c_long> {
        self.allowed.iter().map(|(number, _)| *number).collect()
    }

    /// Restricts all threads of this process, and what they start, irrevocably.
    ///
    /// # Errors
    /// The kernel has no seccomp, or this processor is one that the filter has no list for.
    pub fn enter(&self) -> Result<Measure, SignerError> {
        let programs = self.compile().map_err(|error| failed(&error))?;
        if self.resolves_names {
            front_end::load_name_service();
        }
        for program in &programs {
            apply_filter_all_threads(program).map_err(|error| match error {
                Error::Seccomp(error) => failed(&error),
                other => failed(&other),
            })?;
        }
        let conditional = self.allowed.iter().filter(|(_, lists)| !lists.is_empty());
        let detail = format!(
            "{} system calls are allowed, {} of them with some arguments only",
            self.allowed.len(),
            conditional.count()
        );
        Ok(Measure::new(SYSTEM_CALL_FILTER, true, detail))
    }

    /// Two programs, to be installed in this order. The kernel runs all of them and takes the strictest answer; of two
    /// errors that of the program that was installed last.
    fn compile(&self) -> Result<[BpfProgram; 2], BackendError> {
        let target = TargetArch::try_from(ARCH)?;
        // The flags of clone3 are in memory, which a filter cannot read. glibc takes ENOSYS as an old kernel's answer, and
        // calls clone, whose flags are an argument; after EPERM it would start no thread. So the list allows clone3.
        let clone3 = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
        let clone3 = SeccompFilter::new(clone3, SeccompAction::Allow, errno(ENOSYS), target)?;
        let mut rules: BTreeMap<c_long, Vec<SeccompRule>> = BTreeMap::new();
        for (number, lists) in &self.allowed {
            let lists: Result<Vec<_>, _> = lists.iter().map(|list| rule(list)).collect();
            rules.insert(*number, lists?);
        }
        rules.insert(libc::SYS_clone3, Vec::new());
        let list = SeccompFilter::new(rules, errno(EPERM), SeccompAction::Allow, target)?;
        Ok([clone3.try_into()?, list.try_into()?])
    }
}

fn rule(list: &[Argument]) -> Result<SeccompRule, BackendError> {
    let conditions: Result<_, _> = list.iter().map(Argument::condition).collect();
    SeccompRule::new(conditions?)
}

fn errno(number: i32) -> SeccompAction {
    SeccompAction::Errno(number.unsigned_abs())
}

fn failed(error: &dyn std::fmt::Display) -> SignerError {
    SignerError::Hardening {
        part: SYSTEM_CALL_FILTER,
        why: error.to_string(),
    }
}

/// System calls with any arguments.
fn with_any_arguments(numbers: &[c_long]) -> Vec<Allowed> {
    numbers.iter().map(|number| (*number, Vec::new())).collect()
}
