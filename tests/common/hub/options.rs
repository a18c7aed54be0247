//! What a hub of the tests is told to be: well-behaved, unless something else is asked for.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use http::StatusCode;
use rustls::{SignatureScheme, SupportedProtocolVersion};

use super::super::trust_framework::{ServerIdentity, TrustFramework};
use super::ending::Endings;
use super::lowering::Lowering;
use super::{SeenRequest, answer};

/// Whether the hub asks the client for its certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskForCertificate {
    Required,
    /// The misconfigured hub, or the middlebox in front of it.
    Never,
}

/// Told each request and the status of its answer.
pub type Observer = Box<dyn Fn(&SeenRequest, StatusCode) + Send + Sync>;

pub struct HubOptions {
    pub server: ServerIdentity,
    /// Trust anchors for clients; their subjects go out as the list of acceptable issuers.
    pub client_roots_pem: String,
    pub ask: AskForCertificate,
    pub versions: Vec<&'static SupportedProtocolVersion>,
    /// What `/hello-mtls` calls itself.
    pub host_name: String,
    pub alpn: Vec<Vec<u8>>,
    /// Takes signatures of the client with these schemes only.
    pub client_schemes: Option<Vec<SignatureScheme>>,
    pub observer: Option<Observer>,
    /// HTTP/2: streams that it takes at once; None: as hyper does.
    pub streams: Option<u32>,
    /// HTTP/2 by hand, of a hub that takes fewer streams after a while.
    pub lowering: Option<Lowering>,
    /// HTTP/2 by hand, of a hub that ends its first requests unanswered.
    pub endings: Option<Endings>,
    /// Answers with this, and so long, at the head of a request, and reads no body.
    pub early: answer::Early,
    /// How long it thinks before it answers.
    pub thinks: Duration,
    /// Where to listen; port 0: wherever there is room.
    pub address: IpAddr,
    pub port: u16,
}

impl HubOptions {
    /// A well-behaved hub: TLS 1.2 and 1.3, certificate required, HTTP/1.1.
    pub fn new(server: ServerIdentity, client_roots_pem: impl Into<String>) -> Self {
        Self {
            server,
            client_roots_pem: client_roots_pem.into(),
            ask: AskForCertificate::Required,
            versions: vec![&rustls::version::TLS13, &rustls::version::TLS12],
            host_name: "localhost".to_owned(),
            alpn: vec![b"http/1.1".to_vec()],
            client_schemes: None,
            observer: None,
            streams: None,
            lowering: None,
            endings: None,
            early: None,
            thinks: Duration::ZERO,
            address: Ipv4Addr::LOCALHOST.into(),
            port: 0,
        }
    }

    /// The same, its server certificate and client roots from one Trust Framework.
    pub fn of(framework: &TrustFramework, names: &[&str]) -> Self {
        let mut options = Self::new(framework.issue_server(names), framework.bundle_pem());
        options.host_name = names.first().expect("a server name").to_string();
        options
    }
}
