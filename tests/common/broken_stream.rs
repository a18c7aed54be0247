//! Streams that a process may find at its standard output or standard error and that take nothing: a pipe
//! or a socket (the journal's) whose reader has gone or does not read, and a disk that is full.

use std::fs::File;
use std::io::{ErrorKind, Read, Write, pipe};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

/// How long is waited for anything to come.
const PATIENCE: Timespec = Timespec {
    tv_sec: 20,
    tv_nsec: 0,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Gone,
    GoneSocket,
    Full,
    Blocked,
    BlockedSocket,
}

pub const FAULTS: [Fault; 5] = [
    Fault::Gone,
    Fault::GoneSocket,
    Fault::Full,
    Fault::Blocked,
    Fault::BlockedSocket,
];

/// A stream with such a fault.
pub struct Broken {
    stream: OwnedFd,
    reader: Option<File>,
    /// What fills it.
    filled: usize,
}

impl Fault {
    pub fn blocks(self) -> bool {
        matches!(self, Self::Blocked | Self::BlockedSocket)
    }

    pub fn stream(self) -> Broken {
        let (stream, reader): (OwnedFd, Option<OwnedFd>) = match self {
            Self::Gone => (pipe().expect("a pipe").1.into(), None),
            Self::GoneSocket => {
                let (ours, _) = UnixStream::pair().expect("sockets");
                (ours.into(), None)
            }
            Self::Full => {
                let full = File::options().write(true).open("/dev/full");
                (full.expect("/dev/full").into(), None)
            }
            Self::Blocked => {
                let (reader, writer) = pipe().expect("a pipe");
                (writer.into(), Some(reader.into()))
            }
            Self::BlockedSocket => {
                let (ours, theirs) = UnixStream::pair().expect("sockets");
                (ours.into(), Some(theirs.into()))
            }
        };
        let filled = match reader {
            Some(_) => fill(&stream),
            None => 0,
        };
        Broken {
            stream,
            reader: reader.map(File::from),
            filled,
        }
    }
}

/// Until not a byte more goes in. What is written to it later blocks.
fn fill(stream: &OwnedFd) -> usize {
    let mut writer = File::from(stream.try_clone().expect("a descriptor"));
    let flags = fcntl_getfl(stream).expect("its flags");
    fcntl_setfl(stream, flags | OFlags::NONBLOCK).expect("non-blocking");
    let mut filled = 0;
    for chunk in [4096, 1] {
        loop {
            match writer.write(&vec![b'x'; chunk]) {
                Ok(written) => filled += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
    }
    fcntl_setfl(stream, flags).expect("blocking");
    filled
}

impl Broken {
    /// For a process that is started with it.
    pub fn stdio(&self) -> Stdio {
        let stream = self.stream.as_fd().try_clone_to_owned();
        Stdio::from(stream.expect("a descriptor"))
    }

    /// Reads what filled it, and all that comes until it holds a line with `wanted`.
    pub fn read_until(&mut self, wanted: &str) -> String {
        let reader = self.reader.as_mut().expect("somebody who could read");
        let mut filling = vec![0; self.filled];
        reader.read_exact(&mut filling).expect("what filled it");
        let mut text = String::new();
        let mut chunk = [0; 4096];
        let whole = |text: &str| {
            let after = text.split_once(wanted);
            after.is_some_and(|(_, after)| after.contains('\n'))
        };
        while !whole(&text) {
            let mut fds = [PollFd::new(reader, PollFlags::IN)];
            assert_eq!(poll(&mut fds, Some(&PATIENCE)), Ok(1), "{text}");
            let length = reader.read(&mut chunk).expect("the stream");
            text.push_str(&String::from_utf8_lossy(&chunk[..length]));
        }
        text
    }
}
