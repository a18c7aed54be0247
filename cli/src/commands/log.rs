//! Logs: to standard error, so that standard output is the result alone. The panics of the program, too.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::env;
use std::io::{self, IsTerminal, Write};
use std::panic::{self, PanicHookInfo};
use std::sync::Arc;
use std::thread;

use hsm_mtls::internal::standard_error;
use rustix::process::Signal;
use tracing_subscriber::filter::{FilterFn, LevelFilter};
use tracing_subscriber::fmt;
use tracing_subscriber::prelude::*;

use crate::proxy;

use super::{Cli, Command, LogFormat, json_notes, signer};

/// What a service says of itself unasked: that it is ready, and that it was reloaded.
const LIFECYCLE: &str = proxy::LIFECYCLE;

/// What is logged here is also the error that a command ends with.
const TOLD_ANYWAY: [&str; 3] = [
    "hsm_mtls::signer::service",
    "hsm_mtls::engine",
    "hsm_mtls::client",
];

impl Cli {
    /// Whether the process must have no second thread before it says so: what systemd handed over is taken out
    /// of the environment first, and a thread that there is stays outside of Landlock.
    pub(crate) fn is_of_the_proxy(&self) -> bool {
        matches!(
            self.command,
            Command::Signer | Command::FrontEnd | Command::Proxy
        )
    }
}

/// Before anything is written, or can fail: no stream that this process was given may end it.
pub(crate) fn prepare() {
    standard_error::install();
    panic::set_hook(Box::new(panicked));
    // A write beyond RLIMIT_FSIZE is then an error like that of a full disk, and no death. Where there is no
    // handler to be had, it stays as it was.
    let _ = signal_hook::flag::register(Signal::XFSZ.as_raw(), Arc::default());
}

/// End a process by default, and are sent to daemons by habit: to reopen logs, to print statistics.
const IGNORED: [Signal; 7] = [
    Signal::USR1,
    Signal::USR2,
    Signal::ALARM,
    Signal::VTALARM,
    Signal::PROF,
    Signal::IO,
    Signal::POWER,
];

/// A signal that means nothing here does not end a process of the proxy. A handler, unlike SIG_IGN, is not
/// inherited by the programs that are started.
fn outlive_foreign_signals() {
    for signal in IGNORED {
        let _ = signal_hook::flag::register(signal.as_raw(), Arc::default());
    }
}

pub(crate) fn start(cli: &Cli) {
    if cli.is_of_the_proxy() {
        outlive_foreign_signals();
    }
    let global = &cli.global;
    let level = match global.verbose {
        0 => LevelFilter::WARN,
        1 => LevelFilter::INFO,
        2 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    // A signer that was started by a command is part of it.
    let is_service = cli.is_service() && env::var_os(signer::OF_A_COMMAND).is_none();
    let plain = global.verbose == 0;
    let level_of = move |target: &str| match target {
        LIFECYCLE if plain && is_service => LevelFilter::INFO,
        _ if plain && !is_service && TOLD_ANYWAY.contains(&target) => LevelFilter::OFF,
        _ => level,
    };
    let wanted = FilterFn::new(move |about| *about.level() <= level_of(about.target()))
        .with_max_level_hint(level.max(LevelFilter::INFO));
    let registry = tracing_subscriber::registry();
    if global.json && plain && !is_service {
        json_notes::keep();
        panic::set_hook(Box::new(|panicked| {
            let _ = json_notes::add(&panicked.to_string());
        }));
        let logs = fmt::layer().with_ansi(false).without_time();
        let logs = logs.with_writer(|| json_notes::Lines);
        return registry.with(logs.with_filter(wanted)).init();
    }
    let logs = fmt::layer()
        .log_internal_errors(false)
        .with_writer(|| StandardError)
        .with_ansi(io::stderr().is_terminal());
    match global.log_format() {
        LogFormat::Text => registry.with(logs.with_filter(wanted)).init(),
        LogFormat::Json => {
            let logs = logs.json().flatten_event(true);
            registry.with(logs.with_filter(wanted)).init();
        }
    }
}

/// As tracing wants it.
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

/// Says what the standard library's hook says, which would wait where nobody reads.
fn panicked(info: &PanicHookInfo<'_>) {
    let payload = info.payload();
    let message = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no text");
    let thread = thread::current();
    let name = thread.name().unwrap_or("<unnamed>");
    let place = info
        .location()
        .map_or_else(String::new, |place| format!(" at {place}"));
    let mut text = format!("\nthread '{name}' panicked{place}:\n{message}\n");
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        text.push_str(&format!("stack backtrace:\n{backtrace}\n"));
    }
    standard_error::write(text.as_bytes());
    // What comes next may be an abort.
    standard_error::flush();
}
