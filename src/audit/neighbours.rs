//! What lies beside the key in the token: the certificate that is configured, and others of the same key.

use crate::certificate::{Certificate, CertificateError};
use crate::config::Config;
use crate::config::uri::Pkcs11Uri;
use crate::error::Error;
use crate::identity;
use crate::key::{Key, certificate_object};
use crate::token::Token;
use crate::token::session::Session;

/// The configured certificate; none where there is none yet. Two that could be meant are an error.
pub(super) fn certificate_in_token(
    config: &Config,
    token: &Token,
) -> Result<Vec<Certificate>, Error> {
    match identity::certificate_in_token(config, token) {
        Ok(certificate) => Ok(vec![certificate]),
        Err(Error::Certificate(CertificateError::NotOneInToken { candidates, .. }))
            if candidates.is_empty() =>
        {
            Ok(Vec::new())
        }
        Err(error) => Err(error),
    }
}

/// Certificates in the token of this key, whose subject is another than the installed one's, or
/// another than the first of them.
pub(super) fn other_certificates(
    key: &Key,
    leaf: Option<&Certificate>,
    token: &Token,
    session: &Session,
) -> Result<Vec<String>, Error> {
    let Ok(public) = key.public_key() else {
        return Ok(Vec::new());
    };
    let all = certificate_object::find(session, token, &Pkcs11Uri::default())?;
    let parsed = all.iter().filter_map(|(uri, der)| {
        let certificate = Certificate::from_der(der, "the token").ok()?;
        (certificate.public_key() == Some(public)).then(|| (uri.to_string(), certificate.subject()))
    });
    let mut subject = leaf.map(Certificate::subject);
    let mut others = Vec::new();
    for (uri, found) in parsed {
        match &subject {
            Some(known) if *known != found => others.push(format!("{uri}: {found}")),
            Some(_) => {}
            None => subject = Some(found),
        }
    }
    Ok(others)
}
