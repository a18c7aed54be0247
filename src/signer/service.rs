//! What the signer process does: opens token and key, and signs what its policy permits, a thread for
//! each channel, until its supervisor has gone.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::process::{Signal, getpid, kill_process};

use super::frame::{self, Answer, Request, SignFrame};
use super::hardening::{Part, end_with_parent, harden, tell};
use super::phase::{Phase, Phases, Ready};
use super::policy::Policy;
use super::sandbox::Sandbox;
use super::watch::Calls;
use super::{Description, SignerError, desk, handover};
use crate::backoff::Backoff;
use crate::config::pin::PinSource;
use crate::config::{CertificateSource, Config, ConfigText};
use crate::engine::{Peer, ReportedError, Sign, SignRequest};
use crate::error::{Error, ExitCode};
use crate::identity::{Files, Validity, certificate_in_token, engine_for_callers};
use crate::ledger::Recorder;
use crate::standard_error;
use crate::token::guard::Attendance;
use crate::token::{Token, TokenError};

/// Between attempts to open the key. A token that is back is found within the longest delay.
const BACKOFF: Backoff = Backoff::new(FIRST_DELAY, Duration::from_secs(1));
/// The same where a person has to correct something first.
const MANUAL_FIX_BACKOFF: Backoff = Backoff::new(FIRST_DELAY, Duration::from_secs(10));
const FIRST_DELAY: Duration = Duration::from_millis(100);

/// A token that is lost is looked for so often, and one that somebody asks after.
const LOOK: Duration = Duration::from_secs(1);

/// How long signatures that are being made are waited for at the end.
const FAREWELL: Duration = Duration::from_secs(1);

/// The signer, as its threads share it.
pub(super) struct Service {
    config: Config,
    phases: Phases,
    pub(super) calls: Calls,
    /// Behind those of the channels: the places of who keeps sessions alive, and of who opens the key.
    keeper: usize,
    opener: usize,
    /// Somebody asked how it is.
    asked: AtomicBool,
    hardening: Vec<Part>,
}

/// Serves the supervisor that started this process, and ends with it: this returns only where it
/// could not begin.
///
/// It goes by the configuration that it is handed, or by the file at `path`. `attendance` is asked for with
/// whether someone is at a terminal.
///
/// # Errors
/// Nobody of ours started it, or it is not given what it works with.
pub fn serve(path: &Path, attendance: impl Fn(bool) -> Attendance) -> Result<ExitCode, Error> {
    let handed = handover::take()?;
    let config = ConfigText::given_or_read(handed.configuration, path)?.check()?;
    let channels = handed.channels;
    let mut hardening = harden(channels.len() + 1);
    hardening.push(end_with_parent());
    hardening.push(match &config.signer.landlock {
        Some(folders) => Sandbox::of_signer(&folders.read, &folders.write).enter()?,
        None => Part::new("Landlock", false, "not asked for in [signer]"),
    });
    // From here on there may be threads.
    standard_error::release();
    tell(&hardening, "signer");
    let service = Arc::new(Service {
        phases: Phases::default(),
        calls: Calls::new(channels.len() + 2, config.token.timeout),
        keeper: channels.len(),
        opener: channels.len() + 1,
        asked: AtomicBool::new(false),
        hardening,
        config,
    });
    for (number, channel) in channels.into_iter().enumerate() {
        let (service, name) = (Arc::clone(&service), format!("hsm-channel-{number}"));
        start(name, move || desk::attend(&service, number, &channel))?;
    }
    let keeper = Arc::clone(&service);
    start("hsm-keep-alive".to_owned(), move || keeper.keep_alive())?;
    let watched = Arc::clone(&service);
    start("hsm-watch".to_owned(), move || {
        watched.calls.watch(&handed.control);
        watched.phases.end(FAREWELL);
    })?;
    // The supervisor says when to go: a signal to the whole group must not end the signer before the
    // last request is answered.
    let _deaf = (!handed.attended).then(deaf);
    service.go_on(&|| attendance(handed.attended), handed.attended);
    standard_error::flush();
    // Not through the module's exit handlers, under threads that may be inside it: some crash there.
    let _ = kill_process(getpid(), Signal::KILL);
    Ok(ExitCode::Good)
}

/// Takes SIGTERM, SIGINT and SIGHUP, and does nothing about them for as long as this is held.
#[cfg(feature = "proxy")]
fn deaf() -> std::io::Result<impl Sized> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let held = {
        let _entered = runtime.enter();
        [
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
            signal(SignalKind::hangup())?,
        ]
    };
    Ok((runtime, held))
}

#[cfg(not(feature = "proxy"))]
fn deaf() {}

/// A panic is a bug of ours; the process begins afresh.
fn start(name: String, work: impl FnOnce() + Send + 'static) -> Result<(), SignerError> {
    let guarded = move || {
        if catch_unwind(AssertUnwindSafe(work)).is_err() {
            let _ = kill_process(getpid(), Signal::ABORT);
        }
    };
    let spawned = thread::Builder::new().name(name).spawn(guarded);
    spawned
        .map(drop)
        .map_err(|error| SignerError::handover(&error))
}

impl Service {
    /// Opens the key, again and again where that fails, and lets go of it at the end. Where a person
    /// is asked (for the PIN, at a keypad, or whether one of few tries may be used), once.
    fn go_on(&self, attendance: &dyn Fn() -> Attendance, attended: bool) {
        let mut failures = 0_u32;
        loop {
            // Each step has its own deadline; what has none is bounded by all of them. A person is not
            // to be hurried.
            let until = Instant::now() + self.config.token.start_timeout * super::STARTS;
            let hangs = (!self.asks_people()).then(|| self.calls.begin(self.opener, until));
            let opened = self.open(attendance());
            drop(hangs);
            let failed = match opened {
                Ok(ready) => {
                    self.phases.becomes(Phase::Ready(Arc::new(ready)));
                    break;
                }
                Err(error) => error,
            };
            let hangs = matches!(&failed, Error::Token(TokenError::NoAnswer { .. }));
            let backoff = match failed.exit_code() {
                ExitCode::Token => BACKOFF,
                _ => MANUAL_FIX_BACKOFF,
            };
            failures = failures.saturating_add(1);
            let told = ReportedError::of(failed);
            tracing::error!(
                error = told.message,
                hint = told.hint,
                "the signer has no key"
            );
            self.phases.becomes(Phase::Failed(told));
            if self.phases.is_over_within(backoff.delay(failures)) {
                return;
            }
            if hangs {
                // Whoever waited has been told. A call that hangs is in the way of the next.
                self.calls.wedge();
            }
            if hangs || attended {
                self.phases.is_over_within(Duration::MAX);
                return;
            }
        }
        self.phases.is_over_within(Duration::MAX);
    }

    fn asks_people(&self) -> bool {
        matches!(
            self.config.token.pin,
            PinSource::Prompt | PinSource::ProtectedPath
        )
    }

    fn open(&self, attendance: Attendance) -> Result<Ready, Error> {
        let config = &self.config;
        // When it may be used is for whoever shows it: nothing is signed here but on behalf of others.
        let files = Files::read_valid(config, Validity::NowOrLater)?;
        let recorder = Recorder::open(config.ledger.as_ref())?;
        let token = Token::open(&config.token, attendance, recorder.clone())?;
        let chain = files.chain(config, || certificate_in_token(config, &token))?;
        let engine = engine_for_callers(config, &token, chain.leaf())?;
        let certificate = match &config.c3.certificate {
            CertificateSource::File(_) => None,
            CertificateSource::Token(_) => Some(STANDARD.encode(chain.leaf().der())),
        };
        let description = Description {
            key: engine.key_uri(),
            spki: STANDARD.encode(engine.public_key().spki()),
            schemes: engine
                .schemes()
                .iter()
                .map(|scheme| scheme.name().to_owned())
                .collect(),
            holder: token.holder(),
            certificate,
            hardening: self.hardening.clone(),
        };
        let key = engine.public_key().fingerprint().0;
        let policy = Policy::new(key, engine.schemes(), config.signer.per_second);
        Ok(Ready {
            recorder,
            policy: Mutex::new(policy),
            description: serde_json::to_vec(&description)
                .map_err(|error| SignerError::handover(&error))?,
            engine,
        })
    }

    /// Answers a request into `out`.
    pub(super) fn answer(&self, caller: usize, id: u64, request: &Request<'_>, out: &mut Vec<u8>) {
        let told = match request {
            Request::Describe => match self.phases.ready(None) {
                Ok(ready) => {
                    return frame::encode_answer(out, id, &Answer::Described(&ready.description));
                }
                Err(told) => told,
            },
            Request::Health => {
                self.asked.store(true, Ordering::Relaxed);
                // Words and numbers: they can be written.
                let json = serde_json::to_vec(&self.phases.health()).unwrap_or_default();
                return frame::encode_answer(out, id, &Answer::Health(&json));
            }
            Request::Sign(asked) => match self.sign(caller, asked) {
                Ok(signature) => {
                    return frame::encode_answer(out, id, &Answer::Signed(&signature));
                }
                Err(told) => told,
            },
        };
        // A string and three words: they can be written.
        let json = serde_json::to_vec(&told).unwrap_or_default();
        frame::encode_answer(out, id, &Answer::Failed(&json));
    }

    fn sign(&self, caller: usize, asked: &SignFrame<'_>) -> Result<Vec<u8>, ReportedError> {
        // The caller's clock is ours. However late its deadline, a call that takes longer hangs.
        let left = asked.deadline.saturating_sub(frame::clock());
        let left = left.min(self.config.token.timeout);
        let deadline = Instant::now() + left;
        let ready = self.phases.ready(Some(deadline))?;
        ready.permits(asked)?;
        let _hangs = self.calls.begin(caller, deadline);
        let request = SignRequest {
            message: asked.message,
            scheme: asked.scheme,
            purpose: asked.purpose,
            deadline,
            peer: Peer {
                name: asked.peer,
                interaction_id: asked.interaction_id,
            },
        };
        let signed = ready.engine.sign(&request);
        signed
            .map(|signature| signature.bytes)
            .map_err(|error| ReportedError::of(error.into()))
    }

    /// Records that something came that is not even a request.
    pub(super) fn bad_frame(&self, why: &str) {
        if let Some(ready) = self.phases.is_ready() {
            ready.bad_frame(why);
        }
    }

    fn keep_alive(&self) {
        let keep_alive = self.config.token.keep_alive;
        let mut looked = Instant::now();
        while !self.phases.is_over_within(keep_alive.min(LOOK)) {
            let Some(ready) = self.phases.is_ready() else {
                continue;
            };
            // Who asks how it is wants to know it as it is; and whoever would ask for a signature may
            // wait for the word that the token is back.
            let asked = self.asked.swap(false, Ordering::Relaxed);
            let down = ready.engine.health().outage.is_some();
            // A login may be a question to somebody at a keypad.
            let hurried = (asked || down) && !self.asks_people();
            if !hurried && looked.elapsed() < keep_alive {
                continue;
            }
            looked = Instant::now();
            loop {
                let until = Instant::now() + self.config.token.timeout;
                let _hangs = self.calls.begin(self.keeper, until);
                if !ready.engine.keep_alive() {
                    break;
                }
            }
        }
    }
}

/// What is said of a request that is none.
pub(super) fn refused_told(why: &str) -> ReportedError {
    ReportedError {
        message: format!("the signer process does not sign: {why}"),
        hint: "this is a fault of ours, or somebody has taken over the front end: keep ledger and logs, and look at both"
            .to_owned(),
        class: "refused-by-signer".to_owned(),
        exit: ExitCode::Bug as u8, transient: false, }
}
