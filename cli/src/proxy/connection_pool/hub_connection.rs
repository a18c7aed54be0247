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

use super::super::request_body::RequestBody;
use super::h2_error;
use super::hub_stream::ObservedStream;
use hsm_mtls::internal::client::ClientError;
use hsm_mtls::internal::client::connector::Connection;
use hsm_mtls::internal::client::{MAX_RESPONSE_HEAD, http1_builder, hyper_error};
use hsm_mtls::internal::poison::IgnorePoison as _;
use hsm_mtls::internal::tls::issuers::{ForeignIssuer, explain_refusal};
use hsm_mtls::internal::tls::session_store::ResumedSession;
use hsm_mtls::internal::tls::{Ending, TlsError, ending_of};

/// The flow-control windows of HTTP/2: the bytes that the hub may send before the application has read them.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// The bytes of a request that wait in memory until the hub reads them.
const SEND_BUFFER: usize = 64 << 10;
/// HTTP/2 keep-alive: a connection on which a PING is not acknowledged is dead.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// The number of streams until the peer's SETTINGS frame, which comes after the handshake and holds
/// SETTINGS_MAX_CONCURRENT_STREAMS. A peer refuses streams above its limit.
const STREAMS_BEFORE_SETTINGS: usize = 1;
/// How long SETTINGS are awaited before another connection is opened.
const SETTINGS_TIMEOUT: Duration = Duration::from_secs(1);

/// A connection that ends this soon without an answer was refused.
pub(super) const REFUSED_WITHIN: Duration = Duration::from_secs(5);

/// The state of a connection, shared by the pool, the requests that use it and the task that drives it.
#[derive(Debug)]
pub(super) struct ConnectionState {
    /// When it was opened.
    pub(super) opened: Instant,
    /// From then on it gets no further request.
    pub(super) expires: Instant,
    /// The session of an earlier connection that it resumes.
    pub(super) resumed: Option<ResumedSession>,
    /// Set if the server's CertificateRequest does not name the issuer of our certificate.
    foreign_issuer: Option<Box<ForeignIssuer>>,
    /// The first TLS error, which is the cause of the others.
    tls_error: OnceLock<TlsError>,
    /// How the peer ended the TCP connection.
    ending: OnceLock<Ending>,
    /// HTTP/2: the peer requires HTTP/1.1 (HTTP_1_1_REQUIRED).
    requires_http1: AtomicBool,
    /// The number of responses.
    pub(super) answered: AtomicUsize,
    /// HTTP/2: the number of streams in use.
    pub(super) streams: AtomicUsize,
    /// HTTP/2: the peer's SETTINGS_MAX_CONCURRENT_STREAMS.
    pub(super) max_streams: AtomicUsize,
    /// HTTP/2: something was received, which begins with the peer's SETTINGS.
    settings_received: AtomicBool,
    /// HTTP/2: the task that drives the connection. It is woken when the peer may have changed its SETTINGS.
    driver: Mutex<Option<Waker>>,
}

impl ConnectionState {
    /// The TLS error that ended the connection, if there was one.
    pub(super) fn refusal(&self) -> Option<ClientError> {
        let error = self.tls_error.get()?.clone();
        let foreign_issuer = self
            .foreign_issuer
            .as_deref()
            .filter(|_| !self.has_answered());
        Some(ClientError::Tls(explain_refusal(error, foreign_issuer)))
    }

    /// Records a TLS error, unless there was one before.
    pub(super) fn set_tls_error(&self, error: TlsError) {
        let _ = self.tls_error.set(error);
    }

    /// Records how the peer ended the connection, unless that is known already.
    pub(super) fn set_ending(&self, ending: Ending) {
        let _ = self.ending.set(ending);
    }

    /// Whether there was a response: then the peer has accepted our certificate.
    pub(super) fn has_answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed) > 0
    }

    /// Whether the peer requires HTTP/1.1.
    pub(super) fn requires_http1(&self) -> bool {
        self.requires_http1.load(Ordering::Relaxed)
    }

    /// Says that the connection ended soon and without an answer, which the session that it resumes may be the reason of.
    fn refuse_session(&self) {
        let is_refusal = !self.has_answered() && self.opened.elapsed() < REFUSED_WITHIN;
        if let Some(session) = self.resumed.as_ref().filter(|_| is_refusal) {
            session.refused();
        }
    }

    /// The cause of hyper's error: why a request got no response.
    pub(super) fn explain(&self, error: hyper::Error) -> ClientError {
        self.refuse_session();
        if let Some(refusal) = self.refusal() {
            return refusal;
        }
        if let Some(ending) = h2_error::ending(&error) {
            return ClientError::Http2(ending);
        }
        if error.is_timeout() {
            return ClientError::NoPing;
        }
        let ending = self.ending.get().copied();
        let ending = ending.or_else(|| h2_error::io_kind(&error).and_then(ending_of));
        hyper_error::before_response(
            error,
            self.foreign_issuer.as_deref(),
            ending,
            self.has_answered(),
        )
    }

    /// HTTP/2: wakes the task that drives the connection, so that it checks the peer's stream limit. hyper reads SETTINGS
    /// in a task of its own, and does not report them. So the driver is woken by the first read, and by each read while
    /// no stream is free; it runs after hyper's task, on the one thread of the proxy.
    pub(super) fn wake_driver(&self) {
        let first = !self.settings_received.swap(true, Ordering::Relaxed);
        if !first
            && self.has_free_stream()
            && self.max_streams.load(Ordering::Relaxed) > STREAMS_BEFORE_SETTINGS
        {
            return;
        }
        let driver = self.driver.lock();
        if let Some(driver) = driver.ignore_poison().as_ref() {
            driver.wake_by_ref();
        }
    }

    /// HTTP/2: whether the peer's SETTINGS are expected soon, after which waiting requests may get a stream.
    pub(super) fn awaits_settings(&self) -> bool {
        !self.settings_received.load(Ordering::Relaxed) && self.opened.elapsed() < SETTINGS_TIMEOUT
    }

    /// Remembers the task that drives the connection.
    fn set_driver(&self, task: &Context<'_>) {
        let driver = self.driver.lock();
        let mut driver = driver.ignore_poison();
        if !driver
            .as_ref()
            .is_some_and(|driver| driver.will_wake(task.waker()))
        {
            *driver = Some(task.waker().clone());
        }
    }

    /// HTTP/2: whether another stream is within the peer's limit.
    pub(super) fn has_free_stream(&self) -> bool {
        self.streams.load(Ordering::Relaxed) < self.max_streams.load(Ordering::Relaxed)
    }
}

/// hyper's handle for sending requests.
#[derive(Debug)]
pub(super) enum RequestSender {
    Http1(http1::SendRequest<RequestBody>),
    Http2(hyper_http2::SendRequest<RequestBody>),
}

/// A connection, or for HTTP/2 a handle on a shared one.
#[derive(Debug)]
pub(in crate::proxy) struct HubConnection {
    pub(super) sender: RequestSender,
    pub(super) state: Arc<ConnectionState>,
}

/// The future that drives a connection until it ends.
type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;
type Sent = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>;

impl HubConnection {
    /// Starts HTTP on a connection. Also returns the future that drives it until it ends, and calls `on_capacity` when an
    /// HTTP/2 peer allows more streams than before, or sent its first SETTINGS.
    pub(super) async fn start(
        connection: Connection,
        max_age: Duration,
        on_capacity: impl Fn() + Send + 'static,
    ) -> Result<(Self, Driver), ClientError> {
        let (is_h2, resumed) = (connection.is_h2(), connection.resumed().cloned());
        let (stream, foreign_issuer) = connection.into_parts();
        let opened = Instant::now();
        // Jitter: 90 to 100 % of the age, so that connections opened together do not expire together.
        let percent = 90
            + SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.subsec_micros() % 11);
        let state = Arc::new(ConnectionState {
            opened,
            resumed,
            expires: opened + max_age * percent / 100,
            foreign_issuer,
            tls_error: OnceLock::new(),
            ending: OnceLock::new(),
            requires_http1: AtomicBool::new(false),
            answered: AtomicUsize::new(0),
            streams: AtomicUsize::new(0),
            max_streams: AtomicUsize::new(match is_h2 {
                true => STREAMS_BEFORE_SETTINGS,
                false => usize::MAX,
            }),
            settings_received: AtomicBool::new(!is_h2),
            driver: Mutex::new(None),
        });
        let io = TokioIo::new(ObservedStream {
            stream,
            state: Arc::clone(&state),
        });
        if is_h2 {
            let started = hyper_http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .initial_stream_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW)
                .max_send_buf_size(SEND_BUFFER)
                .max_header_list_size(MAX_RESPONSE_HEAD as u32)
                .initial_max_send_streams(STREAMS_BEFORE_SETTINGS)
                .keep_alive_interval(PING_INTERVAL)
                .keep_alive_timeout(PING_TIMEOUT)
                .handshake(io)
                .await;
            let (sender, mut driver) = started.map_err(|error| state.explain(error))?;
            let (observed, at_end) = (Arc::clone(&state), Arc::clone(&state));
            let mut settings_reported = false;
            let driver = async move {
                let ended = std::future::poll_fn(move |task| {
                    observed.set_driver(task);
                    let ended = Pin::new(&mut driver).poll(task);
                    let max = driver.current_max_send_streams();
                    let more = observed.max_streams.swap(max, Ordering::Relaxed) < max;
                    let received = observed.settings_received.load(Ordering::Relaxed);
                    if more || received != std::mem::replace(&mut settings_reported, received) {
                        on_capacity();
                    }
                    ended
                })
                .await;
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection to the hub ended");
                    let requires_http1 =
                        h2_error::ending(&error).is_some_and(|ending| ending.requires_http1());
                    at_end
                        .requires_http1
                        .store(requires_http1, Ordering::Relaxed);
                }
            };
            let connection = Self {
                sender: RequestSender::Http2(sender),
                state,
            };
            return Ok((connection, Box::pin(driver) as Driver));
        }
        let started = http1_builder().handshake(io).await;
        let (sender, driver) = started.map_err(|error| state.explain(error))?;
        let driver = async move {
            if let Err(error) = driver.await {
                tracing::debug!(%error, "a connection to the hub ended");
            }
        };
        let connection = Self {
            sender: RequestSender::Http1(sender),
            state,
        };
        Ok((connection, Box::pin(driver) as Driver))
    }

    /// The cause of hyper's error: why a request got no response.
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
            RequestSender::Http2(sender) => sender.is_ready() && self.state.has_free_stream(),
        }
    }

    /// Sends a request. If the error contains the request, nothing of it was sent.
    pub(in crate::proxy) async fn send(&mut self, request: Request<RequestBody>) -> Sent {
        let sent = match &mut self.sender {
            RequestSender::Http1(sender) => {
                // After its last request hyper may need to be polled once before it is ready for the next. If the
                // connection has ended, sending reports it.
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

    /// Another handle on the same HTTP/2 connection. None: it is HTTP/1.1.
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
