//! System calls that a filter allows with some arguments: with others they are refused.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{self, Command};
use std::thread;

use crate::common::system_call::{address, refused, system_call, works};
use libc::{
    AF_INET, AF_INET6, AF_NETLINK, AF_PACKET, AF_UNIX, AF_VSOCK, CLONE_NEWUSER, CLONE_SIGHAND,
    CLONE_THREAD, CLONE_VFORK, CLONE_VM, MAP_ANONYMOUS, MAP_PRIVATE, PROT_EXEC, PROT_READ,
    PROT_WRITE, SIGCHLD, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_NONBLOCK, SOCK_RAW, SOCK_SEQPACKET,
    SOCK_STREAM, c_long,
};

// Of <asm-generic/fcntl.h> and <asm-generic/sockios.h>; libc has neither.
const F_SETSIG: i32 = 10;
const FIOSETOWN: libc::Ioctl = 0x8901;

pub(super) fn sockets() {
    let flags = SOCK_NONBLOCK | SOCK_CLOEXEC;
    for (family, kind, protocol) in [
        (AF_UNIX, SOCK_STREAM, 0),
        (AF_UNIX, SOCK_DGRAM | flags, 0),
        (AF_NETLINK, SOCK_RAW, 0),
        (AF_PACKET, SOCK_RAW, 0),
        (AF_VSOCK, SOCK_STREAM, 0),
        (libc::AF_ALG, SOCK_SEQPACKET, 0),
        (AF_INET, SOCK_RAW, libc::IPPROTO_TCP),
        (AF_INET, SOCK_SEQPACKET, libc::IPPROTO_SCTP),
        (AF_INET, SOCK_STREAM, libc::IPPROTO_MPTCP),
        (AF_INET, SOCK_STREAM, libc::IPPROTO_SCTP),
        (AF_INET6, SOCK_DGRAM | flags, libc::IPPROTO_ICMPV6),
    ] {
        let arguments = [family, kind, protocol].map(c_long::from);
        refused("socket", libc::SYS_socket, arguments);
    }
    for kind in [
        SOCK_STREAM,
        SOCK_DGRAM,
        SOCK_STREAM | flags,
        SOCK_DGRAM | flags,
    ] {
        works(
            "socket",
            libc::SYS_socket,
            [AF_INET, kind, 0].map(c_long::from),
        );
        // A machine may have no IPv6.
        let of_ipv6 = system_call(libc::SYS_socket, [AF_INET6, kind, 0].map(c_long::from));
        assert_ne!(of_ipv6, Err(libc::EPERM));
    }
    let pair = [0_i32; 2];
    for kind in [SOCK_DGRAM, SOCK_SEQPACKET, SOCK_RAW] {
        let arguments = [AF_UNIX.into(), kind.into(), 0, address(&pair)];
        refused("socketpair", libc::SYS_socketpair, arguments);
    }
    let (mut one, mut other) = UnixStream::pair().unwrap();
    one.write_all(b"a line").unwrap();
    let text = b"by its address";
    let sendto = |flags: i32, to: c_long| {
        let socket = c_long::from(one.as_raw_fd());
        [socket, address(text), 2, flags.into(), to, 16]
    };
    refused("sendto", libc::SYS_sendto, sendto(0, address(text)));
    refused("sendto", libc::SYS_sendto, sendto(libc::MSG_FASTOPEN, 0));
    works("sendto", libc::SYS_sendto, sendto(libc::MSG_NOSIGNAL, 0));
    let socket = c_long::from(one.as_raw_fd());
    let fast_open = [socket, 0, 0, libc::MSG_FASTOPEN.into()];
    refused("sendmmsg", libc::SYS_sendmmsg, fast_open);
    works("sendmmsg", libc::SYS_sendmmsg, [socket, 0, 0, 0]);
    drop(one);
    let mut read = String::new();
    other.read_to_string(&mut read).unwrap();
    assert_eq!(read, "a lineby");
    let tcp = works(
        "socket",
        libc::SYS_socket,
        [AF_INET, SOCK_STREAM, 0].map(c_long::from),
    );
    let on = 1_i32;
    let option = |level: i32, name: i32| [tcp, level.into(), name.into(), address(&on), 4];
    refused(
        "a packet filter",
        libc::SYS_setsockopt,
        option(libc::SOL_SOCKET, libc::SO_ATTACH_FILTER),
    );
    refused(
        "TCP_ULP",
        libc::SYS_setsockopt,
        option(libc::IPPROTO_TCP, libc::TCP_ULP),
    );
    works(
        "TCP_NODELAY",
        libc::SYS_setsockopt,
        option(libc::IPPROTO_TCP, libc::TCP_NODELAY),
    );
    // None listens beside the sockets that are inherited.
    assert!(is_refused(TcpListener::bind("127.0.0.1:0")));
    assert!(is_refused(UdpSocket::bind("127.0.0.1:0")));
}

pub(super) fn descriptors() {
    let (one, _other) = UnixStream::pair().unwrap();
    let descriptor = c_long::from(one.as_raw_fd());
    let fcntl = |command: i32, value: i32| [descriptor, command.into(), value.into()];
    for (command, value) in [
        (libc::F_SETOWN, 1),
        (F_SETSIG, libc::SIGKILL),
        // Without O_APPEND, what a file has could be overwritten.
        (libc::F_SETFL, 0),
        (libc::F_SETFL, libc::O_NONBLOCK),
        (libc::F_SETLEASE, 0),
        (libc::F_SETLK, 0),
        (libc::F_NOTIFY, 0),
        (libc::F_SETPIPE_SZ, 1 << 20),
    ] {
        refused("fcntl", libc::SYS_fcntl, fcntl(command, value));
    }
    works("fcntl", libc::SYS_fcntl, fcntl(libc::F_GETFD, 0));
    works("fcntl", libc::SYS_fcntl, fcntl(libc::F_DUPFD_CLOEXEC, 3));
    let owner = process::id();
    for command in [libc::TIOCSTI, FIOSETOWN, libc::FIOASYNC, libc::SIOCGIFCONF] {
        let arguments = [descriptor, command as c_long, address(&owner)];
        refused("ioctl", libc::SYS_ioctl, arguments);
    }
    one.set_nonblocking(false).unwrap();
    // A listening socket whose reading side is closed accepts nothing any more, also in other processes.
    for side in [libc::SHUT_RD, libc::SHUT_RDWR] {
        let arguments = [descriptor, side.into()];
        refused("shutdown", libc::SYS_shutdown, arguments);
    }
    let arguments = [descriptor, libc::SHUT_WR.into()];
    works("shutdown", libc::SYS_shutdown, arguments);
}

pub(super) fn memory_and_threads() {
    let anonymous = c_long::from(MAP_PRIVATE | MAP_ANONYMOUS);
    for protection in [
        PROT_EXEC,
        PROT_READ | PROT_EXEC,
        PROT_READ | PROT_WRITE | PROT_EXEC,
    ] {
        let map = [0, 4096, protection.into(), anonymous, -1, 0];
        refused("mmap", libc::SYS_mmap, map);
    }
    let map = [0, 4096, (PROT_READ | PROT_WRITE).into(), anonymous, -1, 0];
    let page = works("mmap", libc::SYS_mmap, map);
    for (protection, may) in [(PROT_READ, true), (PROT_READ | PROT_EXEC, false)] {
        let arguments = [page, 4096, protection.into()];
        match may {
            true => drop(works("mprotect", libc::SYS_mprotect, arguments)),
            false => refused("mprotect", libc::SYS_mprotect, arguments),
        }
    }
    let thread = CLONE_VM | CLONE_SIGHAND | CLONE_THREAD;
    for flags in [
        0,
        SIGCHLD,
        CLONE_VM | CLONE_VFORK | SIGCHLD,
        CLONE_NEWUSER | SIGCHLD,
        thread | CLONE_NEWUSER,
        CLONE_VM | CLONE_SIGHAND,
    ] {
        refused("clone", libc::SYS_clone, [flags.into()]);
    }
    assert_eq!(thread::spawn(|| 7).join().unwrap(), 7);
}

pub(super) fn other_processes() {
    let parent = c_long::from(std::os::unix::process::parent_id());
    let own = c_long::from(process::id());
    let limit = [0_u64; 2];
    let nofile = c_long::from(libc::RLIMIT_NOFILE);
    let prlimit = libc::SYS_prlimit64;
    refused(
        "another's limit",
        prlimit,
        [parent, nofile, 0, address(&limit)],
    );
    refused(
        "another's limit",
        prlimit,
        [parent, nofile, address(&limit), 0],
    );
    refused("its limit", prlimit, [0, nofile, address(&limit), 0]);
    works("its limit", prlimit, [0, nofile, 0, address(&limit)]);
    assert!(limit[0] > 0);
    let thread = works("gettid", libc::SYS_gettid, []);
    refused("tgkill", libc::SYS_tgkill, [parent, parent, 0]);
    refused("kill", libc::SYS_kill, [parent, 0]);
    refused("kill of itself", libc::SYS_kill, [own, 0]);
    works("abort()", libc::SYS_tgkill, [own, thread, 0]);
    for option in [
        libc::PR_SET_DUMPABLE,
        libc::PR_SET_PDEATHSIG,
        libc::PR_SET_PTRACER,
        libc::PR_SET_MM,
    ] {
        refused("prctl", libc::SYS_prctl, [option.into(), 1]);
    }
    works(
        "prctl",
        libc::SYS_prctl,
        [libc::PR_SET_NAME.into(), address(c"of a thread")],
    );
    assert!(is_refused(Command::new("/bin/true").spawn()));
    let error = Command::new("/bin/true").exec();
    assert_eq!(error.raw_os_error(), Some(libc::EPERM), "{error}");
}

pub(super) fn append(path: &Path) -> std::io::Result<File> {
    File::options().append(true).create(true).open(path)
}

pub(super) fn is_refused<T>(result: std::io::Result<T>) -> bool {
    result.is_err_and(|error| error.raw_os_error() == Some(libc::EPERM))
}
