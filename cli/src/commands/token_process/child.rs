//! The child's side: it tells its parent which step it is in, and puts off an interruption until C_Login has ended.

use std::env;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileTypeExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

use hsm_mtls::internal::exit_code::ExitCode;
use hsm_mtls::internal::poison::IgnorePoison as _;
use hsm_mtls::internal::signer::hardening;
use hsm_mtls::internal::token::operation::{self, TokenOperation};
use rustix::process::{Signal, getppid};

use super::super::CommandError;
use super::{Event, VARIABLE};

static PARENT: Mutex<Option<File>> = Mutex::new(None);
/// Whether SIGTERM, by which the parent passes on an interruption, ends this process at once.
static INTERRUPTIBLE: LazyLock<Arc<AtomicBool>> = LazyLock::new(|| Arc::new(AtomicBool::new(true)));
/// An interruption waits for the end of C_Login.
static INTERRUPTED: LazyLock<Arc<AtomicBool>> = LazyLock::new(|| Arc::new(AtomicBool::new(false)));
/// The command ends by itself where it is interrupted.
static HANDLED: AtomicBool = AtomicBool::new(false);

/// Connects this process to its parent. False: this process is no child that [`super::start`] started.
pub(super) fn connect() -> Result<bool, CommandError> {
    let Some(pipe) = env::var(VARIABLE).ok().and_then(|value| inherited(&value)) else {
        return Ok(false);
    };
    *PARENT.lock().ignore_poison() = Some(pipe);
    // A program that is started from here, as for `pin.command`, does not inherit the pipe.
    hardening::close_descriptors_on_exec();
    hardening::end_with_parent();
    // The terminal sends SIGINT to both processes: only the parent acts on it.
    signal_hook::flag::register(Signal::INT.as_raw(), Arc::default())?;
    let term = Signal::TERM.as_raw();
    signal_hook::flag::register(term, Arc::clone(&INTERRUPTED))?;
    signal_hook::flag::register_conditional_default(term, Arc::clone(&INTERRUPTIBLE))?;
    operation::observe(in_operation);
    Ok(true)
}

/// The pipe, if the parent of this process made it: the variable may have been inherited by a program further down.
fn inherited(value: &str) -> Option<File> {
    let (parent, descriptor) = value.split_once(':')?;
    let is_child = getppid().is_some_and(|pid| pid.as_raw_nonzero().to_string() == parent);
    let descriptor: u32 = descriptor.parse().ok()?;
    let path = format!("/proc/self/fd/{descriptor}");
    let pipe = File::options().write(true).open(path).ok()?;
    let is_pipe = pipe.metadata().ok()?.file_type().is_fifo();
    (is_child && is_pipe).then_some(pipe)
}

fn in_operation(operation: Option<TokenOperation>) {
    let waits = operation.is_some_and(TokenOperation::is_pin_at_stake);
    if waits {
        INTERRUPTIBLE.store(false, Ordering::SeqCst);
    }
    tell(&Event::Operation(operation));
    if !waits && !HANDLED.load(Ordering::SeqCst) {
        INTERRUPTIBLE.store(true, Ordering::SeqCst);
        if INTERRUPTED.load(Ordering::SeqCst) {
            // It ends the process.
            let _ = signal_hook::low_level::emulate_default_handler(Signal::TERM.as_raw());
        }
    }
}

/// From now on the command itself ends after a SIGTERM.
pub(in crate::commands) fn interrupts_are_handled() {
    HANDLED.store(true, Ordering::SeqCst);
    INTERRUPTIBLE.store(false, Ordering::SeqCst);
}

/// Tells the parent, where this process has one.
pub(in crate::commands) fn tell(event: &Event) {
    let mut parent = PARENT.lock().ignore_poison();
    if let (Some(pipe), Ok(mut line)) = (parent.as_mut(), serde_json::to_vec(event)) {
        line.push(b'\n');
        // Without its parent this process ends by SIGTERM.
        let _ = pipe.write_all(&line);
    }
}

/// The command has ended.
pub(in crate::commands) fn end(code: ExitCode) {
    tell(&Event::Ends(code as u8));
}
