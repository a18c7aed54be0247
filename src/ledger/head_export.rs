//! Exports the head of the hash chain to syslog or to a program. The file alone does not show that its end was cut off; an
//! earlier head that is stored elsewhere does. The export runs on its own thread, since its receiver may be slow; only the
//! end of the process waits for it, up to a timeout.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::hash_chain::ChainHead;
use super::lock;
use crate::config::ledger::HeadExport;
use crate::owner_and_mode::{Protection, faults};
use crate::poison::IgnorePoison as _;
use crate::polling::poll_until;
use crate::working_dir;

/// How long the program may run.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);

/// How long to wait while the queue of the syslog socket is full.
const SYSLOG_TIMEOUT: Duration = Duration::from_secs(2);

/// How often the end of the program is polled: waitpid(2) has no timeout.
const EXIT_POLL_INTERVAL: Duration = Duration::from_millis(10);

/// PATH of the program. It gets no other variable: the environment of this process may contain the PIN.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// RFC 5424, section 6.2.1: facility 13 (log audit), severity 6 (informational).
const PRIORITY: u8 = 13 * 8 + 6;

/// The handle of the thread; dropping it exports the last head and ends the thread.
#[derive(Debug)]
pub(super) struct HeadExporter {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<ExportState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct ExportState {
    /// The head to be exported. A later head replaces it, since it covers the earlier records too.
    pending: Option<ChainHead>,
    exported: Option<ChainHead>,
    stop: bool,
}

impl HeadExporter {
    /// Starts the thread.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(super) fn start(target: HeadExport, ledger: String) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let thread_shared = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("hsm-ledger-head".to_owned())
            .spawn(move || export_all(&thread_shared, &target, &ledger))?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Whether this head was the last to be exported.
    pub(super) fn has_exported(&self, head: &ChainHead) -> bool {
        self.shared.lock().exported.as_ref() == Some(head)
    }

    /// Queues a head whose record is synced to the disk.
    pub(super) fn export(&self, head: &ChainHead) {
        self.shared.lock().pending = Some(head.clone());
        self.shared.changed.notify_one();
    }
}

impl Drop for HeadExporter {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take()
            && !lock::join_timeout(thread, COMMAND_TIMEOUT + SYSLOG_TIMEOUT)
        {
            tracing::error!("whoever is told where the ledger ends does not answer");
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, ExportState> {
        self.state.lock().ignore_poison()
    }

    /// Waits for the next head to export. `None`: the thread has to end.
    fn next(&self) -> Option<ChainHead> {
        let mut state = self
            .changed
            .wait_while(self.lock(), |state| {
                // A head may have been queued again while it was exported.
                state
                    .pending
                    .take_if(|head| state.exported.as_ref() == Some(head));
                state.pending.is_none() && !state.stop
            })
            .ignore_poison();
        state.pending.take()
    }
}

fn export_all(shared: &Shared, target: &HeadExport, ledger: &str) {
    while let Some(head) = shared.next() {
        match export(target, ledger, &head) {
            Ok(()) => shared.lock().exported = Some(head),
            Err(error) => {
                tracing::error!(ledger, %head, %error, "nobody could be told where the ledger ends");
            }
        }
    }
}

fn export(target: &HeadExport, ledger: &str, head: &ChainHead) -> io::Result<()> {
    match target {
        HeadExport::Syslog(socket) => {
            let datagram = UnixDatagram::unbound()?;
            datagram.set_write_timeout(Some(SYSLOG_TIMEOUT))?;
            let pid = std::process::id();
            let message = format!("<{PRIORITY}>hsm-mtls[{pid}]: ledger={ledger} head={head}");
            datagram.send_to(message.as_bytes(), socket).map(drop)
        }
        HeadExport::Command(command) => run_command(command, head),
    }
}

fn run_command(command: &[String], head: &ChainHead) -> io::Result<()> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(io::Error::other("no program is named"));
    };
    if let Some(fault) = faults(Path::new(program), Protection::Unchanged).first() {
        return Err(io::Error::other(format!(
            "{program} is not safe from other users: {fault}; {}",
            fault.advice()
        )));
    }
    let mut command = Command::new(program);
    if let Some(folder) = working_dir::started_in() {
        command.current_dir(folder);
    }
    let mut child = command
        .args(arguments)
        .arg(head.to_string())
        .env_clear()
        .env("PATH", PATH)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()?;
    let deadline = Instant::now() + COMMAND_TIMEOUT;
    match wait_until(&mut child, deadline)? {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(io::Error::other(format!("{program} ended with {status}"))),
        None => {
            child.kill()?;
            child.wait()?;
            Err(io::Error::other(format!("{program} did not end in time")))
        }
    }
}

fn wait_until(child: &mut Child, deadline: Instant) -> io::Result<Option<ExitStatus>> {
    poll_until(deadline, EXIT_POLL_INTERVAL, || {
        child.try_wait().transpose()
    })
    .transpose()
}
