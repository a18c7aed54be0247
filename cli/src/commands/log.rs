//! Logs and panic messages go to standard error: standard output is for the result alone.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::env;
use std::io::{self, IsTerminal, Write};
use std::panic::{self, PanicHookInfo};
use std::sync::Arc;
use std::thread;

use hsm_mtls::internal::{log_target, standard_error};
use rustix::process::Signal;
use tracing_subscriber::filter::{FilterFn, LevelFilter};
use tracing_subscriber::fmt;
use tracing_subscriber::prelude::*;

use super::{Cli, LogFormat, json_notes, signer};

/// Events of these targets are not logged without `-v`: the command ends with the same error, and prints it.
const REPORTED_AS_ERROR: [&str; 3] = [
    log_target::SIGNER_SERVICE,
    log_target::ENGINE,
    log_target::CLIENT,
];

/// Keeps closed or full standard streams from ending the process, before anything is written.
pub(crate) fn prepare() {
    standard_error::install();
    panic::set_hook(Box::new(log_panic));
    // With a handler for SIGXFSZ a write beyond RLIMIT_FSIZE fails with EFBIG instead of ending the process. Without
    // it the default action stays.
    let _ = signal_hook::flag::register(Signal::XFSZ.as_raw(), Arc::default());
}

/// Signals that end a process by default, and that operators send to daemons by habit: to reopen logs, to print
/// statistics.
const IGNORED_SIGNALS: [Signal; 7] = [
    Signal::USR1,
    Signal::USR2,
    Signal::ALARM,
    Signal::VTALARM,
    Signal::PROF,
    Signal::IO,
    Signal::POWER,
];

/// Keeps signals that have no meaning here from ending a process of the proxy. An empty handler, unlike SIG_IGN, is not
/// inherited by child processes.
fn ignore_signals() {
    for signal in IGNORED_SIGNALS {
        let _ = signal_hook::flag::register(signal.as_raw(), Arc::default());
    }
}

/// Starts logging, as the command line says.
pub(crate) fn start(cli: &Cli) {
    if cli.is_service() {
        ignore_signals();
    }
    let global = &cli.global;
    let level = match global.verbose {
        0 => LevelFilter::WARN,
        1 => LevelFilter::INFO,
        2 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    // The signer process of a command logs as the command does.
    let is_service = cli.is_service() && env::var_os(signer::OF_A_COMMAND).is_none();
    let is_default = global.verbose == 0;
    let level_of = move |target: &str| match target {
        log_target::LIFECYCLE if is_default && is_service => LevelFilter::INFO,
        _ if is_default && !is_service && REPORTED_AS_ERROR.contains(&target) => LevelFilter::OFF,
        _ => level,
    };
    let filter = FilterFn::new(move |event| *event.level() <= level_of(event.target()))
        .with_max_level_hint(level.max(LevelFilter::INFO));
    let registry = tracing_subscriber::registry();
    if global.json && is_default && !is_service {
        json_notes::start_buffering();
        panic::set_hook(Box::new(|info| {
            let _ = json_notes::add(&info.to_string());
        }));
        let logs = fmt::layer().with_ansi(false).without_time();
        let logs = logs.with_writer(|| json_notes::NoteWriter);
        return registry.with(logs.with_filter(filter)).init();
    }
    let logs = fmt::layer()
        .log_internal_errors(false)
        .with_writer(|| StandardError)
        .with_ansi(io::stderr().is_terminal());
    match global.log_format() {
        LogFormat::Text => registry.with(logs.with_filter(filter)).init(),
        LogFormat::Json => {
            let logs = logs.json().flatten_event(true);
            registry.with(logs.with_filter(filter)).init();
        }
    }
}

/// [`standard_error`] as a writer for `tracing_subscriber`.
struct StandardError;

impl Write for StandardError {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        standard_error::write(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The panic hook: writes what the standard library's hook writes, but does not block where nobody reads standard error.
fn log_panic(info: &PanicHookInfo<'_>) {
    let payload = info.payload();
    let message = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no text");
    let thread = thread::current();
    let name = thread.name().unwrap_or("<unnamed>");
    let location = info
        .location()
        .map_or_else(String::new, |location| format!(" at {location}"));
    let mut text = format!("\nthread '{name}' panicked{location}:\n{message}\n");
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        text.push_str(&format!("stack backtrace:\n{backtrace}\n"));
    }
    standard_error::write(text.as_bytes());
    // The process may abort next.
    standard_error::flush();
}
