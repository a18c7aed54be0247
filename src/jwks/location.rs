//! Where the key set of an application is published: the one place that knows, for the commands and the proxy.

use url::Url;

use crate::certificate::Certificate;
use crate::certificate::name::{COMMON_NAME, DistinguishedName, attribute_type};
use crate::config::Config;
use crate::config::environment::Environment;

/// The environment of a certificate, by its issuer's name. `None` for older CAs, which have other names: for those the chain
/// decides.
pub fn environment_of(config: &Config, leaf: &Certificate) -> Option<Environment> {
    let issuer = leaf.issuer().first(COMMON_NAME)?;
    let mut all = Environment::all(config.environment.regime());
    all.find(|environment| environment.documents_ca(&issuer))
}

/// `jwks` of `[sig4]`, or the URL that the scheme documents for the certificate's subject. `None`: the scheme documents none,
/// or the subject lacks an attribute of it.
pub fn key_set_url(config: &Config, leaf: &Certificate) -> Option<Url> {
    let configured = config.sig4.as_ref().and_then(|sig4| sig4.jwks.clone());
    let environment = environment_of(config, leaf).unwrap_or(config.environment);
    configured.or_else(|| documented_url(environment, &leaf.subject())?.parse().ok())
}

/// The URL that the scheme documents for a certificate with this subject.
pub fn documented_url(environment: Environment, subject: &DistinguishedName) -> Option<String> {
    environment.key_set_url(|attribute| subject.first(attribute_type(attribute)?))
}
