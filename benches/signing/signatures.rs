//! One signature after the other: what the engine adds to C_SignInit and C_Sign.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use hsm_mtls::internal::config::Config;
use hsm_mtls::internal::config::ledger::{Fsync, LedgerConfig};
use hsm_mtls::internal::engine::{Peer, Purpose, Sign, SignRequest};
use hsm_mtls::internal::identity::Identity;
use hsm_mtls::internal::key::scheme::KeyAlgorithm;
use hsm_mtls::internal::ledger::FileLedger;
use hsm_mtls::internal::signer;
use hsm_mtls::internal::token::guard::Attendance;

use crate::common::signer_process;
use crate::raw::RawKey;
use crate::role::{Recorded, Signatures};

/// What TLS 1.3 signs: 64 spaces, a context, and a hash. The signer process takes nothing else for it.
const MESSAGE: [u8; 130] = {
    let context = b"TLS 1.3, client CertificateVerify\0";
    let mut message = [0x20; 130];
    let mut at = 0;
    while at < context.len() {
        message[64 + at] = context[at];
        at += 1;
    }
    message
};
/// Not measured: sessions are opened, pages mapped.
const WARM_UP: usize = 50;

/// All in turn, so that what disturbs one disturbs the others.
pub fn compared(config: &Path, seconds: f64) -> Signatures {
    let config = Config::load(config).expect("the parent's configuration");
    let identity = Identity::open(&config, Attendance::Unattended).expect("the token");
    let in_signer_process = signer::identity(&config, signer_process::launch_of(&config, None))
        .expect("a signer process");
    let signer = identity.signer();
    let public_key = signer.public_key();
    let rsa = matches!(public_key.algorithm(), KeyAlgorithm::Rsa { .. });
    let raw = &RawKey::find(&config.token.module, "c3", rsa);
    let scheme = signer.schemes()[0];
    let mut found = Signatures::default();
    let mut calls = 0;
    // The least that lets a caller go away from a call that hangs.
    let (ask, asked) = sync_channel::<()>(1);
    let (answer, answered) = sync_channel(1);
    thread::scope(|scope| {
        scope.spawn(move || {
            while asked.recv().is_ok() {
                let signature = raw.sign(&MESSAGE);
                answer.send(signature).expect("somebody who waits");
            }
        });
        let on_other_thread = || -> Result<Vec<u8>, RecvTimeoutError> {
            ask.send(()).expect("somebody who works");
            answered.recv_timeout(config.token.timeout)
        };
        until(seconds, || {
            let before = Instant::now();
            let signature = raw.sign(&MESSAGE);
            let signed = Instant::now();
            let good = public_key.verifies(scheme, &MESSAGE, &signature);
            let verified = Instant::now();
            assert!(black_box(good), "a good signature");
            let by_engine = through(signer.as_ref());
            let handed_over = Instant::now();
            black_box(on_other_thread().expect("a signature"));
            let handed_back = Instant::now();
            let by_process = through(in_signer_process.signer().as_ref());
            calls += 1;
            if calls > WARM_UP {
                let micros = |time: Duration| time.as_micros() as u32;
                found.raw.push(micros(signed - before));
                found.verification.push(micros(verified - signed));
                found
                    .on_other_thread
                    .push(micros(handed_back - handed_over));
                found.engine.push(micros(by_engine));
                found.in_signer_process.push(micros(by_process));
            }
        });
        // The thread ends when nobody can ask it any more.
        drop(ask);
    });
    found
}

/// The engine alone.
pub fn by_engine(config: &Path, seconds: f64) -> Signatures {
    let config = Config::load(config).expect("the parent's configuration");
    let identity = Identity::open(&config, Attendance::Unattended).expect("the token");
    let mut found = Signatures::default();
    until(seconds, || {
        let took = through(identity.signer().as_ref());
        found.engine.push(took.as_micros() as u32);
    });
    found
}

/// The engine with and without a ledger, in turn.
pub fn recorded(config: &Path, seconds: f64) -> Recorded {
    let path = config;
    let config = Config::load(path).expect("the parent's configuration");
    let plain = Identity::open(&config, Attendance::Unattended).expect("the token");
    let with_ledger = |fsync, name: &str| {
        let ledger = FileLedger::open(&LedgerConfig {
            file: path.with_extension(name),
            fsync,
            fsync_interval: Duration::from_secs(1),
            rotate_at_mib: 64,
            head: None,
            head_interval: Duration::from_secs(300),
        });
        let ledger = Arc::new(ledger.expect("a ledger"));
        Identity::open_with_ledger(&config, Attendance::Unattended, ledger).expect("the token")
    };
    let interval = with_ledger(Fsync::Interval, "interval.jsonl");
    let each = with_ledger(Fsync::Each, "each.jsonl");
    let mut found = Recorded::default();
    let mut calls = 0;
    until(seconds, || {
        let took = [&plain, &interval, &each].map(|identity| through(identity.signer().as_ref()));
        calls += 1;
        if calls > WARM_UP {
            let [without, interval, each] = took.map(|took| took.as_micros() as u32);
            found.without.push(without);
            found.interval.push(interval);
            found.each.push(each);
        }
    });
    found
}

fn through(signer: &dyn Sign) -> Duration {
    let before = Instant::now();
    let signature = signer.sign(&SignRequest {
        message: &MESSAGE,
        scheme: signer.schemes()[0],
        purpose: Purpose::Tls13ClientAuth,
        deadline: signer.deadline(),
        peer: Peer::default(),
    });
    let took = before.elapsed();
    black_box(signature.expect("a signature").bytes);
    took
}

fn until(seconds: f64, mut each: impl FnMut()) {
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    while Instant::now() < end {
        each();
    }
}
