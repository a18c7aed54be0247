//! Judges a published key set against the Sig4 certificate: whether a hub that reads it accepts tokens with our `kid`.

use super::{Jwk, JwkSet};
use crate::certificate::Certificate;
use crate::jwt_claims::ALGORITHM;
use crate::key::public::PublicKey;

/// What of a set is judged, in the order in which it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aspect {
    /// Whether our `kid` is there, once.
    Kid,
    /// Whether the key under it is ours.
    Key,
    /// Whether its certificate is ours.
    Certificate,
    /// Whether it is for signatures by PS256.
    Purpose,
    /// What is said of other keys of the set.
    OtherKeys,
}

impl Aspect {
    /// All, in their order.
    pub const ALL: [Self; 5] = [
        Self::Kid,
        Self::Key,
        Self::Certificate,
        Self::Purpose,
        Self::OtherKeys,
    ];
}

/// What is to be said of a set. The notes are no obstacle for a verifier that follows RFC 7517.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Finding {
    /// No key has our `kid`.
    #[error("no key has our kid {kid}; it has {}", if keys.is_empty() { "no keys at all".to_owned() } else { keys.join("; ") })]
    KidMissing {
        /// Our `kid`.
        kid: String,
        /// The keys that there are, each described.
        keys: Vec<String>,
    },
    /// More than one key has our `kid`.
    #[error("{count} keys have our kid {kid}: which one counts is left to each verifier")]
    KidTwice {
        /// Our `kid`.
        kid: String,
        /// How many.
        count: usize,
    },
    /// The key under our `kid` is another.
    #[error(
        "the key under our kid is another (SPKI {published}) than that of our certificate (SPKI {ours})"
    )]
    OtherKey {
        /// The SHA-256 of the published key's SubjectPublicKeyInfo.
        published: String,
        /// That of ours.
        ours: String,
    },
    /// What is under our `kid` is no key for PS256.
    #[error("what is under our kid verifies no PS256: {0}")]
    UnusableKey(String),
    /// The first certificate of `x5c` is another.
    #[error("the certificate under our kid (x5c) is another: its x5t#S256 is {published}")]
    OtherCertificate {
        /// The SHA-256 of the published certificate in base64url.
        published: String,
    },
    /// `x5c` cannot be read.
    #[error("the certificate under our kid (x5c) cannot be read: {0}")]
    UnreadableCertificate(&'static str),
    /// There is no `x5c`.
    #[error("no certificate is published with the key (x5c)")]
    NoCertificate,
    /// `x5t#S256` is another.
    #[error("its x5t#S256 is {published}, and that of our certificate is {ours}")]
    OtherThumbprint {
        /// The published one.
        published: String,
        /// Ours.
        ours: String,
    },
    /// `use` is not `sig`.
    #[error("its use is {0:?}, and the hub looks for keys with the use \"sig\"")]
    OtherUse(String),
    /// There is no `use`.
    #[error("it names no use")]
    NoUse,
    /// `key_ops` has no `verify`.
    #[error("its key_ops ({0}) have no verify")]
    NoVerify(String),
    /// `alg` is not PS256.
    #[error("its alg is {0:?}, and the tokens are signed by {ALGORITHM}")]
    OtherAlgorithm(String),
    /// There is no `alg`.
    #[error("it names no alg")]
    NoAlgorithm,
    /// Our key is under another `kid` too, or only.
    #[error("our key is also published under another kid: {0}")]
    OurKeyElsewhere(String),
    /// A key of the set has private members.
    #[error("a private key is published: {0}")]
    PrivateKey(String),
    /// The other keys.
    #[error("{}", .0.join("; "))]
    OtherKeys(Vec<String>),
}

impl Finding {
    /// What it is about.
    pub fn aspect(&self) -> Aspect {
        match self {
            Self::KidMissing { .. } | Self::KidTwice { .. } => Aspect::Kid,
            Self::OtherKey { .. } | Self::UnusableKey(_) => Aspect::Key,
            Self::OtherCertificate { .. }
            | Self::UnreadableCertificate(_)
            | Self::NoCertificate
            | Self::OtherThumbprint { .. } => Aspect::Certificate,
            Self::OtherUse(_)
            | Self::NoUse
            | Self::NoVerify(_)
            | Self::OtherAlgorithm(_)
            | Self::NoAlgorithm => Aspect::Purpose,
            Self::OurKeyElsewhere(_) | Self::PrivateKey(_) | Self::OtherKeys(_) => {
                Aspect::OtherKeys
            }
        }
    }

    /// Whether it is only worth knowing.
    pub fn is_note(&self) -> bool {
        matches!(
            self,
            Self::NoCertificate | Self::NoUse | Self::NoAlgorithm | Self::OtherKeys(_)
        )
    }

    /// What to do.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::KidMissing { .. } => {
                "register the Sig4 certificate with the Trust Framework, or configure the one that is registered: without it \
                 the hub refuses each token"
            }
            Self::KidTwice { .. } => {
                "have the superfluous key removed from the application in the Trust Framework"
            }
            Self::OtherKey { .. } | Self::UnusableKey(_) => {
                "a kid that does not belong to the key is the commonest mistake: tell the Trust Framework's operator both SPKI \
                 hashes, or register the certificate anew"
            }
            Self::OtherCertificate { .. }
            | Self::UnreadableCertificate(_)
            | Self::OtherThumbprint { .. } => {
                "tell the Trust Framework's operator: a verifier that compares certificate and kid refuses the token"
            }
            Self::OtherUse(_) | Self::NoVerify(_) => {
                "register the certificate as a signing certificate (Sig4), not as one for transport or encryption"
            }
            Self::OtherAlgorithm(_) => {
                "tell the Trust Framework's operator: a verifier that follows `alg` refuses PS256"
            }
            Self::OurKeyElsewhere(_) => {
                "a renewed certificate with the old key does that: make a new key for each certificate, and have the old entry \
                 removed"
            }
            Self::PrivateKey(_) => {
                "whoever reads the set has that key: revoke it now, and register a new one"
            }
            Self::NoCertificate | Self::NoUse | Self::NoAlgorithm | Self::OtherKeys(_) => {
                "a verifier by RFC 7517 does without"
            }
        }
    }
}

/// Judges a set against the Sig4 certificate.
pub fn judge(set: &JwkSet, certificate: &Certificate) -> Vec<Finding> {
    let kid = certificate.x5t_s256();
    let ours = set.with_kid(&kid);
    let mut findings = Vec::new();
    match ours.len() {
        0 => findings.push(Finding::KidMissing {
            kid: kid.clone(),
            keys: set.keys().iter().map(Jwk::describe).collect(),
        }),
        1 => {}
        count => findings.push(Finding::KidTwice {
            kid: kid.clone(),
            count,
        }),
    }
    for key in &ours {
        findings.extend(judge_key(key, certificate));
        findings.extend(judge_certificate(key, certificate));
        findings.extend(judge_purpose(key));
    }
    let mut others = Vec::new();
    for key in set.keys() {
        if key.is_private {
            findings.push(Finding::PrivateKey(key.describe()));
        }
        if key.kid.as_deref() == Some(&kid) {
            continue;
        }
        let published = key.key.as_ref().ok();
        match published.zip(certificate.public_key()) {
            Some((published, ours)) if is_same(published, ours) => {
                findings.push(Finding::OurKeyElsewhere(key.describe()));
            }
            _ => others.push(key.describe()),
        }
    }
    if !others.is_empty() && !ours.is_empty() {
        findings.push(Finding::OtherKeys(others));
    }
    findings
}

/// Whether modulus and exponent are the same. The encodings around them may differ: some certificates leave out the NULL of
/// rsaEncryption.
fn is_same(one: &PublicKey, other: &PublicKey) -> bool {
    one.algorithm() == other.algorithm() && one.bits() == other.bits()
}

fn judge_key(key: &Jwk, certificate: &Certificate) -> Option<Finding> {
    let published = match &key.key {
        Ok(published) => published,
        Err(why) => return Some(Finding::UnusableKey(why.clone())),
    };
    let ours = certificate.public_key();
    match ours.is_some_and(|ours| is_same(published, ours)) {
        true => None,
        false => Some(Finding::OtherKey {
            published: published.fingerprint().to_string(),
            ours: ours.map_or_else(
                || "of a kind that is not supported".to_owned(),
                |ours| ours.fingerprint().to_string(),
            ),
        }),
    }
}

fn judge_certificate(key: &Jwk, certificate: &Certificate) -> Vec<Finding> {
    let mut findings = Vec::new();
    match &key.certificates {
        None => findings.push(Finding::NoCertificate),
        Some(Err(why)) => findings.push(Finding::UnreadableCertificate(why)),
        Some(Ok(chain)) => {
            let leaf = chain.first().map(Vec::as_slice).unwrap_or_default();
            if leaf != certificate.der() {
                let published = super::thumbprint(leaf);
                findings.push(Finding::OtherCertificate { published });
            }
        }
    }
    let ours = certificate.x5t_s256();
    if let Some(published) = key.thumbprint.clone().filter(|found| *found != ours) {
        findings.push(Finding::OtherThumbprint { published, ours });
    }
    findings
}

pub(super) fn judge_purpose(key: &Jwk) -> Vec<Finding> {
    let mut findings = Vec::new();
    match key.key_use.as_deref() {
        Some("sig") => {}
        Some(other) => findings.push(Finding::OtherUse(other.to_owned())),
        None => findings.push(Finding::NoUse),
    }
    if let Some(operations) = &key.operations
        && !operations.iter().any(|operation| operation == "verify")
    {
        findings.push(Finding::NoVerify(operations.join(", ")));
    }
    match key.algorithm.as_deref() {
        Some(ALGORITHM) => {}
        Some(other) => findings.push(Finding::OtherAlgorithm(other.to_owned())),
        None => findings.push(Finding::NoAlgorithm),
    }
    findings
}

#[cfg(test)]
#[path = "judgement_tests.rs"]
mod tests;
