//! The child's side: it tells its parent which step it is in, and puts off an interruption until C_Login has ended.

use std::env;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

use hsm_mtls::internal::exit_code::ExitCode;
use hsm_mtls::internal::poison::IgnorePoison as _;
use hsm_mtls::internal::signer::hardening;
use hsm_mtls::internal::token::operation::{self, TokenOperation};
use rustix::fs::OFlags;
use rustix::io::Errno;
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
    let Ok(value) = env::var(VARIABLE) else {
        return Ok(false);
    };
    let Some(pipe) = inherited(&value)? else {
        return Ok(false);
    };
    *PARENT.lock().ignore_poison() = Some(pipe);
    // A program that is started from here, as for `pin.command`, does not inherit the pipe.
    hardening::close_descriptors_on_exec();
    hardening::end_with_parent();
    if !is_child(&value) {
        return Err(orphaned());
    }
    // The terminal sends SIGINT to both processes: only the parent acts on it.
    signal_hook::flag::register(Signal::INT.as_raw(), Arc::default())?;
    let term = Signal::TERM.as_raw();
    signal_hook::flag::register(term, Arc::clone(&INTERRUPTED))?;
    signal_hook::flag::register_conditional_default(term, Arc::clone(&INTERRUPTIBLE))?;
    operation::observe(in_operation);
    Ok(true)
}

/// The pipe, if the parent of this process made it: the variable may have been inherited by a program further down.
///
/// # Errors
/// Nobody reads the pipe: the parent has ended, and with it the command.
fn inherited(value: &str) -> Result<Option<File>, CommandError> {
    let descriptor = value
        .split_once(':')
        .and_then(|(_, number)| number.parse::<u32>().ok());
    let Some(descriptor) = descriptor else {
        return Ok(None);
    };
    let path = format!("/proc/self/fd/{descriptor}");
    if !fs::metadata(&path).is_ok_and(|file| file.file_type().is_fifo()) {
        return Ok(None);
    }
    let mut options = File::options();
    options.write(true);
    // Without O_NONBLOCK it would wait for a reader.
    let without_wait = OFlags::NONBLOCK.bits().cast_signed();
    match options.clone().custom_flags(without_wait).open(&path) {
        Err(error) if error.raw_os_error() == Some(Errno::NXIO.raw_os_error()) => {
            return Err(orphaned());
        }
        _ if !is_child(value) => return Ok(None),
        _ => {}
    }
    Ok(options.open(&path).ok())
}

fn is_child(value: &str) -> bool {
    let parent = value.split_once(':').map(|(parent, _)| parent);
    getppid().is_some_and(|pid| Some(pid.as_raw_nonzero().to_string().as_str()) == parent)
}

fn orphaned() -> CommandError {
    CommandError::usage(
        "the process that started this one has ended",
        "run the command again",
    )
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
    tell(&Event::HandlesInterruptions);
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
