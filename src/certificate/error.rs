//! Why a certificate cannot be used, and what to do about it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::config::environment::Environment;
use crate::config::trust::Fingerprint;
use crate::diagnostic::Diagnostic;
use crate::exit_code::ExitCode;
use crate::key::unsupported::{SUPPORTED, UnsupportedKey};
use crate::truncated_list::first_few;

use super::SignatureError;
use super::file_format::FileFormat;

/// Why a certificate, a chain or a bundle of trust anchors cannot be used.
#[derive(Debug, Error)]
pub enum CertificateError {
    /// The certificate file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        source: std::io::Error,
    },
    /// The bundle of trust anchors (`anchors` of `[trust]`) cannot be read.
    #[error("cannot read the anchors {}: {source}", path.display())]
    AnchorsUnreadable {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        source: std::io::Error,
    },
    /// The certificate file cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        source: std::io::Error,
    },
    /// The input contains no certificate, and its format is unknown. The text is its name: a path, or `the token`.
    #[error("{0} holds no PEM certificate")]
    Empty(String),
    /// The input is of another format than a certificate.
    #[error("{input} holds no PEM certificate: {format}")]
    NotACertificate {
        /// The name of the input: a path, or `the token`.
        input: String,
        /// Its format.
        format: FileFormat,
    },
    /// The input contains a private key. The text is its name.
    #[error("{0} holds a private key")]
    PrivateKeyInFile(String),
    /// A certificate cannot be parsed as X.509.
    #[error("{input} holds a certificate that cannot be used: {why}")]
    Malformed {
        /// The name of the input: a path, or `the token`.
        input: String,
        /// The parser's error.
        why: String,
    },
    /// The configured URI matches no certificate in the token, or several.
    #[error("{} {uri}{}", count_matches(candidates), list_candidates(candidates))]
    NotOneInToken {
        /// The configured URI.
        uri: String,
        /// The certificates that match.
        candidates: Vec<String>,
    },
    /// The certificate's notBefore is in the future.
    #[error("the certificate {subject} is not valid before {not_before}")]
    NotYetValid {
        /// The certificate's subject.
        subject: String,
        /// notBefore in RFC 3339.
        not_before: String,
    },
    /// The certificate's notAfter is in the past.
    #[error("the certificate {subject} expired on {not_after}")]
    Expired {
        /// The certificate's subject.
        subject: String,
        /// notAfter in RFC 3339.
        not_after: String,
    },
    /// The certificate is not for client authentication.
    #[error("the certificate {subject} is not for TLS clients: {why}")]
    NotForClients {
        /// The certificate's subject.
        subject: String,
        /// Which extension excludes it, and how.
        why: &'static str,
    },
    /// The certificate is not for signatures, as a Sig4 certificate has to be.
    #[error("the certificate {subject} is not for signatures: {why}")]
    NotForSignatures {
        /// The certificate's subject.
        subject: String,
        /// Which extension excludes it, and how.
        why: &'static str,
    },
    /// The issuer has the name of a CA of the environment, and its certificate is neither in the file nor in the bundle.
    #[error(
        "the certificate's issuer is missing: {issuer} is neither behind it in the file nor in `anchors` ({})",
        first_few(anchors, "; ")
    )]
    IssuerMissing {
        /// The name of the issuer.
        issuer: String,
        /// The subjects in the bundle.
        anchors: Vec<String>,
    },
    /// The issuer is a CA that the bundle holds in another generation only.
    #[error(
        "the certificate was issued by {issuer}, of which `anchors` holds another generation only: {held}"
    )]
    OtherGeneration {
        /// The name of the issuer.
        issuer: String,
        /// The subject of the CA in the bundle.
        held: String,
    },
    /// The issuer is not a CA of the configured environment.
    #[error(
        "the certificate was issued by {issuer}, which is not of the {environment} anchors ({})",
        first_few(anchors, "; ")
    )]
    NotOfEnvironment {
        /// The name of the issuer.
        issuer: String,
        /// The configured environment.
        environment: Environment,
        /// The subjects in the bundle.
        anchors: Vec<String>,
    },
    /// The bundle has a CA of the other environment.
    #[error("the anchors hold {subject}, which is not of the {environment} environment")]
    AnchorsOfOther {
        /// The subject of that CA.
        subject: String,
        /// The configured environment.
        environment: Environment,
    },
    /// The chain does not verify up to a root of the bundle. The text is the reason.
    #[error("the certificate's chain does not verify: {0}")]
    Chain(String),
    /// The signature on the certificate cannot be checked, since its algorithm or the issuer's key is not supported. It
    /// may be valid.
    #[error("the signature on the certificate {subject} cannot be checked: {fault}")]
    Unchecked {
        /// The certificate's subject.
        subject: String,
        /// What is not supported.
        fault: SignatureError,
    },
    /// A name constraint or critical extension in the chain is not supported, so the chain cannot be checked.
    #[error("the certificate {subject} cannot be checked: {feature} is not supported here")]
    NotSupported {
        /// The certificate's subject.
        subject: String,
        /// What is not supported.
        feature: String,
    },
    /// The type or size of the certificate's key is not supported.
    #[error("the certificate {subject} is of a key that is not supported: {key_type}")]
    UnsupportedKey {
        /// The certificate's subject.
        subject: String,
        /// The type of key, with its size.
        key_type: UnsupportedKey,
    },
    /// The bundle has no root. The path is its file.
    #[error("{} holds no self-signed root", .0.display())]
    NoRoot(PathBuf),
    /// A root of the bundle is not among the pins.
    #[error("the root {subject} ({fingerprint}) is not among the pins of [trust]")]
    NotPinned {
        /// The subject of the root.
        subject: String,
        /// The SHA-256 of its DER.
        fingerprint: Fingerprint,
    },
}

/// The reason of [`CertificateError::NotForClients`] for a CA certificate.
pub(super) const IS_A_CA: &str = "it is a CA certificate";

fn count_matches(candidates: &[String]) -> String {
    match candidates {
        [] => "no certificate in the token matches".to_owned(),
        some => format!("{} certificates in the token match", some.len()),
    }
}

fn list_candidates(candidates: &[String]) -> String {
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
                "`hsm-mtls trust update` fetches the Trust Framework's bundle (Issuing CA and Root) and writes it to `anchors` of [trust]".to_owned()
            }
            Self::Unwritable { source, path } if matches!(source.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => format!(
                "the disk is full: make room there (`df {}` shows it); nothing was changed",
                path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")).display()
            ),
            Self::Unwritable { .. } => "check that the folder exists and that this user may write there; nothing was changed".to_owned(),
            Self::Empty(input) => FileFormat::Unknown.hint(input),
            Self::NotACertificate { input, format } => format.hint(input),
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
            Self::NotForSignatures { .. } => {
                "the Sig4 certificate has keyUsage digitalSignature; give the file with it first, and the CA that issued it behind it".to_owned()
            }
            Self::NotForClients { .. } => {
                "the C3 transport certificate is for clients; is this the Sig4 or a server's certificate?".to_owned()
            }
            Self::IssuerMissing { .. } => {
                "add the Issuing CA's certificate to `anchors` of [trust], as in the Trust Framework's bundle, or to the file behind the C3"
                    .to_owned()
            }
            Self::OtherGeneration { .. } => {
                "`hsm-mtls trust update` fetches the CAs that the Trust Framework publishes, and adds the new generation beside the old one"
                    .to_owned()
            }
            Self::NotOfEnvironment { environment, .. } => format!(
                "the {environment} hub takes certificates of the {} only; is this one of the other environment, or are the anchors?",
                environment.pki()
            ),
            Self::AnchorsOfOther { environment, .. } => format!(
                "give the bundle of the {}, or correct `environment`",
                environment.pki()
            ),
            Self::Chain(_) => {
                "fetch the Trust Framework's bundle anew for `anchors` of [trust]: a CA with a new key keeps its name. \
                 If that changes nothing, the certificate is not of this Trust Framework"
                    .to_owned()
            },
            Self::Unchecked { fault: SignatureError::Weak(_), .. } => {
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
