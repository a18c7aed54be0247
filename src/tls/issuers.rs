//! The issuers that a server says it accepts, held against ours.
//!
//! It is the best diagnosis there is of a certificate from the wrong environment: the server names
//! its CAs in the CertificateRequest, before it has seen ours.

use std::fmt::{self, Display};

use super::observation::Asked;
use super::{Moment, TlsError};
use crate::certificate::anchors::Chain;
use crate::certificate::name::{COMMON_NAME, DistinguishedName};
use crate::config::environment::Environment;
use crate::truncated_list::first_few;

/// What a CertificateRequest says of our certificate's issuer.
#[derive(Clone, Debug)]
pub enum Acceptance {
    /// It names no issuers.
    Unsaid,
    /// This one of ours is among them.
    Accepted {
        /// Its name.
        issuer: DistinguishedName,
        /// Whether the server writes it as ours does. A server that compares bytes would not know it.
        same_encoding: bool,
    },
    /// None of ours is.
    Foreign(Box<ForeignIssuer>),
}

/// A server that accepts certificates, but none of our issuer.
#[derive(Clone, Debug)]
pub struct ForeignIssuer {
    /// Who issued ours.
    pub ours: String,
    /// Whose certificates it accepts.
    pub accepted: Vec<String>,
    /// The environment whose documented CA is among those, where it is not ours.
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

/// The issuers in our chain, and the environment that they are of.
#[derive(Debug)]
pub(super) struct OurIssuers {
    chain: Vec<DistinguishedName>,
    environment: Environment,
}

impl OurIssuers {
    pub(super) fn of(chain: &Chain, environment: Environment) -> Self {
        Self {
            chain: chain.certificates().map(|ca| ca.issuer()).collect(),
            environment,
        }
    }

    /// The other environment, where this is the name of one of its documented CAs.
    pub(super) fn other_environment(&self, ca: &DistinguishedName) -> Option<Environment> {
        let other = self.environment.other();
        let name = ca.first(COMMON_NAME)?;
        other.documented_ca_names().contains(&name).then_some(other)
    }

    /// Holds a server's list against our chain.
    pub(super) fn acceptance(&self, asked: &Asked) -> Acceptance {
        let accepted: Vec<_> = asked
            .issuers
            .iter()
            .filter_map(|der| DistinguishedName::from_der(der))
            .collect();
        if accepted.is_empty() {
            return Acceptance::Unsaid;
        }
        if let Some(issuer) = self.chain.iter().find(|issuer| accepted.contains(issuer)) {
            let same = |ca: &DistinguishedName| ca.der() == issuer.der();
            return Acceptance::Accepted {
                issuer: issuer.clone(),
                same_encoding: accepted.iter().any(same),
            };
        }
        let environment = accepted.iter().find_map(|ca| self.other_environment(ca));
        Acceptance::Foreign(Box::new(ForeignIssuer {
            ours: self
                .chain
                .first()
                .map_or_else(String::new, ToString::to_string),
            accepted: accepted.iter().map(ToString::to_string).collect(),
            environment,
        }))
    }
}

/// A refusal that the server's own list of issuers explains.
pub fn explain(refusal: TlsError, foreign: Option<&ForeignIssuer>) -> TlsError {
    let of_our_certificate = match &refusal {
        // Expired, revoked and denied are said of a certificate whose issuer is known.
        TlsError::Alert { code, .. } => matches!(code, 40 | 42 | 43 | 46 | 48 | 116),
        TlsError::Closed { when, .. } => *when == Moment::AfterOurCertificate,
        _ => false,
    };
    match foreign.filter(|_| of_our_certificate) {
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
    fn an_issuer_in_another_encoding_is_accepted_and_told() {
        let utf8 = name(Any::from(Utf8StringRef::new("Issuing CA").unwrap()));
        let printable = name(Any::from(&PrintableString::new("issuing CA").unwrap()));
        let ours = OurIssuers {
            chain: vec![utf8.clone()],
            environment: Environment::Preprod,
        };
        for (listed, same) in [(&utf8, true), (&printable, false)] {
            let asked = Asked {
                issuers: vec![listed.der()],
                schemes: Vec::new(),
            };
            match ours.acceptance(&asked) {
                Acceptance::Accepted { same_encoding, .. } => assert_eq!(same_encoding, same),
                other => panic!("{other:?}"),
            }
        }
    }
}
