//! The load: callers that ask at a pace, half of them for a request on a connection of its own, half
//! for a bare signature, which is verified by other code than the engine's.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use bytes::Bytes;
use hsm_mtls::internal::client::connector::Connector;
use hsm_mtls::internal::client::{Client, ClientError};
use hsm_mtls::internal::config::Config;
use hsm_mtls::internal::engine::{EngineError, Peer, Purpose, Sign, SignRequest};
use hsm_mtls::internal::identity::Identity;
use hsm_mtls::internal::tls::{Tls, TlsError};
use hsm_mtls::internal::token::guard::{Attendance, PinError};
use http::{HeaderMap, Method};
use tokio::runtime::Builder;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval_at};
use url::Url;

use crate::faults::Felt;
use crate::memory::Memory;
use crate::outcome::ClientOutcome;

pub const CALLERS: usize = 16;
/// Between two questions of one caller.
const PACE: Duration = Duration::from_millis(200);
/// Of what the token does not explain, so much is told.
const MOST_TOLD: usize = 5;

/// The uncompressed point at the end of a P-256 key's SubjectPublicKeyInfo (RFC 5480).
const POINT: usize = 65;

#[derive(Clone)]
pub struct Load {
    client: Client,
    signer: Arc<dyn Sign>,
    url: Arc<Url>,
    tally: Arc<Mutex<Tally>>,
}

/// What became of the questions so far.
#[derive(Clone, Default)]
pub struct Tally {
    pub requests: u64,
    good: u64,
    failed: BTreeMap<String, u64>,
    unexplained: Vec<String>,
    wrong_signatures: u64,
    slowest_request: Duration,
    slowest_signature: Duration,
}

impl Tally {
    pub fn failures(&self) -> u64 {
        self.failed.values().sum()
    }
}

impl Load {
    pub fn open(config: &Config) -> Self {
        let identity = Identity::open(config, Attendance::Unattended).unwrap();
        let tls = Tls::new(config, &identity).unwrap();
        let url = format!("{}/hello-mtls", config.hub.services[0].origin);
        Self {
            client: Client::new(config, Connector::new(config, &tls).unwrap()),
            signer: Arc::clone(identity.signer()),
            url: Arc::new(url.parse().unwrap()),
            tally: Arc::default(),
        }
    }

    /// Asks until the end, and waits for what was asked.
    pub fn run(&self, end: Instant) {
        let runtime = Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut callers = JoinSet::new();
            for caller in 0..CALLERS {
                let load = self.clone();
                callers.spawn(async move {
                    let begin = Instant::now() + PACE * caller as u32 / CALLERS as u32;
                    let mut pace = interval_at(begin.into(), PACE);
                    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
                    while pace.tick().await.into_std() < end {
                        match caller % 2 {
                            0 => load.request().await,
                            _ => load.ask_for_signature().await,
                        }
                    }
                });
            }
            while let Some(ended) = callers.join_next().await {
                ended.unwrap();
            }
        });
    }

    async fn request(&self) {
        let asked = Instant::now();
        let (headers, body) = (HeaderMap::new(), Bytes::new());
        let answer = self.client.request(Method::GET, &self.url, headers, body);
        let result = match answer.await {
            Ok(answer) if answer.status == 200 => Ok(()),
            Ok(answer) => Err(format!("status {}", answer.status)),
            Err(ClientError::Tls(TlsError::Signature(error))) => return self.failed(&error, asked),
            Err(error) => Err(format!("{error} {error:?}")),
        };
        let mut tally = self.tally();
        tally.slowest_request = tally.slowest_request.max(asked.elapsed());
        tally.requests += 1;
        match result {
            Ok(()) => tally.good += 1,
            Err(error) => tally.does_not_explain(error),
        }
    }

    async fn ask_for_signature(&self) {
        let load = self.clone();
        let asked = tokio::task::spawn_blocking(move || {
            let asked = Instant::now();
            let scheme = load.signer.schemes()[0];
            let message = format!("{asked:?}").into_bytes();
            let signature = load.signer.sign(&SignRequest {
                message: &message,
                scheme,
                purpose: Purpose::SelfTest,
                deadline: load.signer.deadline(),
                peer: Peer::default(),
            });
            let signature = match signature {
                Ok(signature) => signature,
                Err(error) => {
                    let mut tally = load.tally();
                    tally.slowest_signature = tally.slowest_signature.max(asked.elapsed());
                    drop(tally);
                    return load.failed(&error, asked);
                }
            };
            let took = asked.elapsed();
            let verified = load.verifies(&message, &signature.bytes);
            let mut tally = load.tally();
            tally.slowest_signature = tally.slowest_signature.max(took);
            tally.requests += 1;
            tally.good += u64::from(verified);
            tally.wrong_signatures += u64::from(!verified);
        });
        asked.await.unwrap();
    }

    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let spki = self.signer.public_key().spki();
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &spki[spki.len() - POINT..]);
        key.verify(message, signature).is_ok()
    }

    /// A signature for whoever asks now, outside the pace.
    pub fn sign_now(&self) -> Result<Duration, EngineError> {
        hsm_mtls::internal::engine::challenge(self.signer.as_ref(), Purpose::SelfTest)
    }

    fn failed(&self, error: &EngineError, asked: Instant) {
        let mut tally = self.tally();
        tally.slowest_request = tally.slowest_request.max(asked.elapsed());
        tally.requests += 1;
        let class = error.class();
        *tally.failed.entry(class.to_owned()).or_default() += 1;
        // Nothing that is done to the token is any of these, and no PIN is refused.
        let unexplained = match error.pin() {
            Some(pin) => !is_about_the_way(pin),
            None => matches!(
                class,
                "mechanism" | "stopped" | "not-the-pair" | "no-random"
            ),
        };
        if unexplained {
            let text = format!("{error} {error:?}");
            tally.tell(text);
        }
    }

    pub fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap()
    }

    pub fn outcome(&self, felt: Felt, memory: Memory) -> ClientOutcome {
        let tally = self.tally().clone();
        ClientOutcome {
            seconds: memory.resident.len() as u64,
            requests: tally.requests,
            good: tally.good,
            failed: tally.failed,
            unexplained: tally.unexplained,
            wrong_signatures: tally.wrong_signatures,
            slowest_request_ms: tally.slowest_request.as_millis() as u64,
            slowest_signature_ms: tally.slowest_signature.as_millis() as u64,
            not_recovered: felt.not_recovered,
            faults: felt.faults,
            heap: memory.heap,
            resident: memory.resident,
            most_threads: memory.most_threads,
            files_at_the_end: memory.files,
        }
    }
}

/// The login was lost on the way, or is held back for a while because one was.
fn is_about_the_way(pin: &PinError) -> bool {
    matches!(
        pin,
        PinError::Call(_) | PinError::TooSoon { .. } | PinError::Busy { .. }
    )
}

impl Tally {
    fn does_not_explain(&mut self, error: String) {
        *self.failed.entry("not the token".to_owned()).or_default() += 1;
        self.tell(error);
    }

    fn tell(&mut self, error: String) {
        if self.unexplained.len() < MOST_TOLD {
            self.unexplained.push(error);
        }
    }
}
