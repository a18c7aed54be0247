//! All that the audit asks of the token, in one session, on a thread of its own and with a deadline: a call
//! of a module that hangs is an answer too.

use std::sync::Arc;

use super::key_check::{Custody, Twin};
use super::report::KeySeen;
use hsm_mtls::internal::certificate::name::DistinguishedName;
use hsm_mtls::internal::certificate::{Certificate, CertificateError};
use hsm_mtls::internal::config::Config;
use hsm_mtls::internal::config::uri::Pkcs11Uri;
use hsm_mtls::internal::identity::{self, IdentityError};
use hsm_mtls::internal::key::probe_keys::{ProbeKeyReport, probe_session_key};
use hsm_mtls::internal::key::public::PublicKey;
use hsm_mtls::internal::key::{Key, certificate_object, find_all};
use hsm_mtls::internal::token::fault::Fault;
use hsm_mtls::internal::token::session::{Access, Session};
use hsm_mtls::internal::token::{Token, TokenOperation, with_timeout};

/// What is asked.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) token: Arc<Token>,
    pub(super) key: Pkcs11Uri,
    /// The public key and the subject of the certificate, where there is one.
    pub(super) certificate: Option<(PublicKey, DistinguishedName)>,
    pub(super) active: bool,
}

/// What was answered.
#[derive(Debug)]
pub(super) struct TokenProbe {
    pub(super) key: Key,
    /// Why the key is not the certificate's.
    pub(super) no_pair: Option<String>,
    pub(super) custody: Custody,
    /// What was tried on a disposable key, where that was asked for.
    pub(super) tried: Option<Result<ProbeKeyReport, Fault>>,
}

/// Whether the key can be found in a session without a login. `None` where somebody in this process
/// is logged in already.
///
/// # Errors
/// The token cannot be searched, or does not answer.
pub(super) fn shown_without_login(
    token: Token,
    key: Pkcs11Uri,
) -> Result<(Token, Option<bool>), IdentityError> {
    with_timeout(TokenOperation::Audit, token.start_timeout(), move || {
        let session = token.session(Access::ReadOnly)?;
        let shown = match session.logged_in() {
            true => None,
            false => Some(!find_all(&session, &token, &key)?.is_empty()),
        };
        drop(session);
        Ok((token, shown))
    })
}

/// The configured certificate; none where there is none yet. Two that could be meant are an error.
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

impl Question {
    /// Asks it.
    ///
    /// # Errors
    /// There is no such key, or the token does not answer.
    pub(super) fn ask(self) -> Result<TokenProbe, IdentityError> {
        // It is many calls, and a pair is made in some: each in itself is no longer than a start.
        let patience = self.token.start_timeout() * 4;
        with_timeout(TokenOperation::Audit, patience, move || self.probe())
    }

    fn probe(self) -> Result<TokenProbe, IdentityError> {
        let Self { token, active, .. } = &self;
        // One session for all: the handle of an object may be another in another session.
        let session = token.session(Access::ReadOnly)?;
        let (key, no_pair) = self.find(&session)?;
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
        let tried = match (&public_key, active) {
            (Some(public), true) => {
                let algorithm = public.algorithm();
                // What would need a session that may write has to have one.
                let session = token.session(Access::ReadWrite)?;
                Some(probe_session_key(&session, token, algorithm, &claims))
            }
            _ => None,
        };
        Ok(TokenProbe {
            no_pair,
            custody: Custody {
                reads: key.probe_reads(&session),
                wraps: key.probe_wraps(&session, token),
                keys: all.iter().map(|other| seen(other, &key)).collect(),
                twins,
                other_certificates: self.other_certificates(&session, public_key.as_ref())?,
                public_key,
                claims,
            },
            tried,
            key,
        })
    }

    /// The configured key, also where it is not the certificate's.
    fn find(&self, session: &Session) -> Result<(Key, Option<String>), IdentityError> {
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

    /// Of this key, with another subject than the installed one's, or than the first of them.
    fn other_certificates(
        &self,
        session: &Session,
        public: Option<&PublicKey>,
    ) -> Result<Vec<String>, IdentityError> {
        let all = certificate_object::find(session, &self.token, &Pkcs11Uri::default())?;
        let of_key = all.iter().filter_map(|(uri, der)| {
            let certificate = Certificate::from_der(der, "the token").ok()?;
            let ours = public.is_some() && certificate.public_key() == public;
            ours.then(|| (uri.to_string(), certificate.subject()))
        });
        let mut known = self
            .certificate
            .as_ref()
            .map(|(_, subject)| subject.clone());
        let mut others = Vec::new();
        for (uri, subject) in of_key {
            match &known {
                Some(known) if *known != subject => others.push(format!("{uri}: {subject}")),
                Some(_) => {}
                None => known = Some(subject),
            }
        }
        Ok(others)
    }
}

/// The audited key's public half may be known from its certificate only.
fn seen(key: &Key, audited: &Key) -> KeySeen {
    let known = if key.is_same_object(audited) {
        audited
    } else {
        key
    };
    KeySeen {
        uri: key.uri().to_string(),
        public_key: known
            .public_key()
            .ok()
            .map(|public| public.fingerprint().to_string()),
    }
}
