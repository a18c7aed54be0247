//! What can be wrong with a certificate, and what to do about it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::config::environment::Environment;
use crate::config::trust::Fingerprint;
use crate::diagnostic::Diagnostic;
use crate::exit_code::ExitCode;
use crate::key::unsupported::{SUPPORTED, UnsupportedKey};
use crate::truncated_list::first_few;

use super::SignatureFault;
use super::contents::Contents;

/// Why a certificate does not serve.
#[derive(Debug, Error)]
pub enum CertificateError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The bundle cannot be read.
    #[error("cannot read the anchors {}: {source}", path.display())]
    AnchorsUnreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The file cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// No certificate in it.
    #[error("{0} holds no PEM certificate")]
    Empty(String),
    /// No certificate in it, but something else.
    #[error("{place} holds no PEM certificate: {found}")]
    NotACertificate {
        /// Where.
        place: String,
        /// What it is.
        found: Contents,
    },
    /// A private key in it.
    #[error("{0} holds a private key")]
    PrivateKeyInFile(String),
    /// Not X.509, or of a kind that is not supported.
    #[error("{place} holds a certificate that cannot be used: {why}")]
    Malformed {
        /// Where.
        place: String,
        /// What is wrong.
        why: String,
    },
    /// The token holds none, or several.
    #[error("{} {uri}{}", how_many(candidates), listed(candidates))]
    NotOneInToken {
        /// What was asked for.
        uri: String,
        /// What matches.
        candidates: Vec<String>,
    },
    /// notBefore lies ahead.
    #[error("the certificate {subject} is not valid before {not_before}")]
    NotYetValid {
        /// Whose.
        subject: String,
        /// RFC 3339
        not_before: String,
    },
    /// notAfter has passed.
    #[error("the certificate {subject} expired on {not_after}")]
    Expired {
        /// Whose.
        subject: String,
        /// RFC 3339
        not_after: String,
    },
    /// It may not authenticate a client.
    #[error("the certificate {subject} is not for TLS clients: {why}")]
    NotForClients {
        /// Whose.
        subject: String,
        /// Which extension says so.
        why: &'static str,
    },
    /// Its issuer is the environment's by name, and nowhere to be found.
    #[error(
        "the certificate's issuer is missing: {issuer} is neither behind it in the file nor in `anchors` ({})",
        first_few(anchors, "; ")
    )]
    IssuerMissing {
        /// The issuer.
        issuer: String,
        /// Subjects of the bundle.
        anchors: Vec<String>,
    },
    /// Its issuer is not of the configured environment.
    #[error(
        "the certificate was issued by {issuer}, which is not of the {environment} anchors ({})",
        first_few(anchors, "; ")
    )]
    NotOfEnvironment {
        /// The issuer.
        issuer: String,
        /// The configured environment.
        environment: Environment,
        /// Subjects of the bundle.
        anchors: Vec<String>,
    },
    /// The bundle is the other environment's.
    #[error("the anchors hold {subject}, which is not of the {environment} environment")]
    AnchorsOfOther {
        /// The CA.
        subject: String,
        /// The configured environment.
        environment: Environment,
    },
    /// The chain does not verify up to a root of the bundle.
    #[error("the certificate's chain does not verify: {0}")]
    Chain(String),
    /// Whether its issuer signed it cannot be found out here. It may be as good as any.
    #[error("the signature on the certificate {subject} cannot be checked: {fault}")]
    Unchecked {
        /// Whose.
        subject: String,
        /// What is not supported.
        fault: SignatureFault,
    },
    /// What a CA demands of the certificates below it cannot be checked here.
    #[error("the certificate {subject} cannot be checked: {what} is not supported here")]
    NotSupported {
        /// Whose.
        subject: String,
        /// What it is that cannot be checked.
        what: String,
    },
    /// Its key is of a kind or size that is not supported.
    #[error("the certificate {subject} is of a key that is not supported: {kind}")]
    UnsupportedKey {
        /// Whose.
        subject: String,
        /// The kind of key.
        kind: UnsupportedKey,
    },
    /// The bundle has no root.
    #[error("{} holds no self-signed root", .0.display())]
    NoRoot(PathBuf),
    /// A root of the bundle is not among the pins.
    #[error("the root {subject} ({fingerprint}) is not among the pins of [trust]")]
    NotPinned {
        /// The root.
        subject: String,
        /// Its SHA-256.
        fingerprint: Fingerprint,
    },
}

/// Why a certificate that is a CA's own is not for clients.
pub(super) const IS_A_CA: &str = "it is a CA certificate";

fn how_many(candidates: &[String]) -> String {
    match candidates {
        [] => "no certificate in the token matches".to_owned(),
        some => format!("{} certificates in the token match", some.len()),
    }
}

fn listed(candidates: &[String]) -> String {
    match candidates {
        [] => String::new(),
        some => format!(": {}", first_few(some, ", ")),
    }
}

impl Diagnostic for CertificateError {
    fn hint(&self) -> String {
        match self {
            Self::Unreadable { .. } => {
                "check the path, and that this user may read it; the configured certificate is put in its place by `hsm-mtls cert install FILE`".to_owned()
            }
            Self::AnchorsUnreadable { .. } => {
                "fetch the Trust Framework's bundle (Issuing CA and Root) and write its path to `anchors` of [trust]".to_owned()
            }
            Self::Unwritable { source, path } if matches!(source.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => format!(
                "the disk is full: make room there (`df {}` shows it); nothing was changed",
                path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")).display()
            ),
            Self::Unwritable { .. } => "check that the folder exists and that this user may write there; nothing was changed".to_owned(),
            Self::Empty(place) => Contents::Unknown.hint(place),
            Self::NotACertificate { place, found } => found.hint(place),
            Self::PrivateKeyInFile(_) => {
                "a private key outside the token is not used, and is to be treated as exposed: make a new one with \
                 `hsm-mtls key generate`, and give a file of certificates only"
                    .to_owned()
            }
            Self::Malformed { .. } => "look at it with `openssl x509 -text`; fetch it anew from the Trust Framework".to_owned(),
            Self::NotOneInToken { candidates, .. } if candidates.is_empty() => {
                "put it there with `hsm-mtls cert install FILE`, or correct `certificate` of [c3]".to_owned()
            }
            Self::NotOneInToken { .. } => {
                "make `certificate` of [c3] name exactly one (add id=), or keep the certificate in a file".to_owned()
            }
            Self::NotYetValid { .. } => {
                "check this machine's clock; if it is right, wait until then, and keep the certificate that is installed".to_owned()
            }
            Self::Expired { .. } => "request a new one (`hsm-mtls csr`) and install it; check this machine's clock too".to_owned(),
            Self::NotForClients { why, .. } if *why == IS_A_CA => {
                "give the file with the C3 certificate first, and the CA that issued it behind it".to_owned()
            }
            Self::NotForClients { .. } => {
                "the C3 transport certificate is for clients; is this the Sig4 or a server's certificate?".to_owned()
            }
            Self::IssuerMissing { .. } => {
                "add the Issuing CA's certificate to `anchors` of [trust], as in the Trust Framework's bundle, or to the file behind the C3"
                    .to_owned()
            }
            Self::NotOfEnvironment { environment, .. } => format!(
                "the {environment} hub takes certificates of the {} Trust Framework only; is this one of the other environment, or are the anchors?",
                environment.trust_framework()
            ),
            Self::AnchorsOfOther { environment, .. } => format!(
                "give the bundle of the {} Trust Framework, or correct `environment`",
                environment.trust_framework()
            ),
            Self::Chain(_) => {
                "fetch the Trust Framework's bundle anew for `anchors` of [trust]: a CA with a new key keeps its name. \
                 If that changes nothing, the certificate is not of this Trust Framework"
                    .to_owned()
            },
            Self::Unchecked { fault: SignatureFault::Weak(_), .. } => {
                "ask the Trust Framework for a certificate that is signed with SHA-256 or better".to_owned()
            }
            Self::Unchecked { .. } => format!(
                "this says nothing against the certificate. Checked can be ECDSA and RSA (PKCS #1 v1.5 or PSS) with SHA-256, SHA-384 or \
                 SHA-512, and Ed25519, by {SUPPORTED}: ask the Trust Framework for a certificate that is signed so"
            ),
            Self::NotSupported { .. } => {
                "this says nothing against the certificate; `openssl verify -CAfile ANCHORS FILE` can tell more. Ask the Trust Framework \
                 whether its CAs mean to have it"
                    .to_owned()
            }
            Self::UnsupportedKey { .. } => format!(
                "supported are {SUPPORTED}, and the scheme documents RSA-2048: make such a key in the token \
                 (`hsm-mtls key generate`), and request a certificate for it (`hsm-mtls csr`)"
            ),
            Self::NoRoot(_) => "`anchors` takes the Trust Framework's bundle: Issuing CA and Root".to_owned(),
            Self::NotPinned { .. } => {
                "compare the fingerprint with the Trust Framework over another channel before changing `pins`".to_owned()
            }
        }
    }

    fn exit_code(&self) -> ExitCode {
        ExitCode::Configuration
    }

    fn is_transient(&self) -> bool {
        matches!(self, Self::NotYetValid { .. })
    }
}
