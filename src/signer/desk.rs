//! One channel's thread in the signer: takes a frame, answers it, takes the next. What is no frame is
//! refused, and the next one served.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::frame::{self, Answer, LONGEST};
use super::service::{Service, refused_told};
use super::supervisor::timespec;

/// Attends to a channel until its other end has gone.
pub(super) fn attend(service: &Service, number: usize, channel: &OwnedFd) {
    let mut taken = vec![0; LONGEST];
    let mut answer = Vec::new();
    loop {
        // The length of the datagram, also where it is longer than what is taken of it.
        let received = retry_on_intr(|| recv(channel, &mut taken[..], RecvFlags::TRUNC));
        let length = match received {
            Ok((_, 0)) if is_closed(channel) => return,
            Ok((_, length)) => length,
            Err(Errno::CONNRESET) => return,
            Err(error) => {
                // Not the other end's doing: a module that closes descriptors of others does this.
                tracing::error!(%error, "a channel cannot be read");
                return service.calls.wedge();
            }
        };
        match taken.get(..length) {
            None => refuse(
                service,
                None,
                &format!("a frame of {length} bytes"),
                &mut answer,
            ),
            Some(bytes) => match frame::decode_request(bytes) {
                Ok((id, request)) => service.answer(number, id, &request, &mut answer),
                Err((id, bad)) => refuse(service, id, &bad.to_string(), &mut answer),
            },
        }
        let sent =
            retry_on_intr(|| send(channel, &answer, SendFlags::NOSIGNAL | SendFlags::DONTWAIT));
        if let Err(error) = sent {
            // A front end that takes no answers gets none.
            tracing::warn!(%error, "an answer was not taken");
        }
    }
}

/// An empty datagram looks like an end that is closed, or closed for sending.
fn is_closed(channel: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(channel, PollFlags::RDHUP)];
    let asked = retry_on_intr(|| poll(&mut fds, Some(&timespec(Duration::ZERO))));
    asked.is_err()
        || fds
            .iter()
            .any(|fd| fd.revents().intersects(PollFlags::HUP | PollFlags::RDHUP))
}

fn refuse(service: &Service, id: Option<u64>, why: &str, answer: &mut Vec<u8>) {
    service.bad_frame(why);
    let json = serde_json::to_vec(&refused_told(why)).unwrap_or_default();
    frame::encode_answer(answer, id.unwrap_or_default(), &Answer::Failed(&json));
}
