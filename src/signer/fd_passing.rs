//! Passes file descriptors and the configuration's text to a child process (SCM_RIGHTS), over a socket that the child
//! finds as its standard input. Nothing listens anywhere.
//!
//! The socket stays open. It carries the heartbeat of a signer (`heartbeat`), or the reload protocol of a front end
//! (`reload_protocol`). When the supervisor ends, its end of the socket is closed, and the child ends too.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::{fcntl_dupfd_cloexec, retry_on_intr};
use rustix::net::sockopt::socket_type;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, send,
    sendmsg, socketpair,
};
use serde::{Deserialize, Serialize};

use super::SignerError;
use super::frame::VERSION;
use super::replacement::Predecessors;

/// The maximum number of descriptors in one message; the kernel's is 253.
const MAX_FDS_PER_MESSAGE: usize = 64;

/// The longest message, in bytes: a configuration's text. It is shorter than a socket's buffer.
pub(super) const MAX_MESSAGE_LEN: usize = 64 << 10;

/// The first message to a child. It announces the messages after it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    version: u8,
    /// Whether an operator is at a terminal.
    attended: bool,
    /// The number of channels, in this message and those after it.
    channels: usize,
    /// The number of listening sockets, behind the channels.
    sockets: usize,
    /// Whether the configuration's text comes last.
    configuration: bool,
    /// For a signer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    predecessors: Option<Predecessors>,
}

/// What a child process inherits from its supervisor.
#[derive(Debug)]
#[cfg_attr(
    not(feature = "front-end"),
    expect(
        unreachable_pub,
        reason = "only a front end outside of this crate inherits"
    )
)]
pub struct Inherited {
    /// The socket to the supervisor. Keep it open: its other end is closed when the supervisor has ended.
    pub control: OwnedFd,
    /// The text of a configuration, for a front end and for a reader of the configuration.
    #[cfg_attr(
        not(feature = "front-end"),
        expect(dead_code, reason = "a signer has its configuration from elsewhere")
    )]
    pub configuration: Option<String>,
    /// A signer's ends of the channels, or a front end's.
    pub channels: Vec<OwnedFd>,
    /// A front end's listening sockets.
    #[cfg_attr(
        not(feature = "front-end"),
        expect(dead_code, reason = "only a front end has listening sockets")
    )]
    pub sockets: Vec<OwnedFd>,
    /// Whether an operator is at a terminal.
    pub(super) attended: bool,
    /// What a signer inherits from the processes that it replaces.
    pub(super) predecessors: Predecessors,
}

/// What a child process is passed.
#[derive(Debug, Default)]
pub(super) struct Passed<'a> {
    /// Whether an operator is at a terminal.
    pub(super) attended: bool,
    /// The text of a configuration, for a front end and for a reader of the configuration.
    pub(super) configuration: Option<&'a str>,
    pub(super) channels: &'a [OwnedFd],
    /// A front end's listening sockets.
    pub(super) sockets: &'a [BorrowedFd<'a>],
    /// A signer's.
    pub(super) predecessors: Option<Predecessors>,
}

/// A pair of connected sockets that keep message boundaries.
pub(super) fn socket_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC;
    Ok(socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        flags,
        None,
    )?)
}

/// Passes a child its channels, its listening sockets and its configuration.
pub(super) fn pass_to_child(control: &OwnedFd, passed: Passed<'_>) -> Result<(), SignerError> {
    let header = Header {
        version: VERSION,
        attended: passed.attended,
        channels: passed.channels.len(),
        sockets: passed.sockets.len(),
        configuration: passed.configuration.is_some(),
        predecessors: passed.predecessors,
    };
    let header = serde_json::to_vec(&header).map_err(|error| SignerError::handover(&error))?;
    let channels: Vec<_> = passed.channels.iter().map(AsFd::as_fd).collect();
    let descriptors = [&channels[..], passed.sockets].concat();
    let sent = send_with_descriptors(
        control.as_fd(),
        &header,
        &descriptors,
        passed.configuration,
        SendFlags::NOSIGNAL,
    );
    sent.map_err(|error| SignerError::handover(&error))
}

/// Sends a header, descriptors with it and in messages after it, and a configuration's text last.
pub(super) fn send_with_descriptors(
    control: BorrowedFd<'_>,
    header: &[u8],
    descriptors: &[BorrowedFd<'_>],
    configuration: Option<&str>,
    flags: SendFlags,
) -> io::Result<()> {
    if configuration.is_some_and(|text| text.len() > MAX_MESSAGE_LEN) {
        return Err(io::Error::other(format!(
            "a configuration of more than {} KiB",
            MAX_MESSAGE_LEN >> 10
        )));
    }
    let mut payload = header;
    let mut rest = descriptors;
    loop {
        let (batch, others) = rest.split_at(rest.len().min(MAX_FDS_PER_MESSAGE));
        let mut space =
            [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS_PER_MESSAGE))];
        let mut rights = SendAncillaryBuffer::new(&mut space);
        if !batch.is_empty() && !rights.push(SendAncillaryMessage::ScmRights(batch)) {
            return Err(io::Error::other("too many channels at once"));
        }
        retry_on_intr(|| sendmsg(control, &[IoSlice::new(payload)], &mut rights, flags))?;
        // A message needs a byte of data to carry descriptors.
        payload = b"+";
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

/// The socket to the supervisor, in a process that it started. Standard input is `/dev/null` from then on.
pub(super) fn control_socket() -> Result<OwnedFd, SignerError> {
    let stdin = rustix::stdio::stdin();
    if !matches!(socket_type(stdin), Ok(SocketType::SEQPACKET)) {
        return Err(SignerError::NotStartedByUs);
    }
    let failed = |error| SignerError::handover(&error);
    let control = fcntl_dupfd_cloexec(stdin, 3).map_err(failed)?;
    let null = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    rustix::stdio::dup2_stdin(null.map_err(failed)?).map_err(failed)?;
    Ok(control)
}

/// Receives what the supervisor passes, in a process that it started.
pub(super) fn receive_from_supervisor() -> Result<Inherited, SignerError> {
    let control = control_socket()?;
    let mut channels = Vec::new();
    let header = receive_blocking(&control, &mut channels)?;
    let header: Header =
        serde_json::from_slice(&header).map_err(|error| SignerError::handover(&error))?;
    if header.version != VERSION {
        return Err(SignerError::handover(&"another version started this one"));
    }
    let expected = header.channels.saturating_add(header.sockets);
    while channels.len() < expected {
        if receive_blocking(&control, &mut channels)?.is_empty() {
            return Err(SignerError::NotStartedByUs);
        }
    }
    let sockets = channels.split_off(header.channels);
    let configuration = match header.configuration {
        true => Some(configuration_text(receive_blocking(
            &control,
            &mut Vec::new(),
        )?)?),
        false => None,
    };
    Ok(Inherited {
        control,
        configuration,
        channels,
        sockets,
        attended: header.attended,
        predecessors: header.predecessors.unwrap_or_default(),
    })
}

/// Decodes a configuration's text.
pub(super) fn configuration_text(bytes: Vec<u8>) -> Result<String, SignerError> {
    match String::from_utf8(bytes) {
        Ok(text) if !text.is_empty() => Ok(text),
        _ => Err(SignerError::handover(&"the configuration did not come")),
    }
}

fn receive_blocking(
    control: &OwnedFd,
    descriptors: &mut Vec<OwnedFd>,
) -> Result<Vec<u8>, SignerError> {
    let received = receive_with_descriptors(control.as_fd(), descriptors, RecvFlags::empty());
    received.map_err(|error| SignerError::handover(&error))
}

/// Receives one message, and appends the descriptors that came with it.
pub(super) fn receive_with_descriptors(
    control: BorrowedFd<'_>,
    descriptors: &mut Vec<OwnedFd>,
    flags: RecvFlags,
) -> io::Result<Vec<u8>> {
    let mut payload = vec![0; MAX_MESSAGE_LEN];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS_PER_MESSAGE))];
    let mut rights = RecvAncillaryBuffer::new(&mut space);
    let received = retry_on_intr(|| {
        let parts = &mut [IoSliceMut::new(&mut payload)];
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
    payload.truncate(received.bytes);
    Ok(payload)
}
