//! Compares the issuers that a server's CertificateRequest accepts with those of the client certificate.
//!
//! It is the most precise diagnosis of a certificate of the wrong environment: the server names its CAs before it has
//! received the client certificate.

use std::fmt::{self, Display};

use super::handshake_observer::CertificateRequest;
use super::{HandshakePhase, TlsError};
use crate::certificate::anchors::Chain;
use crate::certificate::name::{COMMON_NAME, DistinguishedName};
use crate::config::environment::Environment;
use crate::truncated_list::first_few;

/// Whether a CertificateRequest accepts an issuer of the client certificate.
#[derive(Clone, Debug)]
pub enum IssuerMatch {
    /// The request names no issuers.
    Unspecified,
    /// The request accepts this issuer.
    Accepted {
        /// Its name.
        issuer: DistinguishedName,
        /// Whether server and certificate encode the name in the same bytes. A server that compares bytes refuses another
        /// encoding.
        same_encoding: bool,
    },
    /// The request accepts none of the issuers.
    Foreign(Box<ForeignIssuer>),
}

/// The issuers of a server that does not accept the client certificate's.
#[derive(Clone, Debug)]
pub struct ForeignIssuer {
    /// The issuer of the client certificate.
    pub ours: String,
    /// The issuers that the server accepts.
    pub accepted: Vec<String>,
    /// The other environment, if one of its documented CAs is among the accepted issuers.
    pub environment: Option<Environment>,
}

impl Display for ForeignIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let accepted = first_few(&self.accepted, "; ");
        write!(
            f,
            "it accepts certificates issued by {accepted}, and ours is issued by {}",
            self.ours
        )
    }
}

impl ForeignIssuer {
    /// What to do next.
    pub fn hint(&self) -> String {
        match self.environment {
            Some(environment) => format!(
                "this server is of the {environment} environment, and our certificate is not: check `environment`, [hub] \
                 and `certificate` of [c3]; each environment has a C3 and a key of its own"
            ),
            None => {
                "ask the hub's operator which Trust Framework this host belongs to, and compare with `hsm-mtls cert show`"
                    .to_owned()
            }
        }
    }
}

/// The issuers in the client certificate's chain, and its environment.
#[derive(Debug)]
pub(super) struct ClientIssuers {
    chain: Vec<DistinguishedName>,
    environment: Environment,
}

impl ClientIssuers {
    pub(super) fn new(chain: &Chain, environment: Environment) -> Self {
        Self {
            chain: chain.certificates().map(|ca| ca.issuer()).collect(),
            environment,
        }
    }

    /// The other environment, if `ca` is the name of one of its documented CAs.
    pub(super) fn other_environment(&self, ca: &DistinguishedName) -> Option<Environment> {
        self.environment
            .other_that_documents(&ca.first(COMMON_NAME)?)
    }

    /// Compares the issuers that a server accepts with the chain.
    pub(super) fn match_request(&self, request: &CertificateRequest) -> IssuerMatch {
        let accepted: Vec<_> = request
            .issuers
            .iter()
            .filter_map(|der| DistinguishedName::from_der(der))
            .collect();
        if accepted.is_empty() {
            return IssuerMatch::Unspecified;
        }
        if let Some(issuer) = self.chain.iter().find(|issuer| accepted.contains(issuer)) {
            let same = |ca: &DistinguishedName| ca.der() == issuer.der();
            return IssuerMatch::Accepted {
                issuer: issuer.clone(),
                same_encoding: accepted.iter().any(same),
            };
        }
        let environment = accepted.iter().find_map(|ca| self.other_environment(ca));
        IssuerMatch::Foreign(Box::new(ForeignIssuer {
            ours: self
                .chain
                .first()
                .map_or_else(String::new, ToString::to_string),
            accepted: accepted.iter().map(ToString::to_string).collect(),
            environment,
        }))
    }
}

/// Adds the list of accepted issuers to a refusal if the list explains it.
pub fn explain_refusal(refusal: TlsError, foreign: Option<&ForeignIssuer>) -> TlsError {
    let concerns_certificate = match &refusal {
        // certificate_expired, certificate_revoked and access_denied mean that the issuer is accepted.
        TlsError::Alert { code, .. } => matches!(code, 40 | 42 | 43 | 46 | 48 | 116),
        TlsError::Closed { phase, .. } => *phase == HandshakePhase::AfterClientCertificate,
        _ => false,
    };
    match foreign.filter(|_| concerns_certificate) {
        Some(foreign) => TlsError::IssuerNotAccepted {
            refusal: Box::new(refusal),
            foreign: Box::new(foreign.clone()),
        },
        None => refusal,
    }
}

#[cfg(test)]
mod tests {
    use der::Encode;
    use der::asn1::{Any, PrintableString, SetOfVec, Utf8StringRef};
    use x509_cert::attr::AttributeTypeAndValue;
    use x509_cert::name::{RdnSequence, RelativeDistinguishedName};

    use super::*;
    use crate::regime::Regime;

    fn name(value: Any) -> DistinguishedName {
        let oid = COMMON_NAME;
        let mut set = SetOfVec::new();
        set.insert(AttributeTypeAndValue { oid, value }).unwrap();
        let mut sequence = RdnSequence::default();
        sequence.push(RelativeDistinguishedName::from(set));
        DistinguishedName::from_der(&sequence.to_der().unwrap()).unwrap()
    }

    /// RFC 5280, section 7.1.
    #[test]
    fn an_issuer_in_another_encoding_is_accepted_and_reported() {
        let utf8 = name(Any::from(Utf8StringRef::new("Issuing CA").unwrap()));
        let printable = name(Any::from(&PrintableString::new("issuing CA").unwrap()));
        let ours = ClientIssuers {
            chain: vec![utf8.clone()],
            environment: Environment::named(Regime::named("uae").unwrap(), "preprod").unwrap(),
        };
        for (listed, same) in [(&utf8, true), (&printable, false)] {
            let request = CertificateRequest {
                issuers: vec![listed.der()],
                schemes: Vec::new(),
            };
            match ours.match_request(&request) {
                IssuerMatch::Accepted { same_encoding, .. } => assert_eq!(same_encoding, same),
                other => panic!("{other:?}"),
            }
        }
    }
}
