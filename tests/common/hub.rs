//! Consent Manager and Headless Heimdall in one server of our own, which remembers what it was shown and asked.

pub mod answer;
pub mod ending;
mod handshake;
pub mod lowering;
mod options;
mod seen;

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::server::TlsStream;

use handshake::Acceptor;
pub use options::{AskForCertificate, HubOptions};
pub use seen::{SeenConnection, SeenRequest};

/// How long [`Hub::wait_for_connections`] waits before it calls the test failed.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Default)]
struct Seen {
    requests: Vec<SeenRequest>,
    connections: Vec<SeenConnection>,
}

#[derive(Default)]
struct Logbook {
    seen: Mutex<Seen>,
    grown: Condvar,
}

impl Logbook {
    fn open(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connected(&self, connection: SeenConnection) -> usize {
        let mut seen = self.open();
        seen.connections.push(connection);
        self.grown.notify_all();
        seen.connections.len() - 1
    }

    fn wait_for_connections(&self, count: usize) -> Vec<SeenConnection> {
        let (seen, timeout) = self
            .grown
            .wait_timeout_while(self.open(), PATIENCE, |seen| seen.connections.len() < count)
            .unwrap_or_else(PoisonError::into_inner);
        let found = seen.connections.clone();
        assert!(
            !timeout.timed_out(),
            "{count} connections expected, {found:?} seen"
        );
        found
    }
}

enum Running {
    Task(AbortHandle),
    Thread {
        stop: Option<oneshot::Sender<Infallible>>,
        thread: Option<thread::JoinHandle<()>>,
    },
}

/// A hub that listens until it is dropped.
pub struct Hub {
    addr: SocketAddr,
    logbook: Arc<Logbook>,
    running: Running,
}

impl Hub {
    /// On the current runtime. Dropping it aborts its tasks; they end when the runtime next runs.
    pub async fn start(options: HubOptions) -> Self {
        let logbook = Arc::new(Logbook::default());
        let (addr, serving) = listen(options, logbook.clone()).await;
        let running = Running::Task(tokio::spawn(serving).abort_handle());
        Self {
            addr,
            logbook,
            running,
        }
    }

    /// On a runtime and thread of its own. When the drop returns, nothing listens any more.
    pub fn start_in_thread(options: HubOptions) -> Self {
        let logbook = Arc::new(Logbook::default());
        let (ready, addr) = std::sync::mpsc::channel();
        let (stop, stopped) = oneshot::channel::<Infallible>();
        let book = logbook.clone();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime for the hub");
            runtime.block_on(async {
                let (addr, serving) = listen(options, book).await;
                ready.send(addr).expect("a test that waits for its hub");
                tokio::select! {
                    () = serving => {}
                    _ = stopped => {}
                }
            });
        });
        Self {
            addr: addr.recv().expect("a hub that listens"),
            logbook,
            running: Running::Thread {
                stop: Some(stop),
                thread: Some(thread),
            },
        }
    }

    pub fn port(&self) -> u16 {
        self.addr.port()
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Every request so far, recorded before it was answered.
    pub fn seen(&self) -> Vec<SeenRequest> {
        self.logbook.open().requests.clone()
    }

    /// Every connection so far whose handshake has ended.
    pub fn connections(&self) -> Vec<SeenConnection> {
        self.logbook.open().connections.clone()
    }

    /// A client may know of its failure a moment before the hub has recorded it: waits for `count` connections.
    pub async fn wait_for_connections(&self, count: usize) -> Vec<SeenConnection> {
        let logbook = self.logbook.clone();
        tokio::task::spawn_blocking(move || logbook.wait_for_connections(count))
            .await
            .expect("the connections in time")
    }

    /// The same for a test without a runtime.
    pub fn wait_for_connections_blocking(&self, count: usize) -> Vec<SeenConnection> {
        self.logbook.wait_for_connections(count)
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        match &mut self.running {
            Running::Task(task) => task.abort(),
            Running::Thread { stop, thread } => {
                drop(stop.take());
                if let Some(thread) = thread.take() {
                    let ended = thread.join();
                    assert!(ended.is_ok() || thread::panicking(), "the hub panicked");
                }
            }
        }
    }
}

struct Service {
    acceptor: Acceptor,
    options: HubOptions,
    logbook: Arc<Logbook>,
}

/// Binds at once; the future that comes back serves for as long as it is polled.
async fn listen(
    options: HubOptions,
    logbook: Arc<Logbook>,
) -> (SocketAddr, impl Future<Output = ()> + Send) {
    let listener = TcpListener::bind((options.address, options.port))
        .await
        .expect("a free port");
    let addr = listener.local_addr().expect("the port's number");
    let service = Arc::new(Service {
        acceptor: Acceptor::new(&options),
        options,
        logbook,
    });
    let serving = async move {
        // Dropped with the future, and the connections with it.
        let mut open = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    let (tcp, _) = accepted.expect("a connection");
                    open.spawn(service.clone().connection(tcp));
                }
                Some(ended) = open.join_next() => ended.expect("a connection served without panic"),
            }
        }
    };
    (addr, serving)
}

impl Service {
    async fn connection(self: Arc<Self>, tcp: TcpStream) {
        tcp.set_nodelay(true).expect("TCP_NODELAY");
        match self.acceptor.accept(tcp).await {
            Ok((tls, seen)) => {
                let client = seen.client_certificate.clone();
                let connection = self.logbook.connected(seen);
                self.serve(tls, connection, client).await;
            }
            Err(refused) => {
                self.logbook.connected(refused.seen);
                handshake::linger(refused.tcp).await;
            }
        }
    }

    async fn serve(
        self: Arc<Self>,
        tls: TlsStream<TcpStream>,
        connection: usize,
        client: Option<CertificateDer<'static>>,
    ) {
        let h2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
        let client = client.map(|der| answer::ClientNames::of(&der));
        if let (Some(lowering), true) = (&self.options.lowering, h2) {
            let record = |body| {
                let seen = lowering::seen(body, client.as_ref(), connection);
                self.logbook.open().requests.push(seen);
            };
            // A client that leaves is no fault of the hub.
            let _left = lowering.serve(tls, self.options.thinks, record).await;
            return;
        }
        if let (Some(endings), true) = (&self.options.endings, h2) {
            let record = |body| {
                let seen = lowering::seen(body, client.as_ref(), connection);
                self.logbook.open().requests.push(seen);
            };
            let _left = endings.serve(tls, record).await;
            return;
        }
        let service = service_fn(|request: Request<Incoming>| {
            let (hub, client) = (self.clone(), client.clone());
            async move {
                let (head, body) = request.into_parts();
                let early = hub.options.early;
                let seen = SeenRequest {
                    method: head.method,
                    path_and_query: head
                        .uri
                        .path_and_query()
                        .map_or_else(String::new, ToString::to_string),
                    headers: head.headers,
                    body: answer::body_read(early, body).await?,
                    client_subject: client.as_ref().map(|names| names.subject.clone()),
                    connection,
                };
                hub.logbook.open().requests.push(seen.clone());
                if !hub.options.thinks.is_zero() {
                    tokio::time::sleep(hub.options.thinks).await;
                }
                let response = answer::early(early)
                    .unwrap_or_else(|| answer::to(&seen, &hub.options.host_name, client.as_ref()));
                if let Some(observe) = &hub.options.observer {
                    observe(&seen, response.status());
                }
                Ok::<_, hyper::Error>(response)
            }
        });
        // How a connection ends is the client's affair: an error here is one of its tests' doing.
        let io = TokioIo::new(tls);
        let _ended = if h2 {
            let mut http2 = http2::Builder::new(TokioExecutor::new());
            if let Some(streams) = self.options.streams {
                http2.max_concurrent_streams(streams);
            }
            http2.serve_connection(io, service).await
        } else {
            http1::Builder::new().serve_connection(io, service).await
        };
    }
}
