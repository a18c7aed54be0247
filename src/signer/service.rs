//! The signer process: opens token and key, and serves each channel on a thread of its own until its supervisor ends.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Signal, getpid, kill_process};

use super::fd_passing::receive_from_supervisor;
use super::hardening::{
    Measure, end_with_parent, harden, lift_memory_limit, lock_memory, log_missing,
};
use super::heartbeat::{self, CallDeadlines};
use super::ignored_signals::ignore_signals;
pub use super::launch::SignerConfiguration;
use super::open_key::OpenKeys;
use super::pin_file_watch::PinFiles;
use super::replacement::Replacement;
use super::request_handler::{RequestHandler, serve_channel};
use super::sandbox::Sandbox;
use super::service_user;
use super::state::{SharedState, SignerState};
use super::{START_STEPS, SignerError, sealed_configuration};
use crate::backoff::Backoff;
use crate::config::pin::PinSource;
use crate::config::service_users::ServiceProcess;
use crate::config::{Config, KeyAndCertificate, KeyRole};
use crate::diagnostic::Diagnostic as _;
use crate::engine::{EngineHealth, ReportedError, TokenOutage, delay_after_failed_start};
use crate::exit_code::ExitCode;
use crate::identity::IdentityError;
use crate::log_target;
use crate::rfc3339;
use crate::standard_error;
use crate::token::TokenError;
use crate::token::guard::Attendance;
use crate::working_dir;

/// The delays after a failure that an operator has to correct first.
const MANUAL_FIX_BACKOFF: Backoff =
    Backoff::new(Duration::from_millis(100), Duration::from_secs(10));

/// The interval between checks of a token that is lost, or whose health was requested.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The timeout of the signatures in progress when the process ends.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);

/// The state that the signer's threads share.
struct Service {
    config: Config,
    requests: RequestHandler,
    // Two callers in `calls`, numbered after those of the channels.
    keep_alive_caller: usize,
    open_caller: usize,
    hardening: Vec<Measure>,
    attended: bool,
    replacement: Replacement,
    pin_files: PinFiles,
    /// The outage that this process was started in.
    inherited: Option<TokenOutage>,
}

/// Runs the signer, and ends the process with its supervisor: this returns only if the signer could not start.
///
/// `replaced` stands in the place of the configured key and certificate of a role: a rotation tries the new ones before the file
/// names them. The argument of `attendance` is whether an operator is at a terminal.
///
/// # Errors
/// The process was not started by a supervisor, or did not get what it needs.
pub fn serve(
    read: SignerConfiguration,
    replaced: Option<(KeyRole, KeyAndCertificate)>,
    attendance: impl Fn(bool) -> Attendance,
) -> Result<ExitCode, SignerError> {
    let inherited = receive_from_supervisor()?;
    let of_proxy = read.of_proxy;
    let config = match of_proxy {
        true => read.config?.for_proxy(),
        false => read.config?,
    };
    let config = match replaced {
        Some((role, values)) => config.with_key_and_certificate(role, &values)?,
        None => config,
    };
    sealed_configuration::release_standard_output()
        .map_err(|error| SignerError::handover(&error))?;
    lift_memory_limit();
    let user = service_user::become_user(&config, ServiceProcess::Signer)?;
    // What it names is checked where it is used.
    config.check_file()?;
    if let Some(folder) = &config.token.working_dir {
        // Where that fails, the check before the module is loaded says why.
        let _ = working_dir::enter(folder);
    }
    let channels = inherited.channels;
    let mut hardening = harden(channels.len() + 1);
    hardening.push(end_with_parent());
    hardening.extend(user);
    // Before the PIN is read.
    hardening.push(lock_memory());
    hardening.push(match &config.signer.landlock {
        Some(folders) => {
            let read: Vec<_> = folders
                .read
                .iter()
                .chain(&config.token.working_dir)
                .cloned()
                .collect();
            Sandbox::of_signer(&read, &folders.write).enter()?
        }
        None => Measure::new("Landlock", false, "not asked for in [signer]"),
    });
    // Landlock restricts the threads that are started after `enter`, so the first may start now.
    standard_error::release();
    log_missing(&hardening, "signer");
    let service = Arc::new(Service {
        requests: RequestHandler {
            state: SharedState::new(&inherited.predecessors),
            calls: CallDeadlines::new(channels.len() + 2, config.longest_timeout()),
            timeout: config.longest_timeout(),
            health_requested: AtomicBool::new(false),
        },
        pin_files: PinFiles::new(config.proxy.as_ref().filter(|_| of_proxy)),
        keep_alive_caller: channels.len(),
        open_caller: channels.len() + 1,
        hardening,
        config,
        attended: inherited.attended,
        replacement: Replacement::new(inherited.predecessors.outage.as_ref()),
        inherited: inherited
            .predecessors
            .outage
            .map(|inherited| inherited.outage),
    });
    for (number, channel) in channels.into_iter().enumerate() {
        let (service, name) = (Arc::clone(&service), format!("hsm-channel-{number}"));
        spawn(name, move || {
            serve_channel(&service.requests, number, &channel)
        })?;
    }
    let keep_alive = Arc::clone(&service);
    spawn("hsm-keep-alive".to_owned(), move || keep_alive.keep_alive())?;
    // Where the descriptor cannot be duplicated, a crash of the module does not name its step.
    let _ = heartbeat::tell_steps(&inherited.control);
    let heartbeat = Arc::clone(&service);
    spawn("hsm-watch".to_owned(), move || {
        heartbeat.requests.calls.send_heartbeats(&inherited.control);
        heartbeat.requests.state.stop(SHUTDOWN_TIMEOUT);
    })?;
    // The supervisor ends the signer. A signal to the whole process group must not end it before the last response.
    let attended = inherited.attended;
    let _ignored = (!attended).then(ignore_signals);
    service.run(&|| attendance(attended));
    standard_error::flush();
    // SIGKILL, because some modules crash in their exit handlers while threads are inside them.
    let _ = kill_process(getpid(), Signal::KILL);
    Ok(ExitCode::Good)
}

/// Starts a thread. A panic in it is a bug: the process is aborted, and its supervisor restarts it.
fn spawn(name: String, work: impl FnOnce() + Send + 'static) -> Result<(), SignerError> {
    let run = move || {
        if catch_unwind(AssertUnwindSafe(work)).is_err() {
            let _ = kill_process(getpid(), Signal::ABORT);
        }
    };
    let spawned = thread::Builder::new().name(name).spawn(run);
    spawned
        .map(drop)
        .map_err(|error| SignerError::handover(&error))
}

impl Service {
    /// Opens the key, with retries, and waits until the signer is stopping. There are no retries if an operator is asked
    /// (for the PIN, at a keypad, or for a confirmation of the attempt).
    fn run(&self, attendance: &dyn Fn() -> Attendance) {
        let mut failures = 0_u32;
        // Failures that another process may be without.
        let mut in_vain = 0_u32;
        let since = match &self.inherited {
            Some(outage) => outage.since.clone(),
            None => rfc3339::now(),
        };
        loop {
            // Each step has a timeout of its own; this sum bounds the calls without one. An operator has no deadline.
            let until = Instant::now() + self.config.start_time(START_STEPS);
            let in_progress = (!self.needs_operator())
                .then(|| self.requests.calls.begin(self.open_caller, until));
            let opened = OpenKeys::open(&self.config, &self.hardening, attendance());
            drop(in_progress);
            let failed = match opened {
                Ok(key) => {
                    self.requests.state.set(SignerState::Ready(Arc::new(key)));
                    break;
                }
                Err(error) => error,
            };
            let hangs = matches!(
                &failed,
                SignerError::Identity(IdentityError::Token(TokenError::NoAnswer { .. }))
            );
            let is_token = failed.exit_code() == ExitCode::Token;
            in_vain = in_vain.saturating_add(failed.may_need_new_process().into());
            failures = failures.saturating_add(1);
            let error = ReportedError::of(failed);
            tracing::error!(
                target: log_target::SIGNER_SERVICE,
                error = error.message,
                hint = error.hint,
                state = error.device_state,
                "the signer has no key"
            );
            let delay = match is_token {
                true => delay_after_failed_start(&error, failures),
                false => MANUAL_FIX_BACKOFF.delay(failures),
            };
            let outage = TokenOutage::while_starting(&since, &error);
            self.requests
                .state
                .set(match is_token && self.inherited.is_some() {
                    true => SignerState::Recovering(outage.clone()),
                    false => SignerState::Failed(error),
                });
            if self.requests.state.is_stopping_within(delay) {
                return;
            }
            // The call that hangs would block the next attempt.
            let is_due = hangs || self.replacement.is_due(in_vain, false);
            if is_due && self.may_be_replaced() {
                self.replace(outage, false);
            } else if hangs {
                self.requests.calls.mark_hung();
            } else if !self.attended {
                continue;
            }
            self.requests.state.is_stopping_within(Duration::MAX);
            return;
        }
        self.requests.state.is_stopping_within(Duration::MAX);
    }

    /// Whether another process can log in without a person.
    fn may_be_replaced(&self) -> bool {
        let unattended = !self.needs_operator() && !self.attended;
        if !unattended {
            self.replacement.log_that_a_person_is_needed();
        }
        unattended
    }

    /// Has the supervisor start another process in the place of this one. Requests are answered with the outage.
    fn replace(&self, outage: TokenOutage, has_signed: bool) {
        tracing::error!(
            target: log_target::SIGNER_SERVICE,
            error = outage.error.message,
            since = outage.since,
            "the token cannot be recovered in this signer process: another takes its place"
        );
        let inheritance = self.replacement.inheritance(outage.clone(), has_signed);
        self.requests.calls.request_replacement(inheritance);
        self.requests.state.set(SignerState::Recovering(outage));
    }

    fn needs_operator(&self) -> bool {
        let is_asked =
            |pin: &PinSource| matches!(pin, PinSource::Prompt | PinSource::ProtectedPath);
        self.config.tokens().any(|token| is_asked(&token.pin))
    }

    /// Keeps idle sessions alive, and checks a token that is lost or whose health was requested. Runs until the signer is
    /// stopping.
    fn keep_alive(&self) {
        let keep_alive = self.config.token.keep_alive;
        let mut checked = Instant::now();
        while !self
            .requests
            .state
            .is_stopping_within(keep_alive.min(CHECK_INTERVAL))
        {
            let Some(key) = self.requests.state.key() else {
                continue;
            };
            self.pin_files.look(&key, &self.requests.calls);
            // A health check shall report the present state. Clients may hold back their requests until it reports that
            // the token is back.
            let health_requested = self
                .requests
                .health_requested
                .swap(false, Ordering::Relaxed);
            let is_down = key.health().outage.is_some() || key.lacks_sig4();
            // If a login needs an operator, only `keep_alive` causes one.
            let due_early = (health_requested || is_down) && !self.needs_operator();
            if !due_early && checked.elapsed() < keep_alive {
                continue;
            }
            checked = Instant::now();
            {
                let until = Instant::now() + self.config.start_time(START_STEPS);
                let _in_progress = self.requests.calls.begin(self.keep_alive_caller, until);
                if !self.needs_operator() {
                    key.retry_sig4();
                }
            }
            for open in key.all() {
                loop {
                    let until = Instant::now() + self.config.longest_timeout();
                    let _in_progress = self.requests.calls.begin(self.keep_alive_caller, until);
                    if !open.engine.keep_alive() {
                        break;
                    }
                }
            }
            let in_vain = key.recoveries_in_vain();
            let EngineHealth {
                outage,
                last_signature_ms,
                ..
            } = key.health();
            let has_signed = last_signature_ms.is_some();
            let Some(outage) = outage.filter(|_| self.replacement.is_due(in_vain, has_signed))
            else {
                continue;
            };
            if self.may_be_replaced() {
                self.replace(outage, has_signed);
            }
        }
    }
}
