//! `--reload PID`: sends the proxy SIGHUP, and waits until it has the other pair in use, or has refused it.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use hsm_mtls::internal::config::{Config, KeyRole};
use rustix::process::{Pid, Signal, kill_process};

use super::super::running_proxy::RunningProxy;
use super::super::{CommandError, output};
use super::RotationError;

/// How long a reload may take: another signer is started and logs in, and the old one ends its handshakes.
const TIMEOUT: Duration = Duration::from_secs(90);
const INTERVAL: Duration = Duration::from_millis(100);

/// Checks that the process is a proxy: SIGHUP ends most other programs.
///
/// # Errors
/// It is none.
pub(super) fn check(pid: u32) -> Result<(), CommandError> {
    let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<&[u8]> = words.split(|byte| *byte == 0).collect();
    let is_ours = words
        .first()
        .is_some_and(|program| program.ends_with(b"hsm-mtls"));
    match is_ours && words.contains(&&b"proxy"[..]) {
        true => Ok(()),
        false => Err(CommandError::stage(RotationError::NoProxy { pid })),
    }
}

/// Reloads the proxy; `x5t_s256` is of the certificate that it is to have then.
///
/// # Errors
/// It cannot be sent the signal, or refused the reload.
pub(super) fn reload(
    pid: u32,
    config: &Config,
    role: KeyRole,
    x5t_s256: &str,
) -> Result<(), CommandError> {
    let proxy = RunningProxy::of(config);
    let failed_before = proxy.as_ref().and_then(RunningProxy::failed_reloads);
    let is_sent = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .is_some_and(|pid| kill_process(pid, Signal::HUP).is_ok());
    if !is_sent {
        return Err(CommandError::stage(RotationError::NoProxy { pid }));
    }
    let Some(proxy) = proxy.filter(|_| failed_before.is_some()) else {
        output::remark(
            "the proxy was sent SIGHUP; without [proxy.operations] its log alone says what came of it: `reloaded`, or `NOT reloaded` \
             and why",
        );
        return Ok(());
    };
    let deadline = Instant::now() + TIMEOUT;
    loop {
        if proxy.certificate(role).as_deref() == Some(x5t_s256) {
            return Ok(());
        }
        let why = match proxy.failed_reloads() {
            failed if failed > failed_before => "it refused the reload".to_owned(),
            _ if Instant::now() > deadline => {
                format!(
                    "its health endpoint does not show it within {} s",
                    TIMEOUT.as_secs()
                )
            }
            _ => {
                thread::park_timeout(INTERVAL);
                continue;
            }
        };
        return Err(CommandError::stage(RotationError::NotReloaded { why }));
    }
}
