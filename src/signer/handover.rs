//! How the signer process gets what it works with: over a socket that it finds as its standard input,
//! from the supervisor that started it. Nothing listens anywhere.
//!
//! The same socket then carries the signer's signs of life to the supervisor, and its end to the
//! signer: whose supervisor has gone goes too.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::{fcntl_dupfd_cloexec, retry_on_intr};
use rustix::net::sockopt::socket_type;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recv, recvmsg,
    send, sendmsg, socketpair,
};
use serde::{Deserialize, Serialize};

use super::SignerError;
use super::frame::VERSION;

/// Descriptors in one message; the kernel takes 253.
const AT_ONCE: usize = 64;

/// The longest message, in bytes: a configuration. With room to spare below what a socket holds.
pub(super) const LONGEST: usize = 64 << 10;

/// What the supervisor says first.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Hello {
    pub(super) version: u8,
    /// Whether someone is at a terminal.
    pub(super) attended: bool,
    /// How many channels come with it and after it.
    pub(super) channels: usize,
    /// And behind them sockets that applications call.
    pub(super) sockets: usize,
    /// Whether the text of the configuration comes last.
    pub(super) configuration: bool,
}

/// What a process is given to work with.
#[derive(Debug)]
pub(super) struct Handed {
    /// Closed when whoever gave it has gone.
    pub(super) control: OwnedFd,
    pub(super) attended: bool,
    pub(super) channels: Vec<OwnedFd>,
    #[cfg_attr(
        not(feature = "front-end"),
        expect(dead_code, reason = "a signer is given none; a front end is")
    )]
    pub(super) sockets: Vec<OwnedFd>,
    /// The configuration to go by. None: what its file has.
    pub(super) configuration: Option<String>,
}

/// What the signer says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    /// Nothing hangs.
    Alive,
    /// A call hangs beyond all patience: nothing but the end of the process ends it.
    Wedged,
}

/// A pair of connected sockets that keep frames apart.
pub(super) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC;
    Ok(socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        flags,
        None,
    )?)
}

/// Gives a process its channels, the sockets that it is to listen on, and its configuration.
pub(super) fn give(
    control: &OwnedFd,
    attended: bool,
    configuration: Option<&str>,
    channels: &[OwnedFd],
    sockets: &[BorrowedFd<'_>],
) -> Result<(), SignerError> {
    let hello = Hello {
        version: VERSION,
        attended,
        channels: channels.len(),
        sockets: sockets.len(),
        configuration: configuration.is_some(),
    };
    let text = serde_json::to_vec(&hello).map_err(|error| SignerError::handover(&error))?;
    let all: Vec<_> = channels.iter().map(AsFd::as_fd).collect();
    let all = [&all[..], sockets].concat();
    let sent = send_all(
        control.as_fd(),
        &text,
        &all,
        configuration,
        SendFlags::NOSIGNAL,
    );
    sent.map_err(|error| SignerError::handover(&error))
}

/// Sends words, descriptors with them and after them, and the text of a configuration last.
pub(super) fn send_all(
    control: BorrowedFd<'_>,
    words: &[u8],
    descriptors: &[BorrowedFd<'_>],
    configuration: Option<&str>,
    flags: SendFlags,
) -> io::Result<()> {
    if configuration.is_some_and(|text| text.len() > LONGEST) {
        return Err(io::Error::other(format!(
            "a configuration of more than {} KiB",
            LONGEST >> 10
        )));
    }
    let mut words = words;
    let mut rest = descriptors;
    loop {
        let (some, others) = rest.split_at(rest.len().min(AT_ONCE));
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(AT_ONCE))];
        let mut rights = SendAncillaryBuffer::new(&mut space);
        if !some.is_empty() && !rights.push(SendAncillaryMessage::ScmRights(some)) {
            return Err(io::Error::other("too many channels at once"));
        }
        retry_on_intr(|| sendmsg(control, &[IoSlice::new(words)], &mut rights, flags))?;
        // One word and more descriptors.
        words = b"+";
        rest = others;
        if rest.is_empty() {
            break;
        }
    }
    if let Some(text) = configuration {
        retry_on_intr(|| send(control, text.as_bytes(), flags))?;
    }
    Ok(())
}

/// Takes what the supervisor gives, in a process that it started. Standard input is `/dev/null` from
/// then on.
pub(super) fn take() -> Result<Handed, SignerError> {
    let stdin = rustix::stdio::stdin();
    if !matches!(socket_type(stdin), Ok(SocketType::SEQPACKET)) {
        return Err(SignerError::NotStartedByUs);
    }
    let failed = |error| SignerError::handover(&error);
    let control = fcntl_dupfd_cloexec(stdin, 3).map_err(failed)?;
    let nothing = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    rustix::stdio::dup2_stdin(nothing.map_err(failed)?).map_err(failed)?;
    let mut channels = Vec::new();
    let text = more(&control, &mut channels)?;
    let hello: Hello =
        serde_json::from_slice(&text).map_err(|error| SignerError::handover(&error))?;
    if hello.version != VERSION {
        return Err(SignerError::handover(&"another version started this one"));
    }
    let all = hello.channels.saturating_add(hello.sockets);
    while channels.len() < all {
        if more(&control, &mut channels)?.is_empty() {
            return Err(SignerError::NotStartedByUs);
        }
    }
    let sockets = channels.split_off(hello.channels);
    let configuration = match hello.configuration {
        true => Some(text_of(more(&control, &mut Vec::new())?)?),
        false => None,
    };
    Ok(Handed {
        control,
        attended: hello.attended,
        channels,
        sockets,
        configuration,
    })
}

/// A configuration, as it came.
pub(super) fn text_of(bytes: Vec<u8>) -> Result<String, SignerError> {
    match String::from_utf8(bytes) {
        Ok(text) if !text.is_empty() => Ok(text),
        _ => Err(SignerError::handover(&"the configuration did not come")),
    }
}

fn more(control: &OwnedFd, channels: &mut Vec<OwnedFd>) -> Result<Vec<u8>, SignerError> {
    let received = receive(control.as_fd(), channels, RecvFlags::empty());
    received.map_err(|error| SignerError::handover(&error))
}

/// One message, and the descriptors that came with it.
pub(super) fn receive(
    control: BorrowedFd<'_>,
    descriptors: &mut Vec<OwnedFd>,
    flags: RecvFlags,
) -> io::Result<Vec<u8>> {
    let mut text = vec![0; LONGEST];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(AT_ONCE))];
    let mut rights = RecvAncillaryBuffer::new(&mut space);
    let received = retry_on_intr(|| {
        let parts = &mut [IoSliceMut::new(&mut text)];
        recvmsg(control, parts, &mut rights, RecvFlags::CMSG_CLOEXEC | flags)
    });
    let received = received?;
    if received.flags.contains(ReturnFlags::CTRUNC) {
        return Err(io::Error::other(
            "this process may not have so many files open",
        ));
    }
    if received.flags.contains(ReturnFlags::TRUNC) {
        return Err(io::Error::other("a message that is too long"));
    }
    for message in rights.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            descriptors.extend(fds);
        }
    }
    text.truncate(received.bytes);
    Ok(text)
}

/// Says something of this process.
pub(super) fn say(control: &OwnedFd, sign: &Sign) -> io::Result<()> {
    let byte = match sign {
        Sign::Alive => b".",
        Sign::Wedged => b"!",
    };
    retry_on_intr(|| send(control, byte, SendFlags::NOSIGNAL | SendFlags::DONTWAIT))?;
    Ok(())
}

/// What the signer said; `None` where it has gone, or says what it should not.
pub(super) fn heard(control: &OwnedFd) -> Option<Sign> {
    let mut byte = [0; 1];
    let (length, _) = retry_on_intr(|| recv(control, &mut byte, RecvFlags::empty())).ok()?;
    match (length, byte) {
        (1, [b'.']) => Some(Sign::Alive),
        (1, [b'!']) => Some(Sign::Wedged),
        _ => None,
    }
}
