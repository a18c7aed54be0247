//! Why a CRL that was fetched is not taken, and what to do about it. The one that is there stays.

use thiserror::Error;

use crate::certificate::SignatureError;
use crate::diagnostic::Diagnostic;
use crate::exit_code::ExitCode;
use crate::truncated_list::first_few;

/// What came in the place of a CRL.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NotACrl {
    /// Nothing.
    #[error("it is empty")]
    Empty,
    /// A page for people.
    #[error("it is HTML, a page for people")]
    Html,
    /// A message of some server.
    #[error("it is JSON")]
    Json,
    /// A part of a list in DER.
    #[error("it is cut off: {0} bytes are missing")]
    Truncated(u64),
    /// A part of a list in PEM.
    #[error("it is PEM that is cut off or damaged")]
    TruncatedPem,
    /// Something else. The text is the parser's.
    #[error("{0}")]
    Other(String),
}

/// Why a fetched CRL does not take the place of the one that is there.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CrlError {
    /// It is something else, or damaged.
    #[error("what was fetched is no CRL: {0}")]
    NotACrl(NotACrl),
    /// There are several in one file.
    #[error("what was fetched holds {0} CRLs, and one is expected")]
    Several(usize),
    /// There are several in the file that it would replace.
    #[error("the file holds {0} CRLs, of which one would be replaced and the others lost")]
    SeveralHeld(usize),
    /// It is of a CA that is not in the bundle.
    #[error(
        "the CRL is of {issuer}, which is none of the CAs in `anchors` ({})",
        first_few(anchors, "; ")
    )]
    OtherIssuer {
        /// The name of its issuer.
        issuer: String,
        /// The subjects in the bundle.
        anchors: Vec<String>,
    },
    /// The CA with the name of its issuer did not sign it, or that cannot be checked.
    #[error("the CRL names {issuer} as its issuer, and its signature is not accepted: {fault}")]
    Signature {
        /// The name of its issuer.
        issuer: String,
        /// What is wrong with the signature.
        fault: SignatureError,
    },
    /// Its issuer is in the bundle, and no root there issued it.
    #[error("the CRL is of {0}, which no root in `anchors` has issued")]
    UnprovedIssuer(String),
    /// The CA that signed it has a keyUsage without cRLSign.
    #[error("the CRL is signed by {0}, whose keyUsage has no cRLSign: it may not sign lists")]
    IssuerMayNot(String),
    /// It is a delta CRL.
    #[error("the CRL is a delta list, of changes only, which is not supported here")]
    Delta,
    /// Its issuingDistributionPoint is another than that of the list that is there. The text is its issuer.
    #[error(
        "the CRL of {0} is for other certificates than the one that is there (issuingDistributionPoint)"
    )]
    OtherScope(String),
    /// It has no nextUpdate.
    #[error("the CRL has no nextUpdate: it would never be outdated")]
    NoNextUpdate,
    /// Its thisUpdate is in the future.
    #[error("the CRL is of {this_update}, and this machine's clock says {now}")]
    NotYetValid {
        /// thisUpdate in RFC 3339.
        this_update: String,
        /// The time of this machine's clock.
        now: String,
    },
    /// Its nextUpdate has passed.
    #[error(
        "the CRL is outdated: a newer one was due at {next_update}, and this machine's clock says {now}"
    )]
    Outdated {
        /// nextUpdate in RFC 3339.
        next_update: String,
        /// The time of this machine's clock.
        now: String,
    },
    /// The list that is there is another CA's.
    #[error("the CRL is of {fetched}, and the file has that of {held}")]
    OtherThanHeld {
        /// The issuer of the fetched one.
        fetched: String,
        /// The issuer of the one that is there.
        held: String,
    },
    /// The list that is there is newer, by its date or its number.
    #[error(
        "the CRL is older than the one that is there: it is of {fetched}, and that of {held}, or its number is lower"
    )]
    Older {
        /// thisUpdate of the fetched one.
        fetched: String,
        /// thisUpdate of the one that is there.
        held: String,
    },
}

impl Diagnostic for CrlError {
    fn hint(&self) -> String {
        match self {
            Self::NotACrl(NotACrl::Truncated(_) | NotACrl::TruncatedPem) => {
                "try again; if it stays, something on the way cuts it off, or the server has a part only"
            }
            Self::NotACrl(_) => {
                "does the URL lead to the list itself? A portal, or a proxy of the bank that wants a login, answers with a page"
            }
            Self::Several(_) => "name one URL for each list in `crls` of [trust]",
            Self::SeveralHeld(_) => {
                "give the list that is fetched a file of its own: `crls` of [trust] takes any number of files"
            }
            Self::OtherIssuer { .. } => {
                "is it the list of the other environment, or of a new generation of the CA? `hsm-mtls trust update --anchors` looks \
                 for new CAs; correct the `url` in `crls` of [trust] otherwise"
            }
            Self::Signature {
                fault: SignatureError::Mismatch,
                ..
            } => {
                "somebody else may have made it: it was not taken. If it stays, the CA has a new key of the same name \
                 (`hsm-mtls trust update --anchors`); ask the Trust Framework's operator"
            }
            Self::Signature { .. } => {
                "this says nothing against the list: ask the Trust Framework's operator for one that is signed as README.md lists it"
            }
            Self::UnprovedIssuer(_) => "add the root that issued it to `anchors` of [trust]: `hsm-mtls trust update --anchors`",
            Self::IssuerMayNot(_) => "ask the Trust Framework's operator which CA signs its lists",
            Self::OtherScope(_) => {
                "one list would take the place of another that speaks of other certificates: give it a file of its own in `crls` of [trust]; \
                 if the CA has changed its lists for good, remove the file and run this again"
            }
            Self::Delta | Self::NoNextUpdate => {
                "ask the Trust Framework's operator for the URL of a complete list with nextUpdate (RFC 5280, section 5)"
            }
            Self::NotYetValid { .. } => "set this machine's clock (NTP); if it is right, ask the Trust Framework's operator",
            Self::Outdated { .. } => {
                "set this machine's clock (NTP) if it is wrong; else the server, or a cache on the way, has an old list: ask the \
                 Trust Framework's operator"
            }
            Self::OtherThanHeld { .. } => {
                "each CA's list has a file of its own: after a rollover, add one for the new generation to `crls` of [trust], and keep \
                 the old one as long as certificates of the old generation are valid"
            }
            Self::Older { .. } => {
                "a cache on the way may have it, or somebody brings an old list back, in which a certificate is not revoked yet: the \
                 newer one stays; try again later"
            }
        }
        .to_owned()
    }

    fn exit_code(&self) -> ExitCode {
        match self {
            Self::SeveralHeld(_) => ExitCode::Configuration,
            _ => ExitCode::Network,
        }
    }

    fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::NotACrl(NotACrl::Truncated(_) | NotACrl::TruncatedPem)
        )
    }
}
