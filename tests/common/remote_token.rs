//! A token behind a process of its own, as a network HSM is behind its daemon: `p11-kit server` with
//! SoftHSM, reached through p11-kit-client.so. It can be killed, stopped and started again.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::bank::Bank;
use super::poll::until;
use super::softhsm::MODULE;

/// Where Debian puts the client's module.
pub const CLIENT: &str = "/usr/lib/x86_64-linux-gnu/pkcs11/p11-kit-client.so";

pub struct RemoteToken {
    socket: PathBuf,
    label: String,
    server: Option<Child>,
}

impl RemoteToken {
    /// The bank's SoftHSM behind a server, which is made its token.
    pub fn of(bank: &mut Bank) -> Self {
        let socket = bank.path("p11-kit.sock");
        let mut server = Self::at(&socket, bank.token.label());
        server.start_with(&bank.token.conf());
        bank.configure(|settings| {
            settings.module = CLIENT.into();
            settings.env = vec![("P11_KIT_SERVER_ADDRESS".to_owned(), Self::address(&socket))];
        });
        server
    }

    /// Nothing is started yet.
    pub fn at(socket: &Path, label: &str) -> Self {
        Self {
            socket: socket.to_owned(),
            label: label.to_owned(),
            server: None,
        }
    }

    /// What the client's module reads.
    pub fn address(socket: &Path) -> String {
        format!("unix:path={}", socket.display())
    }

    /// Starts the server, and waits until it listens. SOFTHSM2_CONF is this process's.
    pub fn start(&mut self) {
        self.launch(&mut Command::new("p11-kit"));
    }

    /// The same with another SOFTHSM2_CONF.
    pub fn start_with(&mut self, conf: &Path) {
        self.launch(Command::new("p11-kit").env("SOFTHSM2_CONF", conf));
    }

    fn launch(&mut self, command: &mut Command) {
        let _ = fs::remove_file(&self.socket);
        let server = command
            .args(["server", "--foreground", "--name"])
            .arg(&self.socket)
            .args(["--provider", MODULE])
            .arg(format!("pkcs11:token={}", self.label))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("p11-kit: install `p11-kit` and `p11-kit-modules` (make test does)");
        self.server = Some(server);
        until("the server listens", || {
            UnixStream::connect(&self.socket).is_ok()
        });
    }

    /// Kills the server and all its children.
    pub fn kill(&mut self) {
        let Some(mut server) = self.server.take() else {
            return;
        };
        // Stopped first, so that it starts no child meanwhile.
        signal("STOP", &[server.id()]);
        let children = children_of(server.id());
        signal("KILL", &children);
        server.kill().expect("the server was running");
        server.wait().expect("the server has ended");
        until("its children have gone", || {
            children.iter().all(|child| !is_running(*child))
        });
    }

    /// The processes that serve one connection each.
    pub fn children(&self) -> Vec<u32> {
        self.server
            .as_ref()
            .map_or_else(Vec::new, |server| children_of(server.id()))
    }

    /// Kills only those that serve the connections of now.
    pub fn kill_children(&self) {
        let children = self.children();
        assert!(!children.is_empty(), "a connection is served");
        signal("KILL", &children);
        until("they have gone", || {
            children.iter().all(|child| !is_running(*child))
        });
    }

    /// Lets the server hang, and all that it serves.
    pub fn stop(&self) {
        self.signal_all("STOP");
    }

    /// Lets all go on.
    pub fn go_on(&self) {
        self.signal_all("CONT");
    }

    fn signal_all(&self, name: &str) {
        let server = self.server.as_ref().expect("it runs").id();
        // The server first: it starts no child meanwhile.
        signal(name, &[server]);
        signal(name, &children_of(server));
    }

    /// Lets them hang.
    pub fn stop_children(&self) {
        signal("STOP", &self.children());
    }

    /// Lets them go on.
    pub fn continue_children(&self) {
        signal("CONT", &self.children());
    }
}

impl Drop for RemoteToken {
    fn drop(&mut self) {
        self.kill();
    }
}

fn signal(name: &str, processes: &[u32]) {
    if processes.is_empty() {
        return;
    }
    let numbers = processes.iter().map(ToString::to_string);
    let sent = Command::new("kill")
        .arg(format!("-{name}"))
        .args(numbers)
        .stderr(Stdio::null())
        .status();
    sent.expect("kill: part of every Debian");
}

/// Parent and state of a process (proc(5)); the name before them may hold anything.
fn status(process: u32) -> Option<(u32, char)> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let state = fields.next()?.chars().next()?;
    Some((fields.next()?.parse().ok()?, state))
}

fn is_running(process: u32) -> bool {
    status(process).is_some_and(|(_, state)| state != 'Z')
}

fn children_of(parent: u32) -> Vec<u32> {
    let all = fs::read_dir("/proc").expect("/proc").filter_map(|entry| {
        let name = entry.ok()?.file_name();
        name.to_str()?.parse::<u32>().ok()
    });
    all.filter(|process| status(*process).is_some_and(|(of, _)| of == parent))
        .filter(|process| is_running(*process))
        .collect()
}
