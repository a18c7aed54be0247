//! Why there is no handshake, and what to do about it.

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

/// Why a handshake was not had, or could not be prepared.
#[derive(Clone, Debug, ThisError)]
pub enum TlsError {
    /// Our certificate, or the trust anchors, are not as they must be.
    #[error(transparent)]
    Certificate(Arc<CertificateError>),
    /// Our certificate was not wanted. Nothing was sent over this connection.
    #[error("the server did not ask for our certificate")]
    NotAsked,
    /// The resolver, verifier and connection could not be told to belong together.
    #[error(
        "a handshake was made outside of the connector, so it is not known whether the server asked for our certificate"
    )]
    NotObserved,
    /// The certificate is not for this host.
    #[error("{host} is not a configured host ({}); it was not offered the certificate", configured.join(", "))]
    HostNotConfigured {
        /// Who would have been offered it.
        host: String,
        /// Who may be.
        configured: Vec<String>,
    },
    /// The time of our certificate has not begun, as far as this machine knows.
    #[error(
        "our certificate is valid from {not_before} on, and this machine's clock says {now}: no connection is made before"
    )]
    NotYetValid {
        /// RFC 3339
        not_before: String,
        /// RFC 3339
        now: String,
    },
    /// No signature scheme in common.
    #[error(
        "the server accepts no signature that the token can make: it takes {}, the key can {}",
        first_words(offered, ", "),
        first_words(ours, ", ")
    )]
    NoCommonScheme {
        /// The server's.
        offered: Vec<String>,
        /// Ours.
        ours: Vec<&'static str>,
    },
    /// The server wants TLS 1.3, and the token cannot sign for that.
    #[error(
        "the server does not speak TLS 1.2, and TLS 1.3 was not offered: it needs RSA-PSS, which the token does not do with this key"
    )]
    NeedsRsaPss,
    /// The token did not sign.
    #[error("our side of the handshake was not signed: {0}")]
    Signature(Arc<EngineError>),
    /// The server's certificate is not good.
    #[error("the server's certificate was refused: {0}")]
    ServerCertificate(String),
    /// Something about the server's certificate, or a revocation list, cannot be checked. It may be as good as any.
    #[error("the server's certificate cannot be checked: {0} is not supported here")]
    Unsupported(String),
    /// The server's certificate is out of its time.
    #[error("the server's certificate was refused: it {}, and this machine's clock says {now}", if *.expired { format!("expired at {limit}") } else { format!("is valid from {limit} on") })]
    ServerTime {
        /// Else it is not valid yet.
        expired: bool,
        /// The end or the beginning of its validity, RFC 3339.
        limit: String,
        /// RFC 3339
        now: String,
    },
    /// A CA signed the server's certificate that only has the name of a trusted one.
    #[error("the server's certificate was refused: the CA that it names did not sign it")]
    ServerSignature,
    /// The CRLs speak against the server's certificate, or do not speak of it.
    #[error("the server's certificate was refused by the CRLs of [trust]: {0}")]
    Revocation(String),
    /// The server showed a certificate, and does not have its key.
    #[error(
        "the server presents a certificate, but did not sign the handshake with its key: it is not the server that the certificate is of"
    )]
    ServerNotProved,
    /// The server's certificate chains to no configured anchor.
    #[error("the server's certificate does not chain to a trusted root")]
    ServerUntrusted,
    /// The server's certificate is for another host.
    #[error("the server's certificate is for {presented}, not for {expected}")]
    ServerName {
        /// The host that was called.
        expected: String,
        /// The names in the certificate.
        presented: String,
    },
    /// The server sent a fatal alert.
    #[error("the server refused us with the TLS alert {name} ({code}){}", if *.when == Moment::AfterOurHello { " in answer to our hello" } else { "" })]
    Alert {
        /// The name of RFC 8446, section 6.
        name: String,
        /// Its number.
        code: u8,
        /// How far the handshake was.
        when: Moment,
    },
    /// The server refused us, and its own list of issuers says why.
    #[error("{refusal}: {foreign}")]
    IssuerNotAccepted {
        /// How it refused.
        refusal: Box<TlsError>,
        /// Its list and our issuer.
        foreign: Box<ForeignIssuer>,
    },
    /// The connection ended in the middle.
    #[error("the server {how} {when}")]
    Closed {
        /// By whose hand, as far as that shows.
        how: Ending,
        /// How far the handshake was.
        when: Moment,
    },
    /// What answered does not speak TLS.
    #[error("what answered does not speak TLS")]
    NotTls,
    /// Neither side could go on.
    #[error("no common ground with the server: {0}")]
    Protocol(String),
    /// What came is not TLS as it should be, so this side ended it.
    #[error("what the server sent is no valid TLS, so we ended the connection: {0}")]
    Malformed(String),
    /// The network failed.
    #[error("the network failed: {0}")]
    Network(String),
    /// Public trust is configured and the machine has no roots.
    #[error("this machine has no public roots{}", because(.0))]
    NoPublicRoots(Vec<String>),
    /// A root of the bundle cannot be an anchor.
    #[error("a root of `anchors` cannot be used: {0}")]
    Anchor(String),
    /// A CRL cannot be used.
    #[error("the CRL {} cannot be used: {why}", path.display())]
    Crl {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A CRL is of a kind that cannot be used.
    #[error("the CRL {} cannot be used: {what} is not supported here", path.display())]
    UnsupportedCrl {
        /// The file.
        path: PathBuf,
        /// What is not supported.
        what: &'static str,
    },
    /// rustls refused what we configured.
    #[error("TLS cannot be set up: {0}")]
    Setup(String),
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// TLS was ended as it should be, by a close_notify.
    Orderly,
    /// TCP was closed in the middle of TLS.
    Abrupt,
    /// By a TCP RST, as firewalls do it.
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

/// How far a handshake was when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The server had shown nothing of itself.
    AfterOurHello,
    /// It had, and did not have our certificate yet.
    DuringTheHandshake,
    /// It had our certificate and signature.
    AfterOurCertificate,
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AfterOurHello => "in answer to our hello",
            Self::DuringTheHandshake => "in the middle of the handshake",
            Self::AfterOurCertificate => "when it had our certificate",
        })
    }
}

/// What servers do that refuse a certificate and do not say so.
pub(crate) const SILENT_REFUSAL: &str = "some servers refuse a certificate without saying so: check with `hsm-mtls cert show` that it is the C3 of this \
     environment, and ask the hub's operator what its log says";

fn because(errors: &[String]) -> String {
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
                "if it says expired or unknown, fetch the Trust Framework's CRL anew; if it says revoked, this is not a hub to talk to".to_owned()
            }
            Self::ServerNotProved => {
                "stop here: something in between shows the hub's certificate as its own. Nothing of ours was sent; tell those who look after the network's security".to_owned()
            }
            Self::ServerUntrusted => {
                "`hsm-mtls verify` says which trust the hub's certificate satisfies; set `mode` and `anchors` of [trust] to it".to_owned()
            }
            Self::ServerName { .. } => {
                "check the host of [hub] or `lfi_code`: every participant's certificate chains to the same CA, so the name decides".to_owned()
            }
            Self::Alert { code, when, .. } => diagnose::alert_hint(*code, *when).to_owned(),
            Self::IssuerNotAccepted { foreign, .. } => foreign.hint(),
            Self::Closed { when, .. } => match when {
                Moment::AfterOurHello => {
                    "a firewall or load balancer in between may end it: `hsm-mtls verify` finds out whether the size of the hello is the cause".to_owned()
                }
                Moment::DuringTheHandshake => "a firewall or load balancer in between may end it; try again, then ask who runs them".to_owned(),
                Moment::AfterOurCertificate => SILENT_REFUSAL.to_owned(),
            },
            Self::NotTls => {
                "is this the hub's port for TLS? A plain HTTP server answers so, and so does a proxy that wants to be asked by CONNECT".to_owned()
            }
            Self::Protocol(_) => "the hub speaks TLS 1.2 with ECDHE and AEAD, or TLS 1.3; is this the hub?".to_owned(),
            Self::Malformed(_) => {
                "something on the way changes what is sent, or the server is at fault: try again; if it stays, ask the hub's operator and those who look after the network".to_owned()
            }
            Self::Network(_) => "try again; if it stays, look at firewall and routes".to_owned(),
            Self::NoPublicRoots(_) => "install `ca-certificates`, or set `mode = \"trust-framework\"`".to_owned(),
            Self::Anchor(_) => "fetch the Trust Framework's bundle anew".to_owned(),
            Self::Crl { .. } => "fetch the CRL anew; it is PEM or DER".to_owned(),
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
