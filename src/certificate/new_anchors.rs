//! Judges CA certificates that were fetched, before they become trust anchors. A self-signed certificate proves nothing: a pin or
//! a person who has compared its fingerprint does. Nothing that is held is ever taken away here.

mod error;

use std::time::SystemTime;

use super::anchors::Anchors;
use super::name::COMMON_NAME;
use super::{Certificate, SignatureError};
use crate::config::Config;
pub use error::{AnchorError, Unaccepted};

/// A CA certificate that the bundle does not hold.
#[derive(Clone, Debug)]
pub struct NewAnchor {
    /// The certificate.
    pub certificate: Certificate,
    /// What speaks for it.
    pub proof: Proof,
}

/// What speaks for a new CA certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// It is a root that `pins` names.
    Pinned,
    /// A root that `pins` names has issued it.
    IssuedByPinned,
    /// Nothing yet: somebody has to compare its fingerprint.
    Fingerprint,
}

/// The certificates among `fetched` that are not held, each with what speaks for it. `held` is the bundle, if there is one.
///
/// # Errors
/// One is no CA, out of its time, of the other environment, issued by no root that is held or fetched, or a root that is not
/// among the pins.
pub fn judge(
    config: &Config,
    held: Option<&Anchors>,
    fetched: Vec<Certificate>,
    now: SystemTime,
) -> Result<Vec<NewAnchor>, AnchorError> {
    let held: Vec<&Certificate> = held.map_or_else(Vec::new, |held| held.all().collect());
    let mut new: Vec<Certificate> = Vec::new();
    for certificate in fetched {
        let is_known = |known: &Certificate| known.der() == certificate.der();
        if !held.iter().copied().any(is_known) && !new.iter().any(is_known) {
            new.push(certificate);
        }
    }
    let roots = held.iter().copied().chain(&new);
    let roots: Vec<_> = roots.filter(|ca| ca.is_self_issued()).collect();
    let pins = &config.trust.pins;
    let judged = new.iter().map(|certificate| {
        check(config, certificate, now)?;
        let issuer = issuer(certificate, &roots)?;
        let is_pinned = pins.contains(&issuer.fingerprint());
        let proof = match (is_pinned, certificate.is_self_issued()) {
            (true, true) => Proof::Pinned,
            (true, false) => Proof::IssuedByPinned,
            (false, _) if pins.is_empty() => Proof::Fingerprint,
            (false, _) => {
                return Err(AnchorError::NotPinned {
                    subject: issuer.subject().to_string(),
                    fingerprint: issuer.fingerprint(),
                });
            }
        };
        let certificate = certificate.clone();
        Ok(NewAnchor { certificate, proof })
    });
    judged.collect()
}

fn check(config: &Config, certificate: &Certificate, now: SystemTime) -> Result<(), AnchorError> {
    let subject = || certificate.subject().to_string();
    if !certificate.is_ca() {
        return Err(AnchorError::NotACa(subject()));
    }
    let name = certificate.subject().first(COMMON_NAME);
    if name.is_some_and(|name| config.environment.other_that_documents(&name).is_some()) {
        return Err(AnchorError::OfOtherEnvironment {
            subject: subject(),
            environment: config.environment,
        });
    }
    if certificate.days_left(now) < 0 || certificate.not_before_time() > now {
        return Err(AnchorError::OutOfTime {
            subject: subject(),
            not_before: certificate.not_before(),
            not_after: certificate.not_after(),
        });
    }
    Ok(())
}

/// The root that issued it; of a root, itself.
fn issuer<'a>(
    certificate: &'a Certificate,
    roots: &[&'a Certificate],
) -> Result<&'a Certificate, AnchorError> {
    let wrong = |fault| AnchorError::Signature {
        subject: certificate.subject().to_string(),
        issuer: certificate.issuer().to_string(),
        fault,
    };
    if certificate.is_self_issued() {
        let signed = certificate.check_signature(certificate);
        return signed.map(|()| certificate).map_err(wrong);
    }
    let mut named = roots
        .iter()
        .filter(|root| certificate.names_as_issuer(root))
        .peekable();
    if named.peek().is_none() {
        return Err(AnchorError::NoRoot {
            subject: certificate.subject().to_string(),
            issuer: certificate.issuer().to_string(),
        });
    }
    let mut fault = SignatureError::Mismatch;
    for root in named {
        match certificate.check_signature(root) {
            Ok(()) => return Ok(root),
            Err(SignatureError::Mismatch) => {}
            Err(other) => fault = other,
        }
    }
    Err(wrong(fault))
}
