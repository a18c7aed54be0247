//! A compromised front end: it writes the frames of the signer's protocol itself.

use std::os::fd::OwnedFd;

use aws_lc_rs::digest::{SHA256, digest};
use hsm_mtls::internal::signer::signer_supervisor::{Launch, SupervisedSigner};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};
use rustix::time::{ClockId, clock_gettime};
use serde_json::Value;

use super::bank::Bank;
use super::signer_process::launch;

pub const TLS13: u8 = 1;
pub const TLS12: u8 = 2;
pub const CSR: u8 = 3;
pub const PROOF: u8 = 4;
pub const SELF_TEST: u8 = 5;
pub const JWT: u8 = 6;
pub const UNKNOWN: u8 = 7;
pub const RSA_PSS_SHA256: u16 = 0x0804;
pub const RSA_PKCS1_SHA256: u16 = 0x0401;
pub const ECDSA_P256: u16 = 0x0403;

pub struct FrontEnd {
    channels: Vec<OwnedFd>,
    pub key: [u8; 32],
    /// Zeros: the signer has no Sig4 key.
    pub sig4: [u8; 32],
    signer: SupervisedSigner,
}

pub struct SignatureRequest {
    pub key: [u8; 32],
    pub purpose: u8,
    pub scheme: u16,
    pub peer: &'static str,
    pub message: Vec<u8>,
}

pub fn frame(id: u64, asked: &SignatureRequest) -> Vec<u8> {
    let now = clock_gettime(ClockId::Monotonic);
    let deadline = (now.tv_sec as u64 + 5) * 1_000_000_000;
    let mut bytes = vec![2, 2];
    bytes.extend(id.to_le_bytes());
    bytes.extend(asked.key);
    bytes.push(asked.purpose);
    bytes.extend(asked.scheme.to_le_bytes());
    bytes.extend(deadline.to_le_bytes());
    bytes.extend((asked.peer.len() as u16).to_le_bytes());
    bytes.extend(asked.peer.as_bytes());
    bytes.extend(0_u16.to_le_bytes());
    bytes.extend((asked.message.len() as u32).to_le_bytes());
    bytes.extend(&asked.message);
    bytes
}

pub fn health(id: u64) -> Vec<u8> {
    [&[2, 3][..], &id.to_le_bytes()].concat()
}

pub fn certificate_verify(role: &str) -> Vec<u8> {
    let context = format!("TLS 1.3, {role} CertificateVerify\0");
    [&[0x20; 64][..], context.as_bytes(), &[0x5a; 32]].concat()
}

impl FrontEnd {
    pub fn start(bank: &Bank) -> Self {
        Self::described(Self::begin(launch(bank, None)))
    }

    /// Before the signer has said which key it has.
    pub fn begin(launch: Launch) -> Self {
        let (signer, channels) = SupervisedSigner::start(launch, 2).expect("as it was written");
        Self {
            channels,
            key: [0; 32],
            sig4: [0; 32],
            signer,
        }
    }

    pub fn described(mut front_end: Self) -> Self {
        // Describe: version 2, kind 1.
        let described = front_end.ask(0, &[&[2, 1][..], &7_u64.to_le_bytes()].concat());
        assert_eq!(
            described[1],
            0x81,
            "{}",
            String::from_utf8_lossy(&described)
        );
        let described: Value = serde_json::from_slice(&described[10..]).expect("as it was written");
        let hash = |spki: &str| digest(&SHA256, &base64(spki));
        let spki = described["spki"].as_str().expect("as it was written");
        front_end.key.copy_from_slice(hash(spki).as_ref());
        if let Some(spki) = described["sig4"]["spki"].as_str() {
            front_end.sig4.copy_from_slice(hash(spki).as_ref());
        }
        front_end
    }

    pub fn send(&self, channel: usize, bytes: &[u8]) {
        send(&self.channels[channel], bytes, SendFlags::empty()).expect("sent");
    }

    pub fn ask(&self, channel: usize, bytes: &[u8]) -> Vec<u8> {
        self.send(channel, bytes);
        self.take(channel).expect("an answer")
    }

    pub fn take(&self, channel: usize) -> Option<Vec<u8>> {
        let mut fds = [PollFd::new(&self.channels[channel], PollFlags::IN)];
        let patience = Timespec {
            tv_sec: 20,
            tv_nsec: 0,
        };
        assert_eq!(poll(&mut fds, Some(&patience)), Ok(1), "no answer");
        let mut answer = vec![0; 1 << 16];
        let (length, _) =
            recv(&self.channels[channel], &mut answer[..], RecvFlags::empty()).ok()?;
        answer.truncate(length);
        Some(answer)
    }

    /// What the signer says of itself: version 2, kind 3.
    pub fn health(&self, channel: usize) -> Value {
        let answer = self.ask(channel, &health(5));
        assert_eq!(
            (answer[1], &answer[2..10]),
            (0x84, &5_u64.to_le_bytes()[..])
        );
        serde_json::from_slice(&answer[10..]).expect("as it was written")
    }

    /// Closes a channel for sending, and leaves it open.
    pub fn half_close(&self, channel: usize) {
        shutdown(&self.channels[channel], Shutdown::Write).expect("it is open");
    }

    pub fn pid(&self) -> u32 {
        self.signer.pid().expect("a signer")
    }

    pub fn good(&self, message: Vec<u8>) -> SignatureRequest {
        SignatureRequest {
            key: self.key,
            purpose: TLS13,
            scheme: RSA_PSS_SHA256,
            peer: "cm.mybank.example:443",
            message,
        }
    }

    pub fn serves(&self, channel: usize) {
        let asked = self.good(certificate_verify("client"));
        let answer = self.ask(channel, &frame(99, &asked));
        assert_eq!(answer[1], 0x82, "{}", String::from_utf8_lossy(&answer));
        assert_eq!(answer[2..10], 99_u64.to_le_bytes());
        assert_eq!(answer.len(), 10 + 256);
    }

    pub fn refuses(&self, bytes: &[u8], why: &str) {
        let answer = self.ask(0, bytes);
        assert_eq!(answer[1], 0x83, "{why}: it was not refused");
        let told: Value = serde_json::from_slice(&answer[10..]).expect("as it was written");
        let message = told["message"].as_str().expect("as it was written");
        assert!(message.contains(why), "{why}: {message}");
        assert_eq!(told["class"], "refused-by-signer", "{told}");
        self.serves(0);
        self.serves(1);
    }
}

pub fn base64(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD
        .decode(text)
        .expect("as it was written")
}
