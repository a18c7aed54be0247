//! The supervisor's system call filter, tried from inside: what whoever took it over would do, and what it does.

use std::fs::File;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{self, Command};
use std::time::Duration;

use crate::common::bank::{Bank, config_of_child};
use crate::common::system_call::{address, all_others_are_refused, refused, works};
use crate::system_call_arguments::{
    append, descriptors, is_refused, memory_and_threads, other_processes,
};
use hsm_mtls::internal::signer::hardening::harden;
use hsm_mtls::internal::signer::system_call_filter::SystemCallFilter;
use libc::{AF_UNIX, SOCK_DGRAM, c_long};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use tokio::signal::unix::{SignalKind, signal};

#[test]
fn the_supervisor_opens_no_file_and_no_socket_and_starts_nothing() {
    Bank::new().run_test(supervisor_beyond_its_list, &[]);
}

#[test]
fn supervisor_beyond_its_list() {
    let Some(config) = config_of_child() else {
        return;
    };
    harden(0);
    // What an answer of the launcher wakes.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let filter = SystemCallFilter::supervisor();
    assert!(filter.enter().unwrap().in_force);
    all_others_are_refused(&filter.numbers());
    assert!(is_refused(File::open(&config.path)));
    assert!(is_refused(append(Path::new("/tmp/hsm-mtls-supervisor"))));
    assert!(is_refused(TcpStream::connect("127.0.0.1:1")));
    assert!(is_refused(UnixStream::connect("/run/systemd/notify")));
    assert!(is_refused(Command::new("/bin/true").spawn()));
    memory_and_threads();
    other_processes();
    descriptors();
    let pair = [0_i32; 2];
    let datagrams = [AF_UNIX.into(), SOCK_DGRAM.into(), 0, address(&pair)];
    refused("socketpair", libc::SYS_socketpair, datagrams);
    // A channel, and a descriptor that is sent over it.
    let flags = SocketFlags::CLOEXEC;
    let (here, there) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut rights = SendAncillaryBuffer::new(&mut space);
    let passed = [there.as_fd()];
    assert!(rights.push(SendAncillaryMessage::ScmRights(&passed)));
    sendmsg(
        &here,
        &[IoSlice::new(b"+")],
        &mut rights,
        SendFlags::NOSIGNAL,
    )
    .unwrap();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut rights = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    recvmsg(
        &there,
        &mut [IoSliceMut::new(&mut byte)],
        &mut rights,
        RecvFlags::CMSG_CLOEXEC,
    )
    .unwrap();
    assert_eq!(rights.drain().count(), 1);
    runtime.block_on(async {
        let mut hang_up = signal(SignalKind::hangup()).unwrap();
        let thread = works("gettid", libc::SYS_gettid, []);
        let own = c_long::from(process::id());
        works(
            "a signal",
            libc::SYS_tgkill,
            [own, thread, libc::SIGHUP.into()],
        );
        hang_up.recv().await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    });
}
