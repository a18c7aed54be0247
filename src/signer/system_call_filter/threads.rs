//! What each process needs to run at all: threads, memory, signals, clocks, waiting for descriptors, and reading and writing
//! those that it has. Of a call in several versions all are listed, because another C library or an older kernel uses another.

use std::process;

use libc::{
    CLONE_NEWCGROUP, CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWUSER,
    CLONE_NEWUTS, CLONE_PTRACE, CLONE_SIGHAND, CLONE_THREAD, CLONE_VM, c_long,
};

use super::argument::{Argument, bits, one_of};
use super::{Allowed, with_any_arguments};

const ANY_ARGUMENTS: &[c_long] = &[
    // Threads.
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_getcpu,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_membarrier,
    libc::SYS_rseq,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    // Memory.
    libc::SYS_brk,
    libc::SYS_getrandom,
    libc::SYS_madvise,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_sysinfo,
    // Signals to itself.
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    // Clocks.
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_nanosleep,
    // Descriptors.
    libc::SYS_close,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_getsockopt,
    libc::SYS_ppoll,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_write,
    libc::SYS_writev,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_time,
];

/// The flags of a thread, and those of another process and of namespaces.
const THREAD: u32 = bits(CLONE_VM | CLONE_SIGHAND | CLONE_THREAD);
const NO_THREAD: u32 = bits(
    CLONE_PTRACE
        | CLONE_NEWCGROUP
        | CLONE_NEWIPC
        | CLONE_NEWNET
        | CLONE_NEWNS
        | CLONE_NEWPID
        | CLONE_NEWUSER
        | CLONE_NEWUTS,
);

pub(super) fn allowed() -> Vec<Allowed> {
    let mut allowed = with_any_arguments(ANY_ARGUMENTS);
    let no_code = vec![vec![Argument::without(2, bits(libc::PROT_EXEC))]];
    let thread = Argument::Bits {
        at: 0,
        mask: THREAD | NO_THREAD,
        value: THREAD,
    };
    // Descriptors of this process only: no signals to others (F_SETOWN), no locks, no leases. Not F_SETFL: a file that may be
    // appended to could be overwritten without O_APPEND, and other processes share the flags of a description.
    let descriptor_flags = one_of(
        1,
        &[
            bits(libc::F_GETFD),
            bits(libc::F_SETFD),
            bits(libc::F_GETFL),
            bits(libc::F_DUPFD_CLOEXEC),
        ],
    );
    allowed.extend([
        (libc::SYS_clone, vec![vec![thread]]),
        // New memory never holds code: what there is was mapped before.
        (libc::SYS_mmap, no_code.clone()),
        (libc::SYS_mprotect, no_code),
        // The name of a thread, and what the kernel told this process at its start (rustix asks for it when it needs a clock).
        // Not dumpable, no new privileges and the end with the parent stay as they are.
        (
            libc::SYS_prctl,
            one_of(0, &[bits(libc::PR_SET_NAME), PR_GET_AUXV]),
        ),
        (libc::SYS_fcntl, descriptor_flags),
        (
            libc::SYS_ioctl,
            one_of(1, &[FIONBIO, FIOCLEX, TCGETS, TIOCGWINSZ]),
        ),
        // abort() sends a signal to its own thread.
        (libc::SYS_tgkill, vec![vec![Argument::Is(0, process::id())]]),
        // To a connected socket only: an address would be a way round Landlock's rules for connect, as would MSG_FASTOPEN.
        (
            libc::SYS_sendto,
            vec![vec![
                Argument::without(3, bits(libc::MSG_FASTOPEN)),
                Argument::Null(4),
            ]],
        ),
        // Not of the reading side: that would close a listening socket, which others share, for good.
        (
            libc::SYS_shutdown,
            vec![vec![Argument::Is(1, bits(libc::SHUT_WR))]],
        ),
        // Its own limits, and to read only.
        (
            libc::SYS_prlimit64,
            vec![vec![Argument::Is(0, 0), Argument::Null(2)]],
        ),
    ]);
    allowed
}

// libc's types of these differ between C libraries.
const FIONBIO: u32 = libc::FIONBIO as u32;
const FIOCLEX: u32 = libc::FIOCLEX as u32;
/// Whether a descriptor is a terminal, and how wide.
const TCGETS: u32 = libc::TCGETS as u32;
const TIOCGWINSZ: u32 = libc::TIOCGWINSZ as u32;
/// Of <linux/prctl.h>, from Linux 6.4 on; libc has it not.
const PR_GET_AUXV: u32 = 0x4155_5856;

/// A pair of connected Unix sockets of this type. A pair of datagram sockets could be connected to other sockets.
pub(super) fn socket_pair(socket_type: i32) -> Vec<Argument> {
    vec![
        Argument::Is(0, bits(libc::AF_UNIX)),
        of_type(socket_type),
        Argument::Is(2, 0),
    ]
}

/// A socket's type as second argument, whatever flags are with it.
pub(super) fn of_type(socket_type: i32) -> Argument {
    Argument::Bits {
        at: 1,
        mask: !bits(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC),
        value: bits(socket_type),
    }
}
