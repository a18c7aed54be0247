//! Checks one service of the hub step by step: the way to it, TLS, certificates, and the answer to a request.

use bytes::Bytes;
use http::{HeaderMap, Method};
use std::borrow::Cow;
use url::Url;
use uuid::Uuid;

use super::answer_check::{check_answer, request_step, request_steps, unexpected_status};
use super::handshake_check::{
    SIGNATURE_STEP, ServerCertificate, check_client_certificate, check_server_certificate,
};
use super::hello_mtls_check::{check_clock, check_response};
use super::way_check::way_steps;
use crate::check_steps::Steps;
use hsm_mtls::internal::certificate::Certificate;
use hsm_mtls::internal::client::connector::{Connection, Connector};
use hsm_mtls::internal::client::{Client, ClientError, HubResponse, INTERACTION_ID, Stage};
use hsm_mtls::internal::config::HubService;
use hsm_mtls::internal::diagnostic::Diagnostic as _;
use hsm_mtls::internal::exit_code::ExitCode;
use hsm_mtls::internal::regime::Expectation;
use hsm_mtls::internal::tls::handshake_observer::Observation;
use hsm_mtls::internal::tls::{HandshakePhase, Tls, TlsError};

/// The steps of the handshake, in their order.
const BEFORE: [&str; 5] = [
    "tls",
    "server certificate",
    "host name",
    "client certificate asked for",
    SIGNATURE_STEP,
];

/// The longest body of the answer that is read, in bytes.
const MAX_ANSWER: usize = 64 << 10;

/// The check of one service.
pub(super) struct ServiceCheck<'a> {
    pub(super) tls: &'a Tls,
    pub(super) connector: &'a Connector,
    /// Sends a small ClientHello. None: the configured one is small already.
    pub(super) small_hello: Option<&'a Connector>,
    pub(super) client: &'a Client,
    pub(super) presented: &'a Certificate,
    pub(super) service: &'a HubService,
}

/// The result of a check, for the report.
#[derive(Default)]
pub(super) struct CheckedService {
    pub(super) steps: Steps,
    /// The interaction id of the request.
    pub(super) interaction_id: Option<String>,
    pub(super) server: Option<ServerCertificate>,
}

impl ServiceCheck<'_> {
    /// Runs the steps until one fails that the next ones need.
    pub(super) async fn run(&self) -> CheckedService {
        let mut checked = CheckedService::default();
        self.run_steps(&mut checked).await;
        let way = way_steps(self.connector.via(&self.service.origin));
        checked.steps.end(&[way, &BEFORE].concat());
        checked.steps.end(&request_steps(&self.service.verify));
        checked
    }

    async fn run_steps(&self, checked: &mut CheckedService) -> Option<()> {
        let steps = &mut checked.steps;
        // Generated before the handshake, so that the ledger records it with the signature, and the report has it even
        // without a response.
        let id = Uuid::new_v4().to_string();
        let (connection, observed) = self.handshake(steps, &id).await?;
        checked.server = ServerCertificate::of(&observed);
        check_server_certificate(steps, self.tls, &self.service.origin, &observed);
        check_client_certificate(steps, self.tls, &observed);
        let response = self.request(steps, connection?, &id).await;
        checked.interaction_id = Some(id);
        let verify = &self.service.verify;
        match verify.expect {
            Expectation::HelloMtls => check_response(steps, &response?, self.presented),
            Expectation::Status => check_answer(steps, &response?, verify),
        }
        Some(())
    }

    /// Name resolution, TCP and TLS. If the ClientHello gets no answer, a small one is tried: some middleboxes drop one
    /// that does not fit into a packet.
    async fn handshake(
        &self,
        steps: &mut Steps,
        id: &str,
    ) -> Option<(Option<Connection>, Observation)> {
        let deadline = self.connector.deadline();
        let tcp = self.connect(steps, deadline).await?;
        steps.begin();
        let handshake =
            self.connector
                .handshake(&self.service.origin, Some(id.to_owned()), tcp, deadline);
        let (connection, observed) = handshake.await;
        let error = match connection {
            Ok(connection) => {
                steps.good("tls", connection.describe());
                return Some((Some(connection), observed));
            }
            Err(error) => error,
        };
        let small = self
            .small_hello
            .filter(|_| observed.server_chain.is_empty() && is_unanswered(&error));
        if let Some(small) = small {
            return Some(self.diagnose_hello_size(steps, id, &error, small).await);
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
            error => record_failure(steps, "tls", error),
        }
        Some((None, observed))
    }

    /// Tries a small ClientHello, and then the large one again, to tell a size limit from a lost packet.
    async fn diagnose_hello_size(
        &self,
        steps: &mut Steps,
        id: &str,
        error: &ClientError,
        small: &Connector,
    ) -> (Option<Connection>, Observation) {
        let (connection, observed) = self.retry_handshake(small, id).await;
        if observed.server_chain.is_empty() {
            let (detail, hint) = match &connection {
                Err(other) if !is_unanswered(other) => (
                    format!("{error}; and then: {other}"),
                    "what answers differs from one attempt to the next: try again, then ask who runs the network",
                ),
                _ => (
                    format!("{error}; a small hello gets no answer either"),
                    "its size is not the cause: check firewall and routes, and that host and port are the hub's",
                ),
            };
            steps.bad("tls", detail, hint, error.exit_code());
            return (None, observed);
        }
        let (large, observed_large) = self.retry_handshake(self.connector, id).await;
        if let Ok(large) = large {
            let detail = format!(
                "{error}; a second attempt was answered: {}",
                large.describe()
            );
            let hint = "packets are lost on the way, or the server was busy: if it happens again, ask who runs the network";
            steps.note("tls", detail, hint);
            return (Some(large), observed_large);
        }
        let detail = format!(
            "{error}, twice; a small hello, without X25519MLKEM768, is answered: something on the way drops large ones"
        );
        let hint = "until whoever runs it has mended that, set `groups = [\"x25519\", \"secp256r1\"]` in [tls]; the steps below were taken so";
        steps.bad("tls", detail, hint, ExitCode::Network);
        match connection {
            Ok(connection) => (Some(connection), observed),
            Err(error) => {
                record_failure(steps, "tls with a small hello", &error);
                (None, observed)
            }
        }
    }

    async fn retry_handshake(
        &self,
        connector: &Connector,
        id: &str,
    ) -> (Result<Connection, ClientError>, Observation) {
        let deadline = connector.deadline();
        match connector.open(&self.service.origin, deadline).await {
            Ok(tcp) => {
                connector
                    .handshake(&self.service.origin, Some(id.to_owned()), tcp, deadline)
                    .await
            }
            Err(error) => (Err(error), Observation::default()),
        }
    }

    async fn request(
        &self,
        steps: &mut Steps,
        connection: Connection,
        id: &str,
    ) -> Option<HubResponse> {
        let verify = &self.service.verify;
        let name = request_step(verify);
        steps.begin();
        let url = Url::parse(&format!("{}{}", self.service.origin, verify.path)).ok()?;
        let mut headers = HeaderMap::new();
        headers.insert(INTERACTION_ID, id.parse().ok()?);
        let client = self.client.clone().with_max_body(MAX_ANSWER);
        let request = client.request_over(connection, Method::GET, &url, headers, Bytes::new());
        match request.await {
            Ok(response) => {
                let refusal = match verify.expect {
                    Expectation::HelloMtls => {
                        let refusal = response.error_response();
                        refusal.map(|refusal| (refusal.detail, refusal.hint))
                    }
                    Expectation::Status => unexpected_status(&response, verify),
                };
                let is_good = refusal.is_none();
                match refusal {
                    None => steps.good(name, response.status.as_str()),
                    Some((detail, hint)) => steps.bad(name, detail, hint, ExitCode::Network),
                }
                check_clock(steps, &response);
                is_good.then_some(response)
            }
            Err(error) => {
                record_failure(steps, name, &error);
                None
            }
        }
    }
}

/// Whether the server sent nothing in answer to the ClientHello, as far as this side can tell.
fn is_unanswered(error: &ClientError) -> bool {
    match error {
        ClientError::InTunnel { error, .. } => is_unanswered(error),
        ClientError::Deadline { stage, .. } => *stage == Stage::Handshake,
        ClientError::Tls(TlsError::Closed { phase, .. }) => {
            *phase == HandshakePhase::AfterClientHello
        }
        ClientError::Tls(TlsError::Network(_)) => true,
        _ => false,
    }
}

pub(super) fn record_failure(
    steps: &mut Steps,
    name: impl Into<Cow<'static, str>>,
    error: &ClientError,
) {
    let (detail, hint) = (error.to_string(), error.hint());
    steps.bad(name, detail, hint, error.exit_code());
}
