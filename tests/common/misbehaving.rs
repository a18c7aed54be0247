//! A hub that does one thing wrong, by hand where no TLS library would: operators meet such hubs,
//! and what they are told about each has to be right.

pub mod answer;
pub mod catalogue;
pub mod certificate;
pub mod hello;
mod records;
mod session;

use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};

use rustls::{ServerConfig, SupportedProtocolVersion};

use super::trust_framework::TrustFramework;
use answer::Answer;
use certificate::{Issuers, ServerCertificate};
use hello::{AfterHello, Hello};
use session::Session;

const UNKNOWN_CA: u8 = 48;

/// The one thing that is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// It goes wrong before a version is agreed on.
    Hello(Hello),
    /// The server's certificate is not the hub's.
    Certificate(ServerCertificate),
    /// It accepts the certificates of others only, and says so twice: in its list of issuers and
    /// with unknown_ca.
    Issuers(Issuers),
    /// It does not want our certificate.
    NeverAsks,
    /// It refuses our certificate with this alert, when servers do: within the handshake of TLS
    /// 1.2, after that of 1.3.
    Alert(u8),
    /// It refuses our certificate at the same time, and does not say so.
    ClosesAfterCertificate,
    /// TLS is good, the answer is not.
    Answer(Answer),
}

/// Listens on 127.0.0.1 until it is dropped.
pub struct MisbehavingHub {
    addr: SocketAddr,
    stopping: Arc<AtomicBool>,
    listening: Option<JoinHandle<()>>,
}

struct Role {
    behaviour: Behaviour,
    tls: Arc<ServerConfig>,
}

impl MisbehavingHub {
    pub fn start(
        framework: &TrustFramework,
        version: &'static SupportedProtocolVersion,
        behaviour: Behaviour,
    ) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let addr = listener.local_addr().expect("the port's number");
        let role = Arc::new(Role {
            behaviour,
            tls: certificate::server_config(framework, version, behaviour),
        });
        let stopping = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&stopping);
        Self {
            addr,
            stopping,
            listening: Some(thread::spawn(move || listen(&listener, &role, &stop))),
        }
    }

    pub fn port(&self) -> u16 {
        self.addr.port()
    }
}

impl Drop for MisbehavingHub {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for the next connection.
        let woken = TcpStream::connect(self.addr);
        let ended = self.listening.take().map(JoinHandle::join);
        let well = woken.is_ok() && ended.is_some_and(|ended| ended.is_ok());
        assert!(well || thread::panicking(), "the hub panicked");
    }
}

/// Each connection has a thread: a client may come again while it still holds the last one.
fn listen(listener: &TcpListener, role: &Arc<Role>, stop: &AtomicBool) {
    let mut open: Vec<(Weak<TcpStream>, JoinHandle<()>)> = Vec::new();
    for tcp in listener.incoming() {
        let tcp = Arc::new(tcp.expect("a connection"));
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let role = Arc::clone(role);
        // Weak: what is held here as well would not be closed when its thread closes it.
        let held = Arc::downgrade(&tcp);
        let serving = thread::spawn(move || {
            // A client that leaves is no fault of the hub: the test looks at what the client says.
            let _left: io::Result<()> = role.serve(&tcp);
        });
        open.push((held, serving));
    }
    for (tcp, serving) in open {
        if let Some(tcp) = tcp.upgrade() {
            // It fails where the client has left already.
            let _left = tcp.shutdown(Shutdown::Both);
        }
        serving.join().expect("a connection served without panic");
    }
}

impl Role {
    fn serve(&self, tcp: &TcpStream) -> io::Result<()> {
        tcp.set_nodelay(true)?;
        let first = match self.behaviour {
            Behaviour::Hello(hello) => match hello.meet(tcp)? {
                AfterHello::Reset => return Ok(()),
                AfterHello::Close => return linger(tcp),
                AfterHello::GoOn(first) => first,
            },
            _ => records::record(tcp)?,
        };
        let served = self.speak_tls(tcp, &first);
        linger(tcp).and(served)
    }

    fn speak_tls(&self, tcp: &TcpStream, first: &[u8]) -> io::Result<()> {
        let session = Session::accept(Arc::clone(&self.tls), tcp, first)?;
        match self.behaviour {
            Behaviour::Alert(code) => session.refuse(code),
            Behaviour::Issuers(_) => session.refuse(UNKNOWN_CA),
            Behaviour::ClosesAfterCertificate => Ok(()),
            Behaviour::Answer(answer) => answer.give(session),
            Behaviour::Hello(_) | Behaviour::Certificate(_) | Behaviour::NeverAsks => {
                Answer::Established.give(session)
            }
        }
    }
}

/// Closing a socket with unread bytes sends a reset, which can overtake what was sent before: reads
/// until the client has left.
fn linger(mut tcp: &TcpStream) -> io::Result<()> {
    tcp.shutdown(Shutdown::Write)?;
    io::copy(&mut tcp, &mut io::sink()).map(|_| ())
}
