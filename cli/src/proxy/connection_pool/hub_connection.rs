//! One connection to the hub (HTTP/1.1 or HTTP/2), with the cause of its end: TLS alert, GOAWAY, reset or timeout.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Waker};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2 as hyper_http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};

use super::super::http2_error;
use super::super::request_body::RequestBody;
use super::hub_stream::ObservedStream;
use hsm_mtls::internal::client::ClientError;
use hsm_mtls::internal::client::connector::Connection;
use hsm_mtls::internal::client::{MAX_RESPONSE_HEAD, http1_builder, hyper_error};
use hsm_mtls::internal::poison::IgnorePoison as _;
use hsm_mtls::internal::tls::issuers::{ForeignIssuer, explain_refusal};
use hsm_mtls::internal::tls::{Ending, TlsError, ending_of};

/// Windows of HTTP/2: what the hub may send before the application has read it, in bytes.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// What of a request waits in memory for the hub to take it, in bytes.
const SEND_BUFFER: usize = 64 << 10;
/// An HTTP/2 connection that answers no PING is dead.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// How many streams an HTTP/2 peer takes is in its first words (SETTINGS), which come after the
/// handshake. Until then one is sent: a peer that takes fewer refuses those beyond.
const STREAMS_UNTOLD: usize = 1;
/// For how long they are waited for before another connection is made.
const TOLD_WITHIN: Duration = Duration::from_secs(1);

/// A connection that ends this soon without an answer was refused.
pub(super) const REFUSED_WITHIN: Duration = Duration::from_secs(5);

/// The state of a connection, shared by the pool, the requests that use it and the task that drives it.
#[derive(Debug)]
pub(super) struct ConnectionState {
    pub(super) born: Instant,
    /// From then on it takes no further request.
    pub(super) retires: Instant,
    foreign: Option<Box<ForeignIssuer>>,
    heard: OnceLock<TlsError>,
    /// How the peer ended the connection under TLS and HTTP.
    ending: OnceLock<Ending>,
    /// HTTP/2: the peer wants HTTP/1.1.
    requires_http1: AtomicBool,
    /// Requests that were answered.
    pub(super) answered: AtomicUsize,
    /// HTTP/2: streams in use, and how many the peer takes.
    pub(super) streams: AtomicUsize,
    pub(super) most_streams: AtomicUsize,
    /// HTTP/2: something of the peer has come, and its first words are how many that is.
    told: AtomicBool,
    /// What drives it; to be woken where the peer may have said that it takes more.
    driver: Mutex<Option<Waker>>,
}

impl ConnectionState {
    /// What ended it, where that was more than an end.
    pub(super) fn refusal(&self) -> Option<ClientError> {
        let error = self.heard.get()?.clone();
        let foreign = self.foreign.as_deref().filter(|_| !self.has_answered());
        Some(ClientError::Tls(explain_refusal(error, foreign)))
    }

    /// The peer refused us in TLS. The first is the cause of those after it.
    pub(super) fn heard(&self, error: TlsError) {
        let _ = self.heard.set(error);
    }

    /// The peer ended it, in a way of which the first sight counts.
    pub(super) fn ended(&self, how: Ending) {
        let _ = self.ending.set(how);
    }

    /// Over which something was answered: our certificate is good then.
    pub(super) fn has_answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed) > 0
    }

    /// Whether the peer said that it wants HTTP/1.1.
    pub(super) fn requires_http1(&self) -> bool {
        self.requires_http1.load(Ordering::Relaxed)
    }

    /// Why a call over it had no answer.
    pub(super) fn explain(&self, error: hyper::Error) -> ClientError {
        if let Some(refusal) = self.refusal() {
            return refusal;
        }
        if let Some(ending) = http2_error::ending(&error) {
            return ClientError::Http2(ending);
        }
        if error.is_timeout() {
            return ClientError::NoPing;
        }
        let seen = self.ending.get().copied();
        let seen = seen.or_else(|| http2_error::io_kind(&error).and_then(ending_of));
        hyper_error::before_response(error, self.foreign.as_deref(), seen, self.has_answered())
    }

    /// hyper reads what the peer says in a task of its own, and tells nobody how many streams that
    /// takes. At its first words, and where there is no room, whoever drives the connection looks at
    /// each read: it runs after that task, on the one thread of the proxy.
    pub(super) fn look(&self) {
        let first = !self.told.swap(true, Ordering::Relaxed);
        if !first && self.has_room() && self.most_streams.load(Ordering::Relaxed) > STREAMS_UNTOLD {
            return;
        }
        let driver = self.driver.lock();
        if let Some(driver) = driver.ignore_poison().as_ref() {
            driver.wake_by_ref();
        }
    }

    /// HTTP/2: whether the peer will soon say how many streams it takes. Who waits may be served
    /// then.
    pub(super) fn is_untold(&self) -> bool {
        !self.told.load(Ordering::Relaxed) && self.born.elapsed() < TOLD_WITHIN
    }

    fn driven_by(&self, task: &Context<'_>) {
        let driver = self.driver.lock();
        let mut driver = driver.ignore_poison();
        if !driver
            .as_ref()
            .is_some_and(|driver| driver.will_wake(task.waker()))
        {
            *driver = Some(task.waker().clone());
        }
    }

    /// HTTP/2: whether the peer takes another stream.
    pub(super) fn has_room(&self) -> bool {
        self.streams.load(Ordering::Relaxed) < self.most_streams.load(Ordering::Relaxed)
    }
}

/// How to send over it.
#[derive(Debug)]
pub(super) enum RequestSender {
    Http1(http1::SendRequest<RequestBody>),
    Http2(hyper_http2::SendRequest<RequestBody>),
}

/// A connection that can be sent over.
#[derive(Debug)]
pub(in crate::proxy) struct HubConnection {
    pub(super) sender: RequestSender,
    pub(super) state: Arc<ConnectionState>,
}

/// What drives a connection until it ends.
type Driving = Pin<Box<dyn Future<Output = ()> + Send>>;
type Sent = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>;

impl HubConnection {
    /// Begins HTTP on a connection. The future that comes back drives it, until it ends, and says
    /// when an HTTP/2 peer takes more streams than before, or has said for the first time how many.
    pub(super) async fn begin(
        connection: Connection,
        max_age: Duration,
        roomier: impl Fn() + Send + 'static,
    ) -> Result<(Self, Driving), ClientError> {
        let is_h2 = connection.is_h2();
        let (stream, foreign) = connection.into_parts();
        let born = Instant::now();
        // Those that were made together are not all to be replaced together.
        let share = 90
            + SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.subsec_micros() % 11);
        let state = Arc::new(ConnectionState {
            born,
            retires: born + max_age * share / 100,
            foreign,
            heard: OnceLock::new(),
            ending: OnceLock::new(),
            requires_http1: AtomicBool::new(false),
            answered: AtomicUsize::new(0),
            streams: AtomicUsize::new(0),
            most_streams: AtomicUsize::new(match is_h2 {
                true => STREAMS_UNTOLD,
                false => usize::MAX,
            }),
            told: AtomicBool::new(!is_h2),
            driver: Mutex::new(None),
        });
        let io = TokioIo::new(ObservedStream {
            stream,
            state: Arc::clone(&state),
        });
        if is_h2 {
            let begun = hyper_http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .initial_stream_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW)
                .max_send_buf_size(SEND_BUFFER)
                .max_header_list_size(MAX_RESPONSE_HEAD as u32)
                .initial_max_send_streams(STREAMS_UNTOLD)
                .keep_alive_interval(PING_EVERY)
                .keep_alive_timeout(PING_TIMEOUT)
                .handshake(io)
                .await;
            let (sender, mut driver) = begun.map_err(|error| state.explain(error))?;
            let (seen, at_end) = (Arc::clone(&state), Arc::clone(&state));
            let mut told = false;
            let driving = async move {
                let ended = std::future::poll_fn(move |task| {
                    seen.driven_by(task);
                    let ended = Pin::new(&mut driver).poll(task);
                    let most = driver.current_max_send_streams();
                    let more = seen.most_streams.swap(most, Ordering::Relaxed) < most;
                    let heard = seen.told.load(Ordering::Relaxed);
                    if more || heard != std::mem::replace(&mut told, heard) {
                        roomier();
                    }
                    ended
                })
                .await;
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection to the hub ended");
                    let requires_http1 =
                        http2_error::ending(&error).is_some_and(|ending| ending.requires_http1());
                    at_end
                        .requires_http1
                        .store(requires_http1, Ordering::Relaxed);
                }
            };
            let connection = Self {
                sender: RequestSender::Http2(sender),
                state,
            };
            return Ok((connection, Box::pin(driving) as Driving));
        }
        let begun = http1_builder().handshake(io).await;
        let (sender, driver) = begun.map_err(|error| state.explain(error))?;
        let driving = async move {
            if let Err(error) = driver.await {
                tracing::debug!(%error, "a connection to the hub ended");
            }
        };
        let connection = Self {
            sender: RequestSender::Http1(sender),
            state,
        };
        Ok((connection, Box::pin(driving) as Driving))
    }

    /// Why a call over it had no answer.
    pub(in crate::proxy) fn explain(&self, error: hyper::Error) -> ClientError {
        self.state.explain(error)
    }

    pub(super) fn is_closed(&self) -> bool {
        match &self.sender {
            RequestSender::Http1(sender) => sender.is_closed(),
            RequestSender::Http2(sender) => sender.is_closed(),
        }
    }

    pub(super) fn is_ready(&self) -> bool {
        match &self.sender {
            RequestSender::Http1(sender) => sender.is_ready(),
            RequestSender::Http2(sender) => sender.is_ready() && self.state.has_room(),
        }
    }

    /// Sends a request. A request that comes back with the error was never sent.
    pub(in crate::proxy) async fn send(&mut self, request: Request<RequestBody>) -> Sent {
        let sent = match &mut self.sender {
            RequestSender::Http1(sender) => {
                // Back from its last request, it may need a turn to be ready for the next. An end
                // in between is told by the sending itself.
                if !sender.is_ready() {
                    let _ = sender.ready().await;
                }
                sender.try_send_request(request).await
            }
            RequestSender::Http2(sender) => sender.try_send_request(request).await,
        };
        if sent.is_ok() {
            self.state.answered.fetch_add(1, Ordering::Relaxed);
        }
        sent
    }

    /// Another user of the same HTTP/2 connection.
    pub(super) fn shared(&self) -> Option<Self> {
        match &self.sender {
            RequestSender::Http1(_) => None,
            RequestSender::Http2(sender) => Some(Self {
                sender: RequestSender::Http2(sender.clone()),
                state: Arc::clone(&self.state),
            }),
        }
    }
}
