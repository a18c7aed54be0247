//! The certificate of the other role, C3's for Sig4 and the reverse: `cert install` compares both, because the scheme wants a
//! key for each purpose, and because the tokens of JWT Auth name the subject of C3.

use std::sync::Arc;

use super::super::error::Error;
use super::super::{CommandError, setup};
use hsm_mtls::internal::certificate::name::{ORGANIZATION, ORGANIZATIONAL_UNIT};
use hsm_mtls::internal::certificate::{Certificate, CertificateError, read_file};
use hsm_mtls::internal::config::{CertificateSource, Config, KeyRole};
use hsm_mtls::internal::identity::{self, IdentityError, Sig4Error};
use hsm_mtls::internal::token::Token;

/// Compares a certificate of the role of `view` with the installed one of the other role. Returns notes.
///
/// # Errors
/// Both are of one key.
pub(in crate::commands) fn compare(
    config: &Config,
    view: &Config,
    token: &Arc<Token>,
    leaf: &Certificate,
    key_uri: &str,
) -> Result<Vec<String>, CommandError> {
    let other_view = match view.c3.role {
        KeyRole::C3 => config.for_sig4(),
        KeyRole::Sig4 => Some(config.clone()),
    };
    let Some(other_view) = other_view else {
        return Ok(Vec::new());
    };
    let name = other_view.c3.role.name();
    let other = match installed(&other_view, token, config.sig4_token.is_none()) {
        Ok(None) => return Ok(Vec::new()),
        Ok(Some(other)) => other,
        Err(error) => {
            return Ok(vec![format!(
                "it was not compared with the certificate of {name}: {error}"
            )]);
        }
    };
    if other.public_key() == leaf.public_key() {
        let uri = key_uri.to_owned();
        return Err(CommandError::stage(Sig4Error::SameKey { uri }));
    }
    let attributes = [("O", ORGANIZATION), ("OU", ORGANIZATIONAL_UNIT)];
    let differs = attributes.into_iter().filter_map(|(attribute, oid)| {
        let (ours, theirs) = (leaf.subject().all(oid), other.subject().all(oid));
        (ours != theirs).then(|| {
            format!(
                "its {attribute} ({}) is not that of {name} ({}), and both are of one application: the tokens of JWT Auth name that of C3",
                ours.join(", "),
                theirs.join(", ")
            )
        })
    });
    Ok(differs.collect())
}

/// The installed certificate; `None` where there is none yet. `token` is open already, and is its token if `is_same_token`.
fn installed(
    view: &Config,
    token: &Arc<Token>,
    is_same_token: bool,
) -> Result<Option<Certificate>, Error> {
    if let CertificateSource::File(path) = &view.c3.certificate {
        if matches!(path.try_exists(), Ok(false)) {
            return Ok(None);
        }
        return Ok(read_file(path)?.into_iter().next());
    }
    let token = match is_same_token {
        true => Arc::clone(token),
        false => setup::open_token(view)?,
    };
    match identity::certificate_in_token(view, &token) {
        Ok(certificate) => Ok(Some(certificate)),
        Err(IdentityError::Certificate(CertificateError::NotOneInToken { candidates, .. }))
            if candidates.is_empty() =>
        {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}
