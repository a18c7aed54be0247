//! One service of the hub, visited step by step: name, TCP, TLS, trust, our certificate, the call.

use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, Method};
use tokio::net::TcpStream;
use url::Url;
use uuid::Uuid;

use super::hello::{Hello, SeenCertificate};
use crate::certificate::Certificate;
use crate::certificate::anchors::Chain;
use crate::certificate::name::{Comparison, DistinguishedName};
use crate::client::connector::{Connection, Connector, server_name};
use crate::client::{Answer, Client, ClientError, INTERACTION_ID};
use crate::config::environment::Origin;
use crate::error::ExitCode;
use crate::step::{Outcome, Steps};
use crate::tls::observation::Observation;
use crate::tls::{Tls, TlsError};

const STEPS: [&str; 10] = [
    "name resolution",
    "tcp",
    "tls",
    "server certificate",
    "host name",
    "client certificate asked for",
    "signature",
    "GET /hello-mtls",
    "mTLS status",
    "presented certificate",
];

/// One service, visited once.
pub(super) struct Visit<'a> {
    pub(super) tls: &'a Tls,
    pub(super) connector: &'a Connector,
    pub(super) client: &'a Client,
    pub(super) chain: &'a Chain,
    pub(super) origin: &'a Origin,
}

impl Visit<'_> {
    /// Takes the steps, as far as they can be taken; the interaction id is of the call at the end.
    pub(super) async fn run(&self) -> (Steps, Option<String>) {
        let mut steps = Steps::default();
        let interaction_id = self.take(&mut steps).await;
        steps.end(&STEPS);
        (steps, interaction_id)
    }

    async fn take(&self, steps: &mut Steps) -> Option<String> {
        let deadline = self.connector.deadline();
        let tcp = self.reach(steps, deadline).await?;
        steps.begin();
        let (connection, seen) = self.connector.handshake(self.origin, tcp, deadline).await;
        match &connection {
            Ok(connection) => steps.good("tls", connection.describe()),
            Err(ClientError::Tls(error @ TlsError::ServerUntrusted)) => {
                let hint = "the step `server certificate` says which trust it satisfies";
                steps.bad("tls", error.to_string(), hint, ExitCode::Network);
            }
            Err(error) => failed(steps, "tls", error),
        }
        self.server_certificate(steps, &seen);
        self.client_certificate(steps, &seen);
        let connection = connection.ok()?;
        // Made here, so that it can be told also where no answer comes.
        let id = Uuid::new_v4().to_string();
        if let Some(answer) = self.hello(steps, connection, &id).await {
            judge(steps, &answer, self.chain.leaf());
        }
        Some(id)
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
                let peer = tcp.peer_addr().map(|peer| peer.to_string());
                steps.good("tcp", peer.unwrap_or_default());
                Some(tcp)
            }
            Err(error) => {
                failed(steps, "tcp", &error);
                None
            }
        }
    }

    /// Which trust the chain satisfies, whichever is configured: where the hub's certificate comes
    /// from is not documented beyond doubt, so the operator is told.
    fn server_certificate(&self, steps: &mut Steps, seen: &Observation) {
        let Ok(name) = server_name(self.origin) else {
            return;
        };
        let Some(satisfies) = self.tls.trust().evaluate(&seen.server_chain, &name) else {
            return;
        };
        let mode = self.tls.trust().mode();
        let trust = match (&satisfies.trust_framework, &satisfies.public) {
            (Ok(()), Ok(())) => "satisfies the Trust Framework and public trust".to_owned(),
            (Ok(()), Err(_)) => "satisfies the Trust Framework, not public trust".to_owned(),
            (Err(_), Ok(())) => "satisfies public trust, not the Trust Framework".to_owned(),
            (Err(framework), Err(public)) => {
                format!(
                    "satisfies neither the Trust Framework ({framework}) nor public trust ({public})"
                )
            }
        };
        let leaf = seen
            .server_chain
            .first()
            .and_then(|der| Certificate::from_der(der, "the server").ok());
        let issuer = leaf.map_or_else(String::new, |leaf| format!("; issued by {}", leaf.issuer()));
        let detail = format!("{trust}{issuer}");
        let trusted = (mode.takes_trust_framework() && satisfies.trust_framework.is_ok())
            || (mode.takes_public() && satisfies.public.is_ok());
        if trusted {
            steps.seen("server certificate", Outcome::Good, detail);
        } else {
            let hint = match (&satisfies.trust_framework, &satisfies.public) {
                (Ok(()), _) => "if the hub's operator confirms it, set `mode = \"trust-framework\"` in [trust]".to_owned(),
                (_, Ok(())) => "if the hub's operator confirms it, set `mode = \"public\"` in [trust]".to_owned(),
                (Err(TlsError::ServerUntrusted), _) => {
                    "check `anchors` of [trust]; a proxy that inspects TLS presents a certificate of its own too".to_owned()
                }
                (Err(error), _) => error.hint(),
            };
            steps.fault("server certificate", detail, hint, ExitCode::Network);
        }
        match satisfies.host_name {
            Ok(()) => steps.seen("host name", Outcome::Good, self.origin.host.clone()),
            Err(error) => steps.fault(
                "host name",
                error.to_string(),
                "check [hub] and `lfi_code`: the name is what tells the hub from other participants",
                ExitCode::Network,
            ),
        }
    }

    fn client_certificate(&self, steps: &mut Steps, seen: &Observation) {
        const NAME: &str = "client certificate asked for";
        match &seen.asked {
            Some(asked) if asked.issuers.is_empty() => {
                steps.seen(
                    NAME,
                    Outcome::Good,
                    "asked for; the server names no issuers",
                );
            }
            Some(asked) => {
                let ours = self.chain.certificates().map(|ca| ca.issuer());
                let accepted: Vec<_> = asked
                    .issuers
                    .iter()
                    .filter_map(|der| DistinguishedName::from_der(der))
                    .collect();
                let mut ours = ours.filter(|issuer| accepted.contains(issuer));
                if let Some(issuer) = ours.next() {
                    steps.seen(
                        NAME,
                        Outcome::Good,
                        format!("asked for; {issuer} is among the issuers that it accepts"),
                    );
                } else {
                    let listed: Vec<_> = accepted.iter().map(ToString::to_string).collect();
                    let issuer = self.chain.leaf().issuer();
                    let detail = format!(
                        "asked for, but our issuer {issuer} is not among those that it accepts: {}",
                        listed.join("; ")
                    );
                    steps.seen(NAME, Outcome::Note, detail);
                }
            }
            None if !seen.server_chain.is_empty() => {
                steps.seen(NAME, Outcome::Note, "the server did not ask")
            }
            None => {}
        }
        if let Some(signed) = seen.signed {
            let millis = signed.elapsed.as_micros() as f64 / 1000.0;
            let detail = format!("{} in {millis:.1} ms, verified before use", signed.scheme);
            steps.seen("signature", Outcome::Good, detail);
        }
    }

    async fn hello(&self, steps: &mut Steps, connection: Connection, id: &str) -> Option<Answer> {
        const NAME: &str = "GET /hello-mtls";
        steps.begin();
        let url = Url::parse(&format!("{}/hello-mtls", self.origin)).ok()?;
        let mut headers = HeaderMap::new();
        headers.insert(INTERACTION_ID, id.parse().ok()?);
        let request =
            self.client
                .request_over(connection, Method::GET, &url, headers, Bytes::new());
        match request.await {
            Ok(answer) if answer.status == 200 => {
                steps.good(NAME, "200");
                Some(answer)
            }
            Ok(answer) => {
                let start: String = String::from_utf8_lossy(&answer.body)
                    .chars()
                    .take(160)
                    .filter(|c| !c.is_control())
                    .collect();
                let hint = match answer.status.as_u16() {
                    400 => {
                        "a 400 page right after the handshake is how nginx and its like refuse a client certificate: check `hsm-mtls cert show`"
                    }
                    401 | 403 => {
                        "the hub knows the certificate and does not let it in: ask its operator whether this client is enabled"
                    }
                    300..=399 => "this is not the hub, or something in front of it answers",
                    _ => "ask the hub's operator with the time and the interaction id of this call",
                };
                let detail = format!("{} {start}", answer.status);
                steps.bad(NAME, detail, hint, ExitCode::Network);
                None
            }
            Err(error) => {
                failed(steps, NAME, &error);
                None
            }
        }
    }
}

fn failed(steps: &mut Steps, name: &'static str, error: &ClientError) {
    let (detail, hint) = (error.to_string(), error.hint());
    steps.bad(name, detail, hint, error.exit_code());
}

fn judge(steps: &mut Steps, answer: &Answer, presented: &Certificate) {
    let Some(hello) = Hello::parse(&answer.body) else {
        steps.fault(
            "mTLS status",
            "the body is not what /hello-mtls answers",
            "something other than the hub answers here: check [hub], and proxies in between",
            ExitCode::Finding,
        );
        return;
    };
    let status = hello
        .mtls_status
        .clone()
        .unwrap_or_else(|| "not given".to_owned());
    let host = hello
        .host_name
        .clone()
        .unwrap_or_else(|| "not given".to_owned());
    let detail = format!("{status}; host name {host}");
    if hello.established() {
        steps.seen("mTLS status", Outcome::Good, detail);
    } else {
        steps.fault(
            "mTLS status",
            detail,
            "the hub does not hold this session for mutual: ask its operator with the interaction id of this call",
            ExitCode::Finding,
        );
    }
    let seen = hello.client_certificate.as_ref();
    let told = |of: fn(&SeenCertificate) -> &Option<String>| {
        seen.and_then(|seen| of(seen).as_deref())
            .unwrap_or("nothing")
    };
    let seen_names = format!(
        "subject {}, issuer {}",
        told(|seen| &seen.subject),
        told(|seen| &seen.issuer)
    );
    const NAME: &str = "presented certificate";
    match hello.compare(presented) {
        Comparison::Match => steps.seen(NAME, Outcome::Good, "the hub saw the subject and issuer that were presented"),
        Comparison::CannotTell => steps.seen(
            NAME,
            Outcome::Note,
            format!("cannot tell from what the hub shows: {seen_names}"),
        ),
        Comparison::Mismatch => steps.fault(
            NAME,
            format!("the hub saw another certificate: {seen_names}"),
            "something in between ends TLS and presents a certificate of its own: find that middlebox",
            ExitCode::Finding,
        ),
    }
}
