//! Why a fetched CA certificate does not become a trust anchor, and what to do about it. The bundle stays as it was.

use thiserror::Error;

use crate::certificate::SignatureError;
use crate::config::environment::Environment;
use crate::config::trust::Fingerprint;
use crate::diagnostic::Diagnostic;
use crate::exit_code::ExitCode;

/// A certificate whose fingerprint nobody has confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unaccepted {
    /// Its subject.
    pub subject: String,
    /// The SHA-256 of its DER.
    pub fingerprint: Fingerprint,
}

/// Why a fetched CA certificate does not become a trust anchor.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AnchorError {
    /// Neither the regime nor the configuration says where the CAs are published. The text is the regime's name.
    #[error("regime {0:?} documents no place where its CAs are published")]
    NoUrl(&'static str),
    /// It is no CA certificate. The text is its subject.
    #[error("{0} is no CA certificate")]
    NotACa(String),
    /// It is of the other environment.
    #[error("{subject} is not of the {environment} environment")]
    OfOtherEnvironment {
        /// Its subject.
        subject: String,
        /// The configured environment.
        environment: Environment,
    },
    /// It has expired, or is not valid yet.
    #[error("{subject} is not valid now: its time is from {not_before} to {not_after}")]
    OutOfTime {
        /// Its subject.
        subject: String,
        /// notBefore in RFC 3339.
        not_before: String,
        /// notAfter in RFC 3339.
        not_after: String,
    },
    /// The root that it names as its issuer is neither held nor fetched.
    #[error(
        "{subject} is issued by {issuer}, which is neither in `anchors` nor among what was fetched"
    )]
    NoRoot {
        /// Its subject.
        subject: String,
        /// The name of its issuer.
        issuer: String,
    },
    /// The CA with the name of its issuer did not sign it, or that cannot be checked.
    #[error("{subject} names {issuer} as its issuer, and its signature is not accepted: {fault}")]
    Signature {
        /// Its subject.
        subject: String,
        /// The name of its issuer.
        issuer: String,
        /// What is wrong with the signature.
        fault: SignatureError,
    },
    /// A new root is not among the pins.
    #[error("the new root {subject} ({fingerprint}) is not among the pins of [trust]")]
    NotPinned {
        /// Its subject.
        subject: String,
        /// The SHA-256 of its DER.
        fingerprint: Fingerprint,
    },
    /// Nobody has confirmed the fingerprints.
    #[error("there are new CA certificates, whose fingerprints nobody has confirmed: {}", list(.0))]
    NotAccepted(Vec<Unaccepted>),
}

fn list(all: &[Unaccepted]) -> String {
    let texts = all
        .iter()
        .map(|one| format!("{} ({})", one.subject, one.fingerprint));
    texts.collect::<Vec<_>>().join("; ")
}

impl Diagnostic for AnchorError {
    fn hint(&self) -> String {
        match self {
            Self::NoUrl(_) => {
                "write them into `anchor_urls` of [trust], or put the bundle into the file of `anchors` by hand".to_owned()
            }
            Self::NotACa(_) => {
                "do `anchor_urls` of [trust] lead to the CAs? Compare them with the Trust Framework's documentation".to_owned()
            }
            Self::OfOtherEnvironment { environment, .. } => format!(
                "`anchor_urls` of [trust] have to lead to the CAs of the {}",
                environment.pki()
            ),
            Self::OutOfTime { .. } => {
                "set this machine's clock (NTP) if it is wrong; else ask the Trust Framework's operator for the CA that is in use".to_owned()
            }
            Self::NoRoot { .. } => "name the URL of its root in `anchor_urls` of [trust] too".to_owned(),
            Self::Signature { .. } => {
                "it was not taken: something on the way may have changed it. Try again, then ask the Trust Framework's operator".to_owned()
            }
            Self::NotPinned { fingerprint, .. } => format!(
                "compare the fingerprint with the Trust Framework's operator over another channel; if it is right, add \"{fingerprint}\" to \
                 `pins` and run this again"
            ),
            Self::NotAccepted(all) => {
                let options: Vec<_> = all.iter().map(|one| format!("--accept {}", one.fingerprint)).collect();
                format!(
                    "compare each fingerprint with the Trust Framework's operator over another channel than this network; for those that \
                     are right: `hsm-mtls trust update {}`, or run it at a terminal, or name the roots in `pins` of [trust]",
                    options.join(" ")
                )
            }
        }
    }

    fn exit_code(&self) -> ExitCode {
        match self {
            Self::NoUrl(_) | Self::NotPinned { .. } | Self::NotAccepted(_) => {
                ExitCode::Configuration
            }
            _ => ExitCode::Network,
        }
    }

    fn is_transient(&self) -> bool {
        false
    }
}
