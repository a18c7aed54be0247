//! The servers that a token's key is tried with, none of which shares its TLS with the client but rustls: what each of
//! them is told, and how it tells which certificate it saw.

use std::fmt::Write as _;

use aws_lc_rs::digest::{Algorithm, SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use rustls::pki_types::CertificateDer;
use rustls::{ProtocolVersion, SignatureScheme};
use serde::{Deserialize, Serialize};

use crate::common::hub::{Hub, HubOptions};
use crate::common::nginx::{Nginx, NginxOptions, Protocols};
use crate::common::trust_framework::{ServerIdentity, TrustFramework};
use crate::server_process::ServerProcess;

pub const PEERS: [Peer; 5] = [
    Peer::Nginx,
    Peer::OpenSsl,
    Peer::GnuTls,
    Peer::Java,
    Peer::Rustls,
];
pub const VERSIONS: [TlsVersion; 2] = [TlsVersion::Tls12, TlsVersion::Tls13];
const NAME: &str = "localhost";

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub enum Peer {
    Nginx,
    OpenSsl,
    GnuTls,
    Java,
    Rustls,
}

impl Peer {
    /// As the page calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::OpenSsl => "openssl s_server",
            Self::GnuTls => "gnutls-serv",
            Self::Java => "Java",
            Self::Rustls => "rustls",
        }
    }
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub enum TlsVersion {
    Tls12,
    Tls13,
}

impl TlsVersion {
    pub fn name(self) -> &'static str {
        match self {
            Self::Tls12 => "TLS 1.2",
            Self::Tls13 => "TLS 1.3",
        }
    }

    /// As nginx, OpenSSL and Java call it.
    pub fn with_v(self) -> &'static str {
        match self {
            Self::Tls12 => "TLSv1.2",
            Self::Tls13 => "TLSv1.3",
        }
    }
}

/// What a server is to have: its own certificate, and the CAs of the clients that it takes.
pub struct Served {
    pub server: ServerIdentity,
    pub client_roots_pem: String,
}

impl Served {
    /// All of one Trust Framework.
    pub fn of(framework: &TrustFramework) -> Self {
        Self {
            server: framework.issue_server(&[NAME]),
            client_roots_pem: framework.bundle_pem(),
        }
    }
}

/// A server that speaks one version of TLS, requires a client certificate, and verifies it. It ends when it is dropped.
pub enum Server {
    Nginx(Nginx),
    Rustls(Hub),
    /// It answers with a page about the connection.
    Process(Peer, ServerProcess),
}

impl Server {
    pub fn start(peer: Peer, version: TlsVersion, served: &Served) -> Self {
        match peer {
            Peer::Nginx => Self::Nginx(Nginx::start(&NginxOptions {
                server: served.server.clone(),
                client_roots_pem: served.client_roots_pem.clone(),
                verify_client: true,
                protocols: match version {
                    TlsVersion::Tls12 => Protocols::Tls12,
                    TlsVersion::Tls13 => Protocols::Tls13,
                },
                host_name: NAME.to_owned(),
                http2: false,
                requests_per_connection: 1,
                session_timeout: 300,
                has_master: false,
            })),
            Peer::Rustls => {
                let mut options = HubOptions::new(served.server.clone(), &*served.client_roots_pem);
                options.versions = vec![match version {
                    TlsVersion::Tls12 => &rustls::version::TLS12,
                    TlsVersion::Tls13 => &rustls::version::TLS13,
                }];
                Self::Rustls(Hub::start_in_thread(options))
            }
            Peer::OpenSsl => Self::Process(peer, ServerProcess::openssl(version, served)),
            Peer::GnuTls => Self::Process(peer, ServerProcess::gnutls(version, served)),
            Peer::Java => Self::Process(peer, ServerProcess::java(version, served)),
        }
    }

    pub fn port(&self) -> u16 {
        match self {
            Self::Nginx(nginx) => nginx.port(),
            Self::Rustls(hub) => hub.port(),
            Self::Process(_, process) => process.port(),
        }
    }

    /// Whether the last connection was of this version and with this certificate, as the server saw it; `answer` is
    /// what it answered to the request on it.
    ///
    /// # Errors
    ///
    /// What it saw.
    pub fn saw(
        &self,
        version: TlsVersion,
        certificate: &CertificateDer<'_>,
        answer: &str,
    ) -> Result<(), String> {
        let (seen, wanted) = match self {
            Self::Nginx(nginx) => {
                // Its line comes after the answer.
                let last = nginx.wait_for_accesses(1).pop().ok_or("no request")?;
                let hash = hex(&SHA1_FOR_LEGACY_USE_ONLY, certificate);
                let wanted = format!("{} SUCCESS {hash}", version.with_v());
                let seen = format!("{} {} {}", last.protocol, last.verify, last.fingerprint);
                (seen, wanted)
            }
            Self::Rustls(hub) => {
                let last = hub.connections().pop().ok_or("no connection")?;
                let presented = last.client_certificate.as_deref();
                let hash = presented.map_or_else(String::new, |der| hex(&SHA256, der));
                let wanted = match version {
                    TlsVersion::Tls12 => ProtocolVersion::TLSv1_2,
                    TlsVersion::Tls13 => ProtocolVersion::TLSv1_3,
                };
                (
                    format!("{:?} {hash}", last.version),
                    format!("{:?} {}", Some(wanted), hex(&SHA256, certificate)),
                )
            }
            Self::Process(peer, _) => {
                let parts = page_parts(*peer, version, certificate);
                let missing = parts.iter().find(|part| !answer.contains(*part));
                return match missing {
                    None => Ok(()),
                    Some(part) => Err(format!("its page has no {part:?}: {answer}")),
                };
            }
        };
        match seen == wanted {
            true => Ok(()),
            false => Err(format!("it saw {seen}, not {wanted}")),
        }
    }

    /// With what the client signed in the last handshake; rustls alone tells it.
    pub fn signature_scheme(&self) -> Option<SignatureScheme> {
        match self {
            Self::Rustls(hub) => hub.connections().pop()?.signature_scheme,
            _ => None,
        }
    }
}

/// What the page of this server says of a connection with this certificate.
fn page_parts(peer: Peer, version: TlsVersion, certificate: &CertificateDer<'_>) -> Vec<String> {
    let hash = hex(&SHA256, certificate);
    match peer {
        Peer::OpenSsl => {
            let label = "CERTIFICATE";
            let pem = der::pem::encode_string(label, der::pem::LineEnding::LF, certificate);
            vec![
                format!("Protocol  : {}\n", version.with_v()),
                "Verify return code: 0 (ok)".to_owned(),
                pem.expect("PEM"),
            ]
        }
        Peer::GnuTls => vec![
            format!(
                "<TD>Protocol version:</TD><TD>{}</TD>",
                version.name().replace(' ', "")
            ),
            format!("sha256:{hash}"),
        ],
        _ => vec![format!("{} {hash}\n", version.with_v())],
    }
}

fn hex(algorithm: &'static Algorithm, bytes: &[u8]) -> String {
    let hash = digest(algorithm, bytes);
    hash.as_ref().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
