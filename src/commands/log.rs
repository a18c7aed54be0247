//! Logs: to standard error, so that standard output is the result alone.

use std::env;
use std::io::{self, IsTerminal};

use tracing_subscriber::filter::{FilterFn, LevelFilter};
use tracing_subscriber::fmt;
use tracing_subscriber::prelude::*;

use super::{Cli, LogFormat, notes, signer};

/// What a service says of itself unasked: that it is ready, and that it was reloaded.
const LIFECYCLE: &str = "hsm_mtls::proxy::lifecycle";

/// What is logged here is also the error that a command ends with.
const TOLD_ANYWAY: [&str; 3] = [
    "hsm_mtls::signer::service",
    "hsm_mtls::engine",
    "hsm_mtls::client",
];

pub(crate) fn start(cli: &Cli) {
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
        notes::keep();
        std::panic::set_hook(Box::new(|panicked| {
            let _ = notes::add(&panicked.to_string());
        }));
        let logs = fmt::layer().with_ansi(false).without_time();
        let logs = logs.with_writer(|| notes::Lines);
        return registry.with(logs.with_filter(wanted)).init();
    }
    let logs = fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    match global.log_format() {
        LogFormat::Text => registry.with(logs.with_filter(wanted)).init(),
        LogFormat::Json => {
            let logs = logs.json().flatten_event(true);
            registry.with(logs.with_filter(wanted)).init();
        }
    }
}
