//! The signing identity (Sig4): key and certificate that sign the tokens of JWT Auth, proved to belong together, and the claims
//! that follow from both certificates.

use std::sync::Arc;

use thiserror::Error;

use super::{IdentityError, IdentityFiles};
use crate::certificate::Certificate;
use crate::certificate::anchors::Chain;
use crate::certificate::name::attribute_type;
use crate::config::sig4::check_kid;
use crate::config::{Config, ConfigError, KeyRole};
use crate::diagnostic::Diagnostic;
use crate::engine::{self, EngineError, Sign};
use crate::exit_code::ExitCode;
use crate::jwt_claims::{ALGORITHM, ClaimSet};
use crate::key::scheme::Scheme;

/// PS256.
pub const SCHEME: Scheme = Scheme::RsaPssSha256;

/// A Sig4 certificate and its key, and what its tokens say.
#[derive(Clone, Debug)]
pub struct SigningIdentity {
    certificate: Certificate,
    claim_set: ClaimSet,
    signer: Arc<dyn Sign>,
}

/// Why there is no signing identity.
#[derive(Debug, Error)]
pub enum Sig4Error {
    /// The claims `iss` and `sub` come from the C3 certificate, and its subject has not exactly one value for one of them.
    #[error(
        "the subject of the C3 certificate has {found} {attribute}, and the tokens take one: {subject}"
    )]
    Subject {
        /// The attribute's name.
        attribute: &'static str,
        /// How many values it has.
        found: usize,
        /// The subject.
        subject: String,
        /// The application whose certificate it should be, where the regime names one.
        application: Option<&'static str>,
    },
    /// The certificate is not the one whose `kid` is configured.
    #[error("{0}")]
    Kid(#[source] Box<ConfigError>),
    /// Sig4 and C3 have one key.
    #[error("C3 and Sig4 have the same public key: {uri}")]
    SameKey {
        /// The key's PKCS#11 URI.
        uri: String,
    },
    /// The key does not sign by PS256.
    #[error(
        "the Sig4 key does not sign by {ALGORITHM} (RSASSA-PSS with SHA-256): {uri} signs by {schemes}"
    )]
    NoPs256 {
        /// The key's PKCS#11 URI.
        uri: String,
        /// The schemes that it signs by.
        schemes: String,
    },
    /// As for every certificate and key.
    #[error("Sig4: {0}")]
    Identity(#[source] Box<IdentityError>),
}

impl SigningIdentity {
    /// Proves that `signer` has the key of the chain's leaf, and derives the claims.
    ///
    /// # Errors
    /// They do not belong together, the key is C3's or does not sign by PS256, or the certificates are not those that the
    /// configuration names.
    pub(super) fn prove(
        config: &Config,
        c3: &Certificate,
        chain: &Chain,
        signer: Arc<dyn Sign>,
    ) -> Result<Self, Sig4Error> {
        let certificate = chain.leaf().clone();
        let claim_set = claim_set(config, c3, &certificate)?;
        if c3.public_key() == Some(signer.public_key()) {
            return Err(Sig4Error::SameKey {
                uri: signer.key_uri(),
            });
        }
        check_ps256(signer.as_ref())?;
        if certificate.public_key() != Some(signer.public_key()) {
            let uri = signer.key_uri();
            return Err(EngineError::NotThePair { uri }.into());
        }
        engine::prove(signer.as_ref())?;
        Ok(Self {
            certificate,
            claim_set,
            signer,
        })
    }

    /// The certificate.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// What its tokens have in common.
    pub fn claim_set(&self) -> &ClaimSet {
        &self.claim_set
    }

    /// The key.
    pub fn signer(&self) -> &Arc<dyn Sign> {
        &self.signer
    }
}

/// Checks that a key signs by PS256, as the scheme wants it of Sig4 (RFC 7518, section 3.5).
///
/// # Errors
/// Key and token do not.
pub fn check_ps256(signer: &dyn Sign) -> Result<(), Sig4Error> {
    if signer.schemes().contains(&SCHEME) {
        return Ok(());
    }
    let schemes = signer.schemes().iter().map(|scheme| scheme.name());
    Err(Sig4Error::NoPs256 {
        uri: signer.key_uri(),
        schemes: schemes.collect::<Vec<_>>().join(", "),
    })
}

/// The claims that follow from `[sig4]` and the two certificates: `iss` and `sub` are attributes of the C3 subject that the
/// regime names, as the values of its DER and not as it is printed.
///
/// # Errors
/// The C3 subject has not one value of each, or the Sig4 certificate has not the configured `kid`.
pub fn claim_set(
    config: &Config,
    c3: &Certificate,
    certificate: &Certificate,
) -> Result<ClaimSet, Sig4Error> {
    let subject = c3.subject();
    let claims = &config.environment.regime().claims;
    let only = |attribute: &'static str| {
        let mut values = attribute_type(attribute).map_or_else(Vec::new, |oid| subject.all(oid));
        match (values.pop(), values.len()) {
            (Some(value), 0) => Ok(value),
            (last, others) => Err(Sig4Error::Subject {
                attribute,
                found: others + usize::from(last.is_some()),
                subject: subject.to_string(),
                application: config.environment.regime().application.as_deref(),
            }),
        }
    };
    let kid = certificate.x5t_s256();
    check_kid(config, &kid).map_err(|error| Sig4Error::Kid(Box::new(error)))?;
    let sig4 = config.sig4.as_ref();
    Ok(ClaimSet {
        issuer: only(&claims.iss)?,
        subject: only(&claims.sub)?,
        audience: sig4.map(|sig4| sig4.audience.clone()).unwrap_or_default(),
        kid,
        lifetime: sig4.map(|sig4| sig4.lifetime).unwrap_or_default(),
        not_before: sig4.is_some_and(|sig4| sig4.not_before),
    })
}

impl IdentityFiles {
    /// The files of `[sig4]`; `None` if there is no such section.
    pub(super) fn of_sig4(
        config: &Config,
        validity: super::Validity,
    ) -> Result<Option<Box<Self>>, IdentityError> {
        let Some(sig4) = config.for_sig4() else {
            return Ok(None);
        };
        let files = Self::read_valid(&sig4, validity);
        Ok(Some(Box::new(files.map_err(Sig4Error::from)?)))
    }
}

impl From<IdentityError> for Sig4Error {
    fn from(error: IdentityError) -> Self {
        Self::Identity(Box::new(error))
    }
}

impl From<EngineError> for Sig4Error {
    fn from(error: EngineError) -> Self {
        Self::Identity(Box::new(error.into()))
    }
}

impl Diagnostic for Sig4Error {
    fn hint(&self) -> String {
        match self {
            Self::Subject { application, .. } => format!(
                "`hsm-mtls cert show` prints the subject: install the C3 certificate of the application{}, which the tokens are to name",
                application.map_or_else(String::new, |name| format!(" {name}"))
            ),
            Self::Kid(error) => error.hint(),
            Self::SameKey { .. } => "make a key of its own with `hsm-mtls key generate --sig4`, and have its certificate issued: the scheme \
                 wants a key for each purpose"
                .to_owned(),
            Self::NoPs256 { .. } => "PS256 takes an RSA key and CKM_RSA_PKCS_PSS or CKM_SHA256_RSA_PKCS_PSS in the token: `hsm-mtls token \
                 check --sig4` lists what key and token can do"
                .to_owned(),
            Self::Identity(error) => KeyRole::Sig4.advice(&error.hint()),
        }
    }

    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Subject { .. } | Self::SameKey { .. } => ExitCode::Configuration,
            Self::NoPs256 { .. } => ExitCode::Token,
            Self::Kid(error) => error.exit_code(),
            Self::Identity(error) => error.exit_code(),
        }
    }

    fn is_transient(&self) -> bool {
        match self {
            Self::Identity(error) => error.is_transient(),
            _ => false,
        }
    }
}
