//! The end of the chain, told to somebody else. A file alone cannot show that its own end was cut
//! off: who has an earlier end can.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::chain::Head;
use crate::config::ledger::{HeadExport, LedgerConfig};

/// How long a program may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A child's end is not told: it is asked for.
const ASK_AGAIN: Duration = Duration::from_millis(10);

/// RFC 5424, section 6.2.1: facility 13 (log audit), severity 6 (informational).
const PRIORITY: u8 = 13 * 8 + 6;

#[derive(Debug)]
pub(super) struct Export {
    to: Option<HeadExport>,
    interval: Duration,
    next: Instant,
    told: Head,
}

impl Export {
    pub(super) fn new(config: &LedgerConfig) -> Self {
        Self {
            to: config.head.clone(),
            interval: config.head_interval,
            next: Instant::now() + config.head_interval,
            told: Head::BEGIN,
        }
    }

    /// When it is time. `None`: nobody is told.
    pub(super) fn due(&self) -> Option<Instant> {
        self.to.as_ref().map(|_| self.next)
    }

    /// Tells where the chain ends, if it is time or must be `now`, and it was not told yet.
    pub(super) fn tell(&mut self, ledger: &str, head: &Head, now: bool) {
        let Some(to) = &self.to else {
            return;
        };
        if !now && Instant::now() < self.next {
            return;
        }
        self.next = Instant::now() + self.interval;
        if *head == self.told {
            return;
        }
        let told = match to {
            HeadExport::Syslog(socket) => UnixDatagram::unbound().and_then(|datagram| {
                let pid = std::process::id();
                let message = format!("<{PRIORITY}>hsm-mtls[{pid}]: ledger={ledger} head={head}");
                datagram.send_to(message.as_bytes(), socket).map(drop)
            }),
            HeadExport::Command(command) => run(command, head),
        };
        match told {
            Ok(()) => self.told = head.clone(),
            Err(error) => {
                tracing::error!(ledger, %head, %error, "nobody could be told where the ledger ends");
            }
        }
    }
}

fn run(command: &[String], head: &Head) -> io::Result<()> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(io::Error::other("no program is named"));
    };
    let mut child = Command::new(program)
        .args(arguments)
        .arg(head.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()?;
    let until = Instant::now() + PATIENCE;
    match ended(&mut child, until)? {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(io::Error::other(format!("{program} ended with {status}"))),
        None => {
            child.kill()?;
            child.wait()?;
            Err(io::Error::other(format!("{program} did not end in time")))
        }
    }
}

fn ended(child: &mut Child, until: Instant) -> io::Result<Option<std::process::ExitStatus>> {
    loop {
        match child.try_wait()? {
            None if Instant::now() < until => thread::park_timeout(ASK_AGAIN),
            other => return Ok(other),
        }
    }
}
