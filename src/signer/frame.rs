//! The binary encoding of requests and responses on a channel. Each datagram is one frame; a frame has a version, and no
//! optional parts, and each length in it has a bound.
//!
//! The signer decodes frames from a process that parses the network, so any deviation is an error.

use std::str;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::config::trust::Fingerprint;
use crate::engine::{Peer, Purpose, SignRequest};
use crate::key::scheme::Scheme;

/// The protocol's version. It is increased with each incompatible change.
pub(super) const VERSION: u8 = 2;

/// The longest frame, in bytes. A TLS 1.2 transcript with a long certificate chain is a few tens of kilobytes.
pub(super) const MAX_FRAME_LEN: usize = 160 << 10;

/// The longest `host:port`, in bytes: a host name has at most 253.
const MAX_PEER_LEN: usize = 272;
/// The longest interaction id, in bytes: a UUID.
const MAX_ID_LEN: usize = 36;

const DESCRIBE: u8 = 1;
const SIGN: u8 = 2;
const HEALTH: u8 = 3;
const DESCRIBED: u8 = 0x81;
const SIGNED: u8 = 0x82;
const FAILED: u8 = 0x83;
const HEALTH_STATUS: u8 = 0x84;
const SIGNER_ENDED: u8 = 0x8f;

/// A request of the front end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Request<'a> {
    /// A description of the key.
    Describe,
    /// A signature by the key with this SHA-256 of the SubjectPublicKeyInfo. The deadline is encoded as a time of
    /// CLOCK_MONOTONIC, which all processes of a machine share.
    Sign {
        spki: Fingerprint,
        request: SignRequest<'a>,
    },
    /// The signer's health.
    Health,
}

/// A response of the signer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Response<'a> {
    /// JSON: [`super::remote_key::KeyDescription`].
    Described(&'a [u8]),
    /// A signature.
    Signed(&'a [u8]),
    /// JSON: [`crate::engine::ReportedError`].
    Failed(&'a [u8]),
    /// JSON: [`super::SignerHealth`].
    Health(&'a [u8]),
    /// Sent by the supervisor: the signer that had the request has ended, and why.
    SignerEnded(&'a str),
}

/// Why a frame is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FrameError {
    #[error("a frame that ends too early")]
    Short,
    #[error("a frame with something behind its end")]
    Long,
    #[error("a frame of version {0}")]
    Version(u8),
    #[error("a frame of unknown kind {0}")]
    Kind(u8),
    #[error("an unknown purpose {0}")]
    Purpose(u8),
    #[error("an unknown signature scheme {0:#06x}")]
    Scheme(u16),
    #[error("a peer or an interaction id that is none")]
    Text,
}

/// The time of CLOCK_MONOTONIC.
fn monotonic_now() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    // It counts from the machine's start, so it is never negative.
    Duration::new(now.tv_sec.max(0) as u64, now.tv_nsec.max(0) as u32)
}

/// Encodes a request into `out`, which is cleared first.
pub(super) fn encode_request(out: &mut Vec<u8>, id: u64, request: &Request<'_>) {
    out.clear();
    match request {
        Request::Describe => write_header(out, DESCRIBE, id),
        Request::Health => write_header(out, HEALTH, id),
        Request::Sign { spki, request } => {
            let left = request.deadline.saturating_duration_since(Instant::now());
            let deadline = monotonic_now() + left;
            write_header(out, SIGN, id);
            out.extend_from_slice(&spki.0);
            out.push(purpose_code(request.purpose));
            out.extend_from_slice(&request.scheme.number().to_le_bytes());
            out.extend_from_slice(&(deadline.as_nanos() as u64).to_le_bytes());
            for text in [request.peer.name, request.peer.interaction_id] {
                let text = text.unwrap_or_default();
                out.extend_from_slice(&(text.len() as u16).to_le_bytes());
                out.extend_from_slice(text.as_bytes());
            }
            out.extend_from_slice(&(request.message.len() as u32).to_le_bytes());
            out.extend_from_slice(request.message);
        }
    }
}

/// Decodes a request. The error has the frame's id, if the frame has one.
pub(super) fn decode_request(
    bytes: &[u8],
) -> Result<(u64, Request<'_>), (Option<u64>, FrameError)> {
    let mut reader = FrameReader(bytes);
    let (frame_type, id) = reader.header().map_err(|error| (None, error))?;
    let request = match frame_type {
        DESCRIBE => Ok(Request::Describe),
        HEALTH => Ok(Request::Health),
        SIGN => reader.sign(),
        other => Err(FrameError::Kind(other)),
    };
    let complete = request.and_then(|request| reader.finish().map(|()| request));
    complete
        .map(|request| (id, request))
        .map_err(|error| (Some(id), error))
}

/// Encodes a response into `out`, which is cleared first.
pub(super) fn encode_response(out: &mut Vec<u8>, id: u64, response: &Response<'_>) {
    out.clear();
    let (frame_type, bytes) = match response {
        Response::Described(json) => (DESCRIBED, *json),
        Response::Signed(signature) => (SIGNED, *signature),
        Response::Failed(json) => (FAILED, *json),
        Response::Health(json) => (HEALTH_STATUS, *json),
        Response::SignerEnded(why) => (SIGNER_ENDED, why.as_bytes()),
    };
    write_header(out, frame_type, id);
    out.extend_from_slice(bytes);
}

/// Decodes a response.
pub(super) fn decode_response(bytes: &[u8]) -> Result<(u64, Response<'_>), FrameError> {
    let mut reader = FrameReader(bytes);
    let (frame_type, id) = reader.header()?;
    let response = match frame_type {
        DESCRIBED => Response::Described(reader.0),
        SIGNED => Response::Signed(reader.0),
        FAILED => Response::Failed(reader.0),
        HEALTH_STATUS => Response::Health(reader.0),
        SIGNER_ENDED => {
            Response::SignerEnded(str::from_utf8(reader.0).map_err(|_| FrameError::Text)?)
        }
        other => return Err(FrameError::Kind(other)),
    };
    Ok((id, response))
}

fn write_header(out: &mut Vec<u8>, frame_type: u8, id: u64) {
    out.extend_from_slice(&[VERSION, frame_type]);
    out.extend_from_slice(&id.to_le_bytes());
}

/// Reads a frame: the part that is not read yet.
struct FrameReader<'a>(&'a [u8]);

impl<'a> FrameReader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], FrameError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(FrameError::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], FrameError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(FrameError::Short)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn header(&mut self) -> Result<(u8, u64), FrameError> {
        let [version, frame_type] = self.array()?;
        if version != VERSION {
            return Err(FrameError::Version(version));
        }
        Ok((frame_type, u64::from_le_bytes(self.array()?)))
    }

    fn sign(&mut self) -> Result<Request<'a>, FrameError> {
        let spki = Fingerprint(self.array()?);
        let [purpose] = self.array()?;
        let scheme = u16::from_le_bytes(self.array()?);
        let deadline = Duration::from_nanos(u64::from_le_bytes(self.array()?));
        let left = deadline.saturating_sub(monotonic_now());
        let peer = Peer {
            name: self.text(MAX_PEER_LEN)?,
            interaction_id: self.text(MAX_ID_LEN)?,
        };
        let length = u32::from_le_bytes(self.array()?) as usize;
        let request = SignRequest {
            purpose: purpose_of(purpose).ok_or(FrameError::Purpose(purpose))?,
            scheme: scheme_of(scheme).ok_or(FrameError::Scheme(scheme))?,
            deadline: Instant::now() + left,
            peer,
            message: self.take(length)?,
        };
        Ok(Request::Sign { spki, request })
    }

    /// A text for the ledger: short, and of visible ASCII characters as a host name is.
    fn text(&mut self, max_len: usize) -> Result<Option<&'a str>, FrameError> {
        let length = usize::from(u16::from_le_bytes(self.array()?));
        let text = str::from_utf8(self.take(length)?).map_err(|_| FrameError::Text)?;
        match text.len() <= max_len && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            true => Ok((!text.is_empty()).then_some(text)),
            false => Err(FrameError::Text),
        }
    }

    fn finish(&self) -> Result<(), FrameError> {
        match self.0 {
            [] => Ok(()),
            _ => Err(FrameError::Long),
        }
    }
}

const PURPOSES: [(u8, Purpose); 6] = [
    (1, Purpose::Tls13ClientAuth),
    (2, Purpose::Tls12ClientAuth),
    (3, Purpose::Csr),
    (4, Purpose::Proof),
    (5, Purpose::SelfTest),
    (6, Purpose::Jwt),
];

fn purpose_code(purpose: Purpose) -> u8 {
    let found = PURPOSES.iter().find(|(_, known)| *known == purpose);
    found.map_or(0, |(code, _)| *code)
}

fn purpose_of(code: u8) -> Option<Purpose> {
    let found = PURPOSES.iter().find(|(known, _)| *known == code);
    found.map(|(_, purpose)| *purpose)
}

/// The code point in the IANA registry "TLS SignatureScheme".
fn scheme_of(code: u16) -> Option<Scheme> {
    Scheme::ALL
        .into_iter()
        .find(|scheme| scheme.number() == code)
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
