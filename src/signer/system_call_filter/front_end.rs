//! What the front end needs beside threads: connections of callers and to the hub, names, the files of a reload and of name
//! resolution to read, and the access log to append to.
//!
//! Names come from files and from DNS: the sockets of nscd, systemd-resolved's own protocol and netlink are refused, and the
//! C library goes on without them. It loads its name service modules at the first use, and code cannot be mapped under the
//! filter: `load_name_service` has them loaded before.

use std::net::ToSocketAddrs as _;

use libc::{
    IPPROTO_IP, IPPROTO_IPV6, IPPROTO_TCP, IPPROTO_UDP, O_ACCMODE, O_APPEND, O_CREAT, O_DIRECTORY,
    O_TMPFILE, O_TRUNC, O_WRONLY, SOCK_DGRAM, SOCK_STREAM, SOL_SOCKET, c_long,
};

use super::argument::{Argument, bits};
use super::threads::{of_type, socket_pair};
use super::{Allowed, with_any_arguments};

const ANY_ARGUMENTS: &[c_long] = &[
    // Connections. None listens beside the sockets that are inherited.
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_connect,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    // musl binds the socket of a DNS query.
    #[cfg(target_env = "musl")]
    libc::SYS_bind,
    // Files. Landlock has which.
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fstat,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
    libc::SYS_lseek,
    libc::SYS_newfstatat,
    libc::SYS_pread64,
    libc::SYS_readlinkat,
    libc::SYS_statx,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_access,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lstat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_readlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_stat,
    // Who this process is, for the advice of errors; the host's name, for the search list of DNS.
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getgroups,
    libc::SYS_getuid,
    libc::SYS_uname,
];

/// The options of sockets that are set.
const OPTIONS: &[(i32, i32)] = &[
    (IPPROTO_TCP, libc::TCP_NODELAY),
    (SOL_SOCKET, libc::SO_KEEPALIVE),
    (SOL_SOCKET, libc::SO_LINGER),
    // The C library's resolver.
    (IPPROTO_IP, libc::IP_RECVERR),
    (IPPROTO_IP, libc::IP_MTU_DISCOVER),
    (IPPROTO_IPV6, libc::IPV6_RECVERR),
    (IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER),
    (IPPROTO_IPV6, libc::IPV6_V6ONLY),
];

pub(super) fn allowed() -> Vec<Allowed> {
    let mut allowed = with_any_arguments(ANY_ARGUMENTS);
    let option = |(level, name): &(i32, i32)| {
        vec![Argument::Is(1, bits(*level)), Argument::Is(2, bits(*name))]
    };
    allowed.extend([
        (libc::SYS_openat, opening(2)),
        #[cfg(target_arch = "x86_64")]
        (libc::SYS_open, opening(1)),
        (libc::SYS_socket, sockets()),
        // tokio's, through which a signal wakes it.
        (libc::SYS_socketpair, vec![socket_pair(SOCK_STREAM)]),
        (libc::SYS_setsockopt, OPTIONS.iter().map(option).collect()),
        // glibc's resolver asks for both kinds of addresses at once.
        (
            libc::SYS_sendmmsg,
            vec![vec![Argument::without(3, bits(libc::MSG_FASTOPEN))]],
        ),
    ]);
    allowed
}

/// The flags of a file that is opened, as the argument `at`: to read, or to append to and make, as the access log is.
fn opening(at: u8) -> Vec<Vec<Argument>> {
    let temporary = O_TMPFILE & !O_DIRECTORY;
    let mask = bits(O_ACCMODE | O_CREAT | O_TRUNC | temporary);
    vec![
        vec![Argument::without(at, mask)],
        vec![Argument::Bits {
            at,
            mask: mask | bits(O_APPEND),
            value: bits(O_WRONLY | O_CREAT | O_APPEND),
        }],
    ]
}

/// TCP and UDP. Not MPTCP and the like, which are other ways to a port that Landlock refuses.
fn sockets() -> Vec<Vec<Argument>> {
    let kinds = [
        (SOCK_STREAM, 0),
        (SOCK_STREAM, IPPROTO_TCP),
        (SOCK_DGRAM, 0),
        (SOCK_DGRAM, IPPROTO_UDP),
    ];
    let families = [libc::AF_INET, libc::AF_INET6];
    let of_family = |family: i32| {
        kinds.map(|(kind, protocol)| {
            vec![
                Argument::Is(0, bits(family)),
                of_type(kind),
                Argument::Is(2, bits(protocol)),
            ]
        })
    };
    families.into_iter().flat_map(of_family).collect()
}

/// Has the C library load what it resolves names with. A label of 64 characters is one more than DNS allows: each module is
/// loaded for it, and none asks the network.
pub(super) fn load_name_service() {
    // It fails: that is what it is for.
    drop(("x".repeat(64).as_str(), 0).to_socket_addrs());
}
