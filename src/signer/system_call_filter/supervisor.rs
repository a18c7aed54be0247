//! What the supervisor needs beside threads: channels for its children, descriptors that it passes on, and to be told of files
//! that are replaced.

use super::Allowed;
use super::threads::socket_pair;

pub(super) fn allowed() -> Vec<Allowed> {
    vec![
        (libc::SYS_sendmsg, Vec::new()),
        // Other folders after a reload. It opens no file.
        (libc::SYS_inotify_add_watch, Vec::new()),
        (libc::SYS_inotify_rm_watch, Vec::new()),
        // The thread that waits for the launcher, which is the only child.
        (libc::SYS_pidfd_open, Vec::new()),
        (libc::SYS_wait4, Vec::new()),
        (libc::SYS_waitid, Vec::new()),
        (
            libc::SYS_socketpair,
            // The channels, and tokio's pair, through which a signal wakes it.
            vec![
                socket_pair(libc::SOCK_SEQPACKET),
                socket_pair(libc::SOCK_STREAM),
            ],
        ),
    ]
}
