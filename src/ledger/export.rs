//! The end of the chain, told to somebody else. A file alone cannot show that its own end was cut
//! off: who has an earlier end can. Whoever is told may take their time: it is done on a thread of
//! its own, and nothing waits for it but the end of the process, for a while.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::chain::Head;
use super::turn;
use crate::config::ledger::HeadExport;
use crate::poison::IgnorePoison as _;

/// How long a program may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long the queue of a syslog socket may be full.
const QUEUE: Duration = Duration::from_secs(2);

/// A child's end is not told: it is asked for.
const ASK_AGAIN: Duration = Duration::from_millis(10);

/// What a program finds its own programs with. Nothing else of our environment is its business: the
/// PIN may be in it.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// RFC 5424, section 6.2.1: facility 13 (log audit), severity 6 (informational).
const PRIORITY: u8 = 13 * 8 + 6;

#[derive(Debug)]
pub(super) struct Export {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    wanted: Mutex<Wanted>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Wanted {
    /// What is to be told. A later head tells all that an earlier one does.
    head: Option<Head>,
    /// What was told last.
    told: Option<Head>,
    stop: bool,
}

impl Export {
    /// Starts the thread that tells.
    ///
    /// # Errors
    /// There is none to be had.
    pub(super) fn start(to: HeadExport, ledger: String) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let seen = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("hsm-ledger-head".to_owned())
            .spawn(move || tell_all(&seen, &to, &ledger))?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Whether a head was told already.
    pub(super) fn knows(&self, head: &Head) -> bool {
        self.shared.lock().told.as_ref() == Some(head)
    }

    /// Has a head told, which is on the disk.
    pub(super) fn tell(&self, head: &Head) {
        self.shared.lock().head = Some(head.clone());
        self.shared.changed.notify_one();
    }
}

impl Drop for Export {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take()
            && !turn::ended(thread, PATIENCE + QUEUE)
        {
            tracing::error!("whoever is told where the ledger ends does not answer");
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Wanted> {
        // Values that are each whole.
        self.wanted.lock().ignore_poison()
    }

    /// Waits for what is to be told. `None`: nothing more comes.
    fn next(&self) -> Option<Head> {
        let mut wanted = self
            .changed
            .wait_while(self.lock(), |wanted| {
                // It may have been told while it was asked for once more.
                wanted
                    .head
                    .take_if(|head| wanted.told.as_ref() == Some(head));
                wanted.head.is_none() && !wanted.stop
            })
            .ignore_poison();
        wanted.head.take()
    }
}

fn tell_all(shared: &Shared, to: &HeadExport, ledger: &str) {
    while let Some(head) = shared.next() {
        match tell(to, ledger, &head) {
            Ok(()) => shared.lock().told = Some(head),
            Err(error) => {
                tracing::error!(ledger, %head, %error, "nobody could be told where the ledger ends");
            }
        }
    }
}

fn tell(to: &HeadExport, ledger: &str, head: &Head) -> io::Result<()> {
    match to {
        HeadExport::Syslog(socket) => {
            let datagram = UnixDatagram::unbound()?;
            datagram.set_write_timeout(Some(QUEUE))?;
            let pid = std::process::id();
            let message = format!("<{PRIORITY}>hsm-mtls[{pid}]: ledger={ledger} head={head}");
            datagram.send_to(message.as_bytes(), socket).map(drop)
        }
        HeadExport::Command(command) => run(command, head),
    }
}

fn run(command: &[String], head: &Head) -> io::Result<()> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(io::Error::other("no program is named"));
    };
    let mut child = Command::new(program)
        .args(arguments)
        .arg(head.to_string())
        .env_clear()
        .env("PATH", PATH)
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
