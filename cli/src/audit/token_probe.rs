//! The PKCS#11 calls of the audit: all in one session, on a thread of their own with a deadline, since a call may hang.

use std::sync::Arc;

use super::key_check::KeyEvidence;
use super::key_twin::Twin;
use super::report::VisibleKey;
use hsm_mtls::internal::certificate::name::DistinguishedName;
use hsm_mtls::internal::certificate::{Certificate, CertificateError};
use hsm_mtls::internal::config::Config;
use hsm_mtls::internal::config::uri::Pkcs11Uri;
use hsm_mtls::internal::identity::{self, IdentityError};
use hsm_mtls::internal::key::probe_keys::{ProbeKeyReport, probe_session_key};
use hsm_mtls::internal::key::public::PublicKey;
use hsm_mtls::internal::key::{Key, KeyError, certificate_object, find_all};
use hsm_mtls::internal::token::fault::{Fault, FaultClass};
use hsm_mtls::internal::token::session::{Access, Session};
use hsm_mtls::internal::token::{Token, TokenOperation, with_timeout};

/// The key that is probed, and how.
#[derive(Debug)]
pub(super) struct ProbeRequest {
    pub(super) token: Arc<Token>,
    pub(super) key: Pkcs11Uri,
    /// Public key and subject of the certificate, where one is installed.
    pub(super) certificate: Option<(PublicKey, DistinguishedName)>,
    /// Whether disposable session keys may be made.
    pub(super) active: bool,
}

/// The result of the probes.
#[derive(Debug)]
pub(super) struct TokenProbe {
    pub(super) key: Key,
    /// Why the key is not the certificate's.
    pub(super) pair_error: Option<String>,
    pub(super) key_evidence: KeyEvidence,
    /// The probes of a disposable key, where they were requested.
    pub(super) active: Option<Result<ProbeKeyReport, Fault>>,
}

/// Whether the key is visible in a session without a login. `None` where this process is logged in already.
///
/// # Errors
/// The token cannot be searched, or does not answer.
pub(super) fn visible_without_login(
    token: Token,
    key: Pkcs11Uri,
) -> Result<(Token, Option<bool>), IdentityError> {
    with_timeout(TokenOperation::Audit, token.start_timeout(), move || {
        let session = token.session(Access::ReadOnly)?;
        let is_visible = match session.logged_in() {
            true => None,
            false => match find_all(&session, &token, &key) {
                // NetHSM's module does not even search without a login.
                Err(KeyError::Call(fault)) if fault.class() == FaultClass::Login => Some(false),
                found => Some(!found?.is_empty()),
            },
        };
        drop(session);
        Ok((token, is_visible))
    })
}

/// The configured certificate; empty where none is installed yet.
///
/// # Errors
/// Several match, or the token does not answer.
pub(super) fn certificate_in_token(
    config: &Config,
    token: &Arc<Token>,
) -> Result<Vec<Certificate>, IdentityError> {
    let (config, token) = (config.clone(), Arc::clone(token));
    let found = with_timeout(TokenOperation::Audit, token.start_timeout(), move || {
        identity::certificate_in_token(&config, &token)
    });
    match found {
        Ok(certificate) => Ok(vec![certificate]),
        Err(IdentityError::Certificate(CertificateError::NotOneInToken { candidates, .. }))
            if candidates.is_empty() =>
        {
            Ok(Vec::new())
        }
        Err(error) => Err(error),
    }
}

impl ProbeRequest {
    /// Finds the key, and probes it.
    ///
    /// # Errors
    /// There is no such key, or the token does not answer.
    pub(super) fn run(self) -> Result<TokenProbe, IdentityError> {
        // Many calls, and with --active key generation: longer in all than the start, which this timeout is for.
        let timeout = self.token.start_timeout() * 4;
        with_timeout(TokenOperation::Audit, timeout, move || self.probe())
    }

    fn probe(self) -> Result<TokenProbe, IdentityError> {
        let Self { token, active, .. } = &self;
        // One session for all calls: an object may have another handle in another session.
        let session = token.session(Access::ReadOnly)?;
        let (key, pair_error) = self.find_key(&session)?;
        let public_key = key.public_key().ok().cloned();
        let claims = key.custody_attributes(&session);
        let all = find_all(&session, token, &Pkcs11Uri::default())?;
        let twin = |other: &&Key| {
            !other.is_same_object(&key)
                && public_key.is_some()
                && other.public_key().ok() == public_key.as_ref()
        };
        let twins = all.iter().filter(twin);
        let twins = twins.map(|twin| Twin {
            uri: twin.uri().to_string(),
            claims: twin.custody_attributes(&session),
            reads: twin.probe_reads(&session),
            wraps: twin.probe_wraps(&session, token),
        });
        let twins = twins.collect();
        let active = match (&public_key, active) {
            (Some(public), true) => {
                let algorithm = public.algorithm();
                // A read-only session would refuse the calls for another reason than the key's attributes.
                let session = token.session(Access::ReadWrite)?;
                Some(probe_session_key(&session, token, algorithm, &claims))
            }
            _ => None,
        };
        Ok(TokenProbe {
            pair_error,
            key_evidence: KeyEvidence {
                reads: key.probe_reads(&session),
                wraps: key.probe_wraps(&session, token),
                keys: all.iter().map(|other| visible_key(other, &key)).collect(),
                twins,
                other_certificates: self.other_certificates(&session, public_key.as_ref())?,
                public_key,
                claims,
                local_of_new_key: active
                    .as_ref()
                    .and_then(|report| report.as_ref().ok()?.local),
            },
            active,
            key,
        })
    }

    /// The configured key; where it is not the certificate's, with the error that says so.
    fn find_key(&self, session: &Session) -> Result<(Key, Option<String>), IdentityError> {
        let expected = self.certificate.as_ref().map(|(public, _)| public);
        match Key::find(session, &self.token, &self.key, expected) {
            Ok(key) => Ok((key, None)),
            Err(error) if expected.is_some() => {
                match Key::find(session, &self.token, &self.key, None) {
                    Ok(key) => Ok((key, Some(error.to_string()))),
                    Err(_) => Err(error.into()),
                }
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Certificates of this key in the token whose subject is not that of the installed certificate. Without an installed
    /// one: not that of the first.
    fn other_certificates(
        &self,
        session: &Session,
        public: Option<&PublicKey>,
    ) -> Result<Vec<String>, IdentityError> {
        let all = certificate_object::find(session, &self.token, &Pkcs11Uri::default())?;
        let of_key = all.iter().filter_map(|(uri, der)| {
            let certificate = Certificate::from_der(der, "the token").ok()?;
            let is_of_key = public.is_some() && certificate.public_key() == public;
            is_of_key.then(|| (uri.to_string(), certificate.subject()))
        });
        let mut expected = self
            .certificate
            .as_ref()
            .map(|(_, subject)| subject.clone());
        let mut others = Vec::new();
        for (uri, subject) in of_key {
            match &expected {
                Some(expected) if *expected != subject => others.push(format!("{uri}: {subject}")),
                Some(_) => {}
                None => expected = Some(subject),
            }
        }
        Ok(others)
    }
}

/// A key for the report. The public key of the audited one may be known from its certificate only, so `audited` is used
/// for it.
fn visible_key(key: &Key, audited: &Key) -> VisibleKey {
    let key_with_public = if key.is_same_object(audited) {
        audited
    } else {
        key
    };
    VisibleKey {
        uri: key.uri().to_string(),
        public_key: key_with_public
            .public_key()
            .ok()
            .map(|public| public.fingerprint().to_string()),
    }
}
