//! One service of the hub, checked step by step: name, TCP, TLS, trust, our certificate, the call.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method};
use tokio::net::TcpStream;
use url::Url;
use uuid::Uuid;

use super::hello_check::{clock, judge};
use super::server_certificate::{
    SIGNATURE, ServerCertificate, client_certificate, server_certificate,
};
use crate::check_steps::Steps;
use hsm_mtls::internal::certificate::Certificate;
use hsm_mtls::internal::client::connector::{Connection, Connector};
use hsm_mtls::internal::client::happy_eyeballs::probe_all;
use hsm_mtls::internal::client::{Client, ClientError, HubResponse, INTERACTION_ID, Stage};
use hsm_mtls::internal::config::environment::Origin;
use hsm_mtls::internal::diagnostic::Diagnostic as _;
use hsm_mtls::internal::exit_code::ExitCode;
use hsm_mtls::internal::tls::handshake_observer::Observation;
use hsm_mtls::internal::tls::{HandshakePhase, Tls, TlsError};

const STEPS: [&str; 11] = [
    "name resolution",
    "tcp",
    "tls",
    "server certificate",
    "host name",
    "client certificate asked for",
    SIGNATURE,
    "GET /hello-mtls",
    "clock",
    "mTLS status",
    "presented certificate",
];

/// The longest answer of `/hello-mtls` that is read, in bytes.
const LONGEST_HELLO: usize = 64 << 10;

/// How long an address that another one was faster than is waited for.
const PATIENCE: Duration = Duration::from_secs(1);
/// A name with more addresses is asked for the first of them.
const MOST_ADDRESSES: usize = 16;

/// One service, checked once.
pub(super) struct ServiceCheck<'a> {
    pub(super) tls: &'a Tls,
    pub(super) connector: &'a Connector,
    /// Sends a small hello; there is none where the configured one is small.
    pub(super) small_hello: Option<&'a Connector>,
    pub(super) client: &'a Client,
    pub(super) presented: &'a Certificate,
    pub(super) origin: &'a Origin,
}

/// What a check of a service gives to the report.
#[derive(Default)]
pub(super) struct CheckedService {
    pub(super) steps: Steps,
    /// Of the call at the end.
    pub(super) interaction_id: Option<String>,
    pub(super) server: Option<ServerCertificate>,
}

impl ServiceCheck<'_> {
    /// Takes the steps, as far as they can be taken.
    pub(super) async fn run(&self) -> CheckedService {
        let mut checked = CheckedService::default();
        self.take(&mut checked).await;
        checked.steps.end(&STEPS);
        checked
    }

    async fn take(&self, checked: &mut CheckedService) -> Option<()> {
        let steps = &mut checked.steps;
        // Made here, so that the ledger has it, and it can be told also where no answer comes.
        let id = Uuid::new_v4().to_string();
        let (connection, seen) = self.handshake(steps, &id).await?;
        checked.server = ServerCertificate::of(&seen);
        server_certificate(steps, self.tls, self.origin, &seen);
        client_certificate(steps, self.tls, &seen);
        let answer = self.hello(steps, connection?, &id).await;
        checked.interaction_id = Some(id);
        judge(steps, &answer?, self.presented);
        Some(())
    }

    /// Name, TCP and TLS. A hello that gets no answer is repeated in a small form: some
    /// middleboxes drop one that does not fit into a packet.
    async fn handshake(
        &self,
        steps: &mut Steps,
        id: &str,
    ) -> Option<(Option<Connection>, Observation)> {
        let deadline = self.connector.deadline();
        let tcp = self.reach(steps, deadline).await?;
        steps.begin();
        let handshake = self
            .connector
            .handshake(self.origin, Some(id.to_owned()), tcp, deadline);
        let (connection, seen) = handshake.await;
        let error = match connection {
            Ok(connection) => {
                steps.good("tls", connection.describe());
                return Some((Some(connection), seen));
            }
            Err(error) => error,
        };
        let small = self
            .small_hello
            .filter(|_| seen.server_chain.is_empty() && unanswered(&error));
        if let Some(small) = small {
            return Some(self.hello_again(steps, id, &error, small).await);
        }
        match &error {
            ClientError::Tls(
                TlsError::ServerUntrusted
                | TlsError::ServerCertificate(_)
                | TlsError::ServerSignature
                | TlsError::ServerTime { .. }
                | TlsError::ServerName { .. }
                | TlsError::Revocation(_),
            ) => {
                let hint = "the steps `server certificate` and `host name` say what to do";
                steps.bad("tls", error.to_string(), hint, ExitCode::Network);
            }
            error => failed(steps, "tls", error),
        }
        Some((None, seen))
    }

    /// What a small hello shows, and whether a large one really gets no answer: one packet may be
    /// lost at any time.
    async fn hello_again(
        &self,
        steps: &mut Steps,
        id: &str,
        error: &ClientError,
        small: &Connector,
    ) -> (Option<Connection>, Observation) {
        let (connection, seen) = self.once_more(small, id).await;
        if seen.server_chain.is_empty() {
            let (detail, hint) = match &connection {
                Err(other) if !unanswered(other) => (
                    format!("{error}; and then: {other}"),
                    "what answers differs from one attempt to the next: try again, then ask who runs the network",
                ),
                _ => (
                    format!("{error}; a small hello gets no answer either"),
                    "its size is not the cause: check firewall and routes, and that host and port are the hub's",
                ),
            };
            steps.bad("tls", detail, hint, error.exit_code());
            return (None, seen);
        }
        let (large, seen_of_large) = self.once_more(self.connector, id).await;
        if let Ok(large) = large {
            let detail = format!(
                "{error}; a second attempt was answered: {}",
                large.describe()
            );
            let hint = "packets are lost on the way, or the server was busy: if it happens again, ask who runs the network";
            steps.note("tls", detail, hint);
            return (Some(large), seen_of_large);
        }
        let detail = format!(
            "{error}, twice; a small hello, without X25519MLKEM768, is answered: something on the way drops large ones"
        );
        let hint = "until whoever runs it has mended that, set `groups = [\"x25519\", \"secp256r1\"]` in [tls]; the steps below were taken so";
        steps.bad("tls", detail, hint, ExitCode::Network);
        match connection {
            Ok(connection) => (Some(connection), seen),
            Err(error) => {
                failed(steps, "tls with a small hello", &error);
                (None, seen)
            }
        }
    }

    async fn once_more(
        &self,
        connector: &Connector,
        id: &str,
    ) -> (Result<Connection, ClientError>, Observation) {
        let deadline = connector.deadline();
        let tcp = async {
            let addresses = connector.resolve(self.origin, deadline).await?;
            connector.tcp(self.origin, &addresses, deadline).await
        };
        match tcp.await {
            Ok(tcp) => {
                connector
                    .handshake(self.origin, Some(id.to_owned()), tcp, deadline)
                    .await
            }
            Err(error) => (Err(error), Observation::default()),
        }
    }

    async fn reach(&self, steps: &mut Steps, deadline: Instant) -> Option<TcpStream> {
        steps.begin();
        let addresses = match self.connector.resolve(self.origin, deadline).await {
            Ok(addresses) => addresses,
            Err(error) => {
                failed(steps, "name resolution", &error);
                return None;
            }
        };
        let listed: Vec<_> = addresses.iter().map(SocketAddr::to_string).collect();
        steps.good("name resolution", listed.join(", "));
        steps.begin();
        match self.connector.tcp(self.origin, &addresses, deadline).await {
            Ok(tcp) => {
                self.look_at_the_others(steps, &tcp, &addresses, deadline)
                    .await;
                Some(tcp)
            }
            Err(error) => {
                failed(steps, "tcp", &error);
                None
            }
        }
    }

    /// One address is enough for a connection. But each that does not answer is a delay on another day,
    /// or what is left when this one is down.
    async fn look_at_the_others(
        &self,
        steps: &mut Steps,
        tcp: &TcpStream,
        addresses: &[SocketAddr],
        deadline: Instant,
    ) {
        let Ok(peer) = tcp.peer_addr() else {
            steps.good("tcp", "");
            return;
        };
        let mut others: Vec<SocketAddr> = Vec::new();
        for address in addresses {
            if *address != peer && !others.contains(address) && others.len() < MOST_ADDRESSES {
                others.push(*address);
            }
        }
        let now = Instant::now();
        // The handshake is to have the most of the time.
        let patience = (deadline.saturating_duration_since(now) / 4).min(PATIENCE);
        let unconnected = probe_all(&others, now + patience).await;
        if unconnected.is_empty() {
            steps.good("tcp", peer.to_string());
            return;
        }
        let said = unconnected.iter().map(|tried| match &tried.error {
            Some(refusal) => format!("{}: {refusal}", tried.address),
            None => format!(
                "{} did not answer within {} ms",
                tried.address,
                patience.as_millis()
            ),
        });
        let said: Vec<_> = said.collect();
        let detail = format!("{peer}; not every address connects: {}", said.join("; "));
        let hint = "connections are made to an address that answers; for the others check firewall and routes from this machine, or ask the hub's operator";
        steps.good_but("tcp", detail, hint);
    }

    async fn hello(
        &self,
        steps: &mut Steps,
        connection: Connection,
        id: &str,
    ) -> Option<HubResponse> {
        const NAME: &str = "GET /hello-mtls";
        steps.begin();
        let url = Url::parse(&format!("{}/hello-mtls", self.origin)).ok()?;
        let mut headers = HeaderMap::new();
        headers.insert(INTERACTION_ID, id.parse().ok()?);
        let client = self.client.clone().with_max_body(LONGEST_HELLO);
        let request = client.request_over(connection, Method::GET, &url, headers, Bytes::new());
        match request.await {
            Ok(answer) => {
                let refusal = answer.error_response();
                match &refusal {
                    None => steps.good(NAME, answer.status.as_str()),
                    Some(refusal) => {
                        steps.bad(
                            NAME,
                            refusal.detail.clone(),
                            refusal.hint,
                            ExitCode::Network,
                        );
                    }
                }
                clock(steps, &answer);
                refusal.is_none().then_some(answer)
            }
            Err(error) => {
                failed(steps, NAME, &error);
                None
            }
        }
    }
}

/// Nothing came back, as far as can be seen.
fn unanswered(error: &ClientError) -> bool {
    match error {
        ClientError::Deadline { stage, .. } => *stage == Stage::Handshake,
        ClientError::Tls(TlsError::Closed { phase, .. }) => {
            *phase == HandshakePhase::AfterClientHello
        }
        ClientError::Tls(TlsError::Network(_)) => true,
        _ => false,
    }
}

fn failed(steps: &mut Steps, name: &'static str, error: &ClientError) {
    let (detail, hint) = (error.to_string(), error.hint());
    steps.bad(name, detail, hint, error.exit_code());
}
