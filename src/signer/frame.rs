//! What goes over a channel: one datagram a frame, with a version, a bound for each length, and
//! nothing that may be left out.
//!
//! The signer takes these bytes from a process that parses the network, so whatever is not exactly of
//! the form is refused as a whole.

use std::str;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::engine::Purpose;
use crate::key::scheme::Scheme;

/// Differs when one side would misunderstand the other.
pub(super) const VERSION: u8 = 2;

/// The longest frame, in bytes. A TLS 1.2 transcript with a long chain of the server's is a few tens of
/// kilobytes.
pub(super) const LONGEST: usize = 160 << 10;

/// The longest `host:port`: a name has 253 bytes at most.
const LONGEST_PEER: usize = 272;
/// A UUID.
const LONGEST_ID: usize = 36;

const DESCRIBE: u8 = 1;
const SIGN: u8 = 2;
const HEALTH: u8 = 3;
const DESCRIBED: u8 = 0x81;
const SIGNED: u8 = 0x82;
const FAILED: u8 = 0x83;
const HEALTHY: u8 = 0x84;
const GONE: u8 = 0x8f;

/// What the front end asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Request<'a> {
    /// Which key, and what it can sign with.
    Describe,
    /// A signature.
    Sign(SignFrame<'a>),
    /// How it is, now.
    Health,
}

/// A signature, as it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SignFrame<'a> {
    /// SHA-256 of the key's SubjectPublicKeyInfo: which key is meant.
    pub(super) key: [u8; 32],
    pub(super) purpose: Purpose,
    pub(super) scheme: Scheme,
    /// On the clock that all processes of this machine share: [`clock`].
    pub(super) deadline: Duration,
    pub(super) peer: Option<&'a str>,
    pub(super) interaction_id: Option<&'a str>,
    pub(super) message: &'a [u8],
}

/// What it is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer<'a> {
    /// JSON: [`super::Description`].
    Described(&'a [u8]),
    /// The signature.
    Signed(&'a [u8]),
    /// JSON: [`crate::engine::ReportedError`].
    Failed(&'a [u8]),
    /// JSON: [`super::SignerHealth`].
    Health(&'a [u8]),
    /// Said by the supervisor: whoever had the request is no more, and why.
    Gone(&'a str),
}

/// Why bytes are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadFrame {
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

/// Now, on the clock that the processes share (CLOCK_MONOTONIC).
pub(super) fn clock() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    // Since the machine was started: never negative.
    Duration::new(now.tv_sec.max(0) as u64, now.tv_nsec.max(0) as u32)
}

/// Puts a request into `out`, which is emptied first.
pub(super) fn encode_request(out: &mut Vec<u8>, id: u64, request: &Request<'_>) {
    out.clear();
    match request {
        Request::Describe => head(out, DESCRIBE, id),
        Request::Health => head(out, HEALTH, id),
        Request::Sign(frame) => {
            head(out, SIGN, id);
            out.extend_from_slice(&frame.key);
            out.push(purpose_code(frame.purpose));
            out.extend_from_slice(&scheme_code(frame.scheme).to_le_bytes());
            out.extend_from_slice(&(frame.deadline.as_nanos() as u64).to_le_bytes());
            for text in [frame.peer, frame.interaction_id] {
                let text = text.unwrap_or_default();
                out.extend_from_slice(&(text.len() as u16).to_le_bytes());
                out.extend_from_slice(text.as_bytes());
            }
            out.extend_from_slice(&(frame.message.len() as u32).to_le_bytes());
            out.extend_from_slice(frame.message);
        }
    }
}

/// Reads a request. The id is told also of what is refused, where there is one.
pub(super) fn decode_request(bytes: &[u8]) -> Result<(u64, Request<'_>), (Option<u64>, BadFrame)> {
    let mut rest = Rest(bytes);
    let (kind, id) = rest.head().map_err(|bad| (None, bad))?;
    let request = match kind {
        DESCRIBE => Ok(Request::Describe),
        HEALTH => Ok(Request::Health),
        SIGN => rest.sign().map(Request::Sign),
        other => Err(BadFrame::Kind(other)),
    };
    let whole = request.and_then(|request| rest.end().map(|()| request));
    whole
        .map(|request| (id, request))
        .map_err(|bad| (Some(id), bad))
}

/// Puts an answer into `out`, which is emptied first.
pub(super) fn encode_answer(out: &mut Vec<u8>, id: u64, answer: &Answer<'_>) {
    out.clear();
    let (kind, bytes) = match answer {
        Answer::Described(json) => (DESCRIBED, *json),
        Answer::Signed(signature) => (SIGNED, *signature),
        Answer::Failed(json) => (FAILED, *json),
        Answer::Health(json) => (HEALTHY, *json),
        Answer::Gone(why) => (GONE, why.as_bytes()),
    };
    head(out, kind, id);
    out.extend_from_slice(bytes);
}

/// Reads an answer.
pub(super) fn decode_answer(bytes: &[u8]) -> Result<(u64, Answer<'_>), BadFrame> {
    let mut rest = Rest(bytes);
    let (kind, id) = rest.head()?;
    let answer = match kind {
        DESCRIBED => Answer::Described(rest.0),
        SIGNED => Answer::Signed(rest.0),
        FAILED => Answer::Failed(rest.0),
        HEALTHY => Answer::Health(rest.0),
        GONE => Answer::Gone(str::from_utf8(rest.0).map_err(|_| BadFrame::Text)?),
        other => return Err(BadFrame::Kind(other)),
    };
    Ok((id, answer))
}

fn head(out: &mut Vec<u8>, kind: u8, id: u64) {
    out.extend_from_slice(&[VERSION, kind]);
    out.extend_from_slice(&id.to_le_bytes());
}

/// What is not read yet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], BadFrame> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(BadFrame::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], BadFrame> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(BadFrame::Short)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn head(&mut self) -> Result<(u8, u64), BadFrame> {
        let [version, kind] = self.array()?;
        if version != VERSION {
            return Err(BadFrame::Version(version));
        }
        Ok((kind, u64::from_le_bytes(self.array()?)))
    }

    fn sign(&mut self) -> Result<SignFrame<'a>, BadFrame> {
        let key = self.array()?;
        let [purpose] = self.array()?;
        let scheme = u16::from_le_bytes(self.array()?);
        let deadline = Duration::from_nanos(u64::from_le_bytes(self.array()?));
        let peer = self.text(LONGEST_PEER)?;
        let interaction_id = self.text(LONGEST_ID)?;
        let length = u32::from_le_bytes(self.array()?) as usize;
        Ok(SignFrame {
            key,
            purpose: purpose_of(purpose).ok_or(BadFrame::Purpose(purpose))?,
            scheme: scheme_of(scheme).ok_or(BadFrame::Scheme(scheme))?,
            deadline,
            peer,
            interaction_id,
            message: self.take(length)?,
        })
    }

    /// What is written to the ledger, and so must be as short and as plain as a host name.
    fn text(&mut self, longest: usize) -> Result<Option<&'a str>, BadFrame> {
        let length = usize::from(u16::from_le_bytes(self.array()?));
        let text = str::from_utf8(self.take(length)?).map_err(|_| BadFrame::Text)?;
        match text.len() <= longest && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            true => Ok((!text.is_empty()).then_some(text)),
            false => Err(BadFrame::Text),
        }
    }

    fn end(&self) -> Result<(), BadFrame> {
        match self.0 {
            [] => Ok(()),
            _ => Err(BadFrame::Long),
        }
    }
}

const PURPOSES: [(u8, Purpose); 5] = [
    (1, Purpose::Tls13ClientAuth),
    (2, Purpose::Tls12ClientAuth),
    (3, Purpose::Csr),
    (4, Purpose::Proof),
    (5, Purpose::SelfTest),
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
fn scheme_code(scheme: Scheme) -> u16 {
    match scheme {
        Scheme::RsaPkcs1Sha256 => 0x0401,
        Scheme::EcdsaP256Sha256 => 0x0403,
        Scheme::RsaPkcs1Sha384 => 0x0501,
        Scheme::EcdsaP384Sha384 => 0x0503,
        Scheme::RsaPkcs1Sha512 => 0x0601,
        Scheme::EcdsaP521Sha512 => 0x0603,
        Scheme::RsaPssSha256 => 0x0804,
        Scheme::RsaPssSha384 => 0x0805,
        Scheme::RsaPssSha512 => 0x0806,
        Scheme::Ed25519 => 0x0807,
    }
}

fn scheme_of(code: u16) -> Option<Scheme> {
    Scheme::ALL
        .into_iter()
        .find(|scheme| scheme_code(*scheme) == code)
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
