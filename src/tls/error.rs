//! Why a TLS handshake failed, and what to do about it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error as ThisError;

use super::diagnose;
use super::issuers::ForeignIssuer;
use crate::certificate::CertificateError;
use crate::diagnostic::Diagnostic;
use crate::engine::EngineError;
use crate::exit_code::ExitCode;
use crate::truncated_list::{first_few, first_words};

/// Why a TLS handshake failed, or could not be prepared.
#[derive(Clone, Debug, ThisError)]
pub enum TlsError {
    /// The client certificate or the bundle of trust anchors cannot be used.
    #[error(transparent)]
    Certificate(Arc<CertificateError>),
    /// The server sent no CertificateRequest. The handshake was aborted, and no request was sent.
    #[error("the server did not ask for our certificate")]
    NotAsked,
    /// The handshake was not observed, so it is unknown whether the server sent a CertificateRequest. It was aborted.
    #[error(
        "a handshake was made outside of the connector, so it is not known whether the server asked for our certificate"
    )]
    NotObserved,
    /// The connection is to a host that is not configured. The client certificate was not offered.
    #[error("{host} is not a configured host ({}); it was not offered the certificate", configured.join(", "))]
    HostNotConfigured {
        /// The host of the connection.
        host: String,
        /// The configured hosts.
        configured: Vec<String>,
    },
    /// The client certificate is not valid yet by this machine's clock. No connection was made.
    #[error(
        "our certificate is valid from {not_before} on, and this machine's clock says {now}: no connection is made before"
    )]
    NotYetValid {
        /// notBefore in RFC 3339.
        not_before: String,
        /// The time of this machine's clock in RFC 3339.
        now: String,
    },
    /// The server accepts no signature scheme that the token supports for this key.
    #[error(
        "the server accepts no signature that the token can make: it takes {}, the key can {}",
        first_words(offered, ", "),
        first_words(ours, ", ")
    )]
    NoCommonScheme {
        /// The schemes that the server accepts.
        offered: Vec<String>,
        /// The schemes that the token supports.
        ours: Vec<&'static str>,
    },
    /// The server requires TLS 1.3, and the token has no RSA-PSS for it.
    #[error(
        "the server does not speak TLS 1.2, and TLS 1.3 was not offered: it needs RSA-PSS, which the token does not do with this key"
    )]
    NeedsRsaPss,
    /// The token did not sign the handshake.
    #[error("our side of the handshake was not signed: {0}")]
    Signature(Arc<EngineError>),
    /// The server's certificate is not valid. The text is the reason.
    #[error("the server's certificate was refused: {0}")]
    ServerCertificate(String),
    /// The server's certificate or a CRL has something that is not supported, which the text names. It may be valid.
    #[error("the server's certificate cannot be checked: {0} is not supported here")]
    Unsupported(String),
    /// The server's certificate has expired or is not valid yet.
    #[error("the server's certificate was refused: it {}, and this machine's clock says {now}", if *.expired { format!("expired at {limit}") } else { format!("is valid from {limit} on") })]
    ServerTime {
        /// Whether it has expired; otherwise it is not valid yet.
        expired: bool,
        /// Its notAfter or notBefore in RFC 3339.
        limit: String,
        /// The time of this machine's clock in RFC 3339.
        now: String,
    },
    /// The server's certificate names a trusted CA as its issuer, which did not sign it.
    #[error("the server's certificate was refused: the CA that it names did not sign it")]
    ServerSignature,
    /// The server's certificate is revoked, or its status is unknown. The text is the reason.
    #[error("the server's certificate was refused by the CRLs of [trust]: {0}")]
    Revocation(String),
    /// The server's CertificateVerify does not match its certificate: it does not have the private key.
    #[error(
        "the server presents a certificate, but did not sign the handshake with its key: it is not the server that the certificate is of"
    )]
    ServerNotProved,
    /// The server's certificate chains to no configured anchor.
    #[error("the server's certificate does not chain to a trusted root")]
    ServerUntrusted,
    /// The server's chain ends at a CA that the bundle holds in another generation only.
    #[error(
        "the server's certificate does not chain to a trusted root: its chain ends at {issuer}, of which `anchors` holds another generation only: {held}"
    )]
    OtherGeneration {
        /// The name of that CA.
        issuer: String,
        /// The subject of the CA in the bundle.
        held: String,
    },
    /// The server's certificate is for another host.
    #[error("the server's certificate is for {presented}, not for {expected}")]
    ServerName {
        /// The host that was called.
        expected: String,
        /// The names in the certificate.
        presented: String,
    },
    /// The server sent a fatal alert.
    #[error("the server refused us with the TLS alert {name} ({code}){}", if *.phase == HandshakePhase::AfterClientHello { " in answer to our hello" } else { "" })]
    Alert {
        /// The name in RFC 8446, section 6.
        name: String,
        /// Its number.
        code: u8,
        /// How far the handshake was.
        phase: HandshakePhase,
    },
    /// The server refused the client certificate, and its own list of accepted issuers explains that.
    #[error("{refusal}: {foreign}")]
    IssuerNotAccepted {
        /// The error by which it refused.
        refusal: Box<TlsError>,
        /// The list, and the client certificate's issuer.
        foreign: Box<ForeignIssuer>,
    },
    /// The peer ended the connection during the handshake.
    #[error("the server {ending} {phase}")]
    Closed {
        /// How it was ended.
        ending: Ending,
        /// How far the handshake was.
        phase: HandshakePhase,
    },
    /// The peer does not respond with TLS.
    #[error("what answered does not speak TLS")]
    NotTls,
    /// Client and server have no protocol version or parameters in common.
    #[error("no common ground with the server: {0}")]
    Protocol(String),
    /// The server sent malformed TLS, so this side ended the connection.
    #[error("what the server sent is no valid TLS, so we ended the connection: {0}")]
    Malformed(String),
    /// The network failed. The text is the operating system's error.
    #[error("the network failed: {0}")]
    Network(String),
    /// Public trust is configured, and this machine has no root certificates. The texts are the errors of reading them.
    #[error("this machine has no public roots{}", append_causes(.0))]
    NoPublicRoots(Vec<String>),
    /// A root of the bundle cannot be used as a trust anchor.
    #[error("a root of `anchors` cannot be used: {0}")]
    Anchor(String),
    /// The anchors of a forward proxy cannot be used: the file, and why.
    #[error("`proxy_anchors` cannot be used: {0}")]
    ProxyAnchors(String),
    /// A CRL cannot be used.
    #[error("the CRL {} cannot be used: {why}", path.display())]
    Crl {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A CRL has something that is not supported.
    #[error("the CRL {} cannot be used: {feature} is not supported here", path.display())]
    UnsupportedCrl {
        /// The file.
        path: PathBuf,
        /// What is not supported.
        feature: &'static str,
    },
    /// rustls refused the configuration, or this side has no clock or random numbers.
    #[error("TLS cannot be set up: {0}")]
    Setup(String),
}

/// How the peer ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// By a close_notify alert of TLS.
    Orderly,
    /// By closing TCP (FIN) without a close_notify.
    Abrupt,
    /// By a TCP RST, as firewalls do.
    Reset,
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Orderly => "ended TLS",
            Self::Abrupt => "closed the connection",
            Self::Reset => "reset the connection",
        })
    }
}

/// The phase of a handshake in which it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakePhase {
    /// After the ClientHello: the server had not sent its certificate.
    AfterClientHello,
    /// The server had sent its certificate, and had not received the client's.
    DuringHandshake,
    /// The server had received the client certificate and signature.
    AfterClientCertificate,
}

impl fmt::Display for HandshakePhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AfterClientHello => "in answer to our hello",
            Self::DuringHandshake => "in the middle of the handshake",
            Self::AfterClientCertificate => "when it had our certificate",
        })
    }
}

/// The advice for a connection that ended in a way that may be a refusal of the client certificate without an alert.
pub(crate) const SILENT_REFUSAL: &str = "some servers refuse a certificate without saying so: check with `hsm-mtls cert show` that it is the C3 of this \
     environment, and ask the hub's operator what its log says";

fn append_causes(errors: &[String]) -> String {
    match errors {
        [] => String::new(),
        some => format!(": {}", first_few(some, "; ")),
    }
}

impl From<CertificateError> for TlsError {
    fn from(error: CertificateError) -> Self {
        Self::Certificate(Arc::new(error))
    }
}

impl Diagnostic for TlsError {
    fn hint(&self) -> String {
        match self {
            Self::Certificate(error) => error.hint(),
            Self::NotAsked => {
                "is this the mTLS host? Some servers ask only on certain paths (by renegotiation, which is not supported): \
                 the hub asks on every connection, so look for a proxy or load balancer that ends TLS in between"
                    .to_owned()
            }
            Self::NotObserved => "make connections with hsm_mtls::client, which watches them".to_owned(),
            Self::HostNotConfigured { .. } => {
                "call a host of the configuration; `hsm-mtls config check` lists them, and [hub] overrides them".to_owned()
            }
            Self::NoCommonScheme { .. } => {
                "the server does not take signatures of this type of key: the scheme's keys are RSA 2048 (`hsm-mtls key generate`); ask the hub's operator before you change it".to_owned()
            }
            Self::NeedsRsaPss => {
                "switch CKM_RSA_PKCS_PSS on in the token's policy, or update its firmware; else the hub has to allow TLS 1.2".to_owned()
            }
            Self::Signature(error) => error.hint(),
            Self::ServerCertificate(_) => "ask the hub's operator; a proxy that inspects TLS presents a certificate of its own too".to_owned(),
            Self::NotYetValid { .. } => "set this machine's clock (NTP); if it is right, the certificate was installed too early: with the time it goes on by itself".to_owned(),
            Self::Unsupported(_) => {
                "this says nothing against the hub. Tell its operator what its certificate (or the list in `crls` of [trust]) has that is \
                 not supported, and ask whether there is one without; until then no call is made"
                    .to_owned()
            }
            Self::ServerTime { expired: true, .. } => "if this machine's clock is right, the hub's operator has to renew it".to_owned(),
            Self::ServerTime { .. } => "set this machine's clock (NTP); if it is right, the hub's operator installed it too early".to_owned(),
            Self::ServerSignature => {
                "another CA bears that name: compare the fingerprints of `anchors` with the Trust Framework's, and look for a proxy that inspects TLS".to_owned()
            }
            Self::Revocation(_) => {
                "if it says older or unknown, fetch the Trust Framework's CRL anew (`hsm-mtls trust update`, where `crls` of [trust] has its `url`); if it says revoked, this is not a hub to talk to".to_owned()
            }
            Self::ServerNotProved => {
                "stop here: something in between shows the hub's certificate as its own. Nothing of ours was sent; tell those who look after the network's security".to_owned()
            }
            Self::ServerUntrusted => {
                "`hsm-mtls verify` says which trust the hub's certificate satisfies; set `mode` and `anchors` of [trust] to it".to_owned()
            }
            Self::OtherGeneration { .. } => {
                "`hsm-mtls trust update` fetches the CAs that the Trust Framework publishes, and adds the new generation beside the \
                 old one once its fingerprint is confirmed; a name alone proves nothing"
                    .to_owned()
            }
            Self::ServerName { .. } => {
                "check the host of [hub] or `lfi_code`: every participant's certificate chains to the same CA, so the name decides".to_owned()
            }
            Self::Alert { code, phase, .. } => diagnose::alert_hint(*code, *phase).to_owned(),
            Self::IssuerNotAccepted { foreign, .. } => foreign.hint(),
            Self::Closed { phase, .. } => match phase {
                HandshakePhase::AfterClientHello => {
                    "a firewall or load balancer in between may end it: `hsm-mtls verify` finds out whether the size of the hello is the cause".to_owned()
                }
                HandshakePhase::DuringHandshake => "a firewall or load balancer in between may end it; try again, then ask who runs them".to_owned(),
                HandshakePhase::AfterClientCertificate => SILENT_REFUSAL.to_owned(),
            },
            Self::NotTls => {
                "is this the hub's port for TLS? A plain HTTP server answers so, and so does a forward proxy, which belongs into `proxy` of [network]".to_owned()
            }
            Self::Protocol(_) => "the hub speaks TLS 1.2 with ECDHE and AEAD, or TLS 1.3; is this the hub?".to_owned(),
            Self::Malformed(_) => {
                "something on the way changes what is sent, or the server is at fault: try again; if it stays, ask the hub's operator and those who look after the network".to_owned()
            }
            Self::Network(_) => "try again; if it stays, look at firewall and routes".to_owned(),
            Self::NoPublicRoots(_) => "install `ca-certificates`, or set `mode = \"trust-framework\"`".to_owned(),
            Self::Anchor(_) => "fetch the Trust Framework's bundle anew (`hsm-mtls trust update`)".to_owned(),
            Self::ProxyAnchors(_) => "it is PEM, with the roots of the forward proxy's certificate: ask who runs it".to_owned(),
            Self::Crl { .. } => "fetch the CRL anew (`hsm-mtls trust update`, where `crls` of [trust] has its `url`); it is PEM or DER".to_owned(),
            Self::UnsupportedCrl { .. } => {
                "this says nothing against the list. Ask its issuer for a complete one of version 2, of one issuer's certificates and for \
                 all reasons, with nextUpdate (RFC 5280, section 5)"
                    .to_owned()
            }
            Self::Setup(_) => "this is a fault of ours: please report it with the configuration".to_owned(),
        }
    }

    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Signature(error) => error.exit_code(),
            Self::NoPublicRoots(_)
            | Self::Anchor(_)
            | Self::ProxyAnchors(_)
            | Self::Crl { .. }
            | Self::NotYetValid { .. }
            | Self::UnsupportedCrl { .. }
            | Self::HostNotConfigured { .. }
            | Self::Certificate(_) => ExitCode::Configuration,
            Self::NotObserved | Self::Setup(_) => ExitCode::Bug,
            _ => ExitCode::Network,
        }
    }

    fn is_transient(&self) -> bool {
        match self {
            Self::Certificate(error) => error.is_transient(),
            _ => matches!(self.exit_code(), ExitCode::Token | ExitCode::Network),
        }
    }
}
