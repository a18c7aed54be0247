//! `[sig4]`, the signing identity for JWT Auth: key and certificate, and what the tokens say that the hub is sent.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use url::Url;

use super::c3::relative_source;
use super::proxy::{JwtAuth, ProxyConfig};
use super::signature_rate::{SignatureLimit, SignatureRate};
use super::uri::Pkcs11Uri;
use super::{C3Config, CertificateSource, Config, ConfigError, KeyRole, TokenConfig, field};

/// The lifetimes that the scheme allows (its page on JWT Auth).
const LIFETIMES: std::ops::RangeInclusive<u64> = 10..=30;

/// `[sig4]`: the key that signs JWTs (PS256), and their fixed claims.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sig4Config {
    /// The URI of the private key, which must match exactly one, and be another than that of `[c3]`.
    #[serde(deserialize_with = "field::private_key_uri")]
    pub key: Pkcs11Uri,
    /// The source of the certificate, whose SHA-256 is the `kid` of the tokens.
    pub certificate: CertificateSource,
    /// The `name` of the `[[token]]` that has the key. `None`: that of `[c3]`.
    #[serde(default)]
    pub token: Option<String>,
    /// The claim `aud`: the provider id that was agreed on at onboarding.
    #[serde(deserialize_with = "audience")]
    pub audience: String,
    /// From `iat` to `exp`: 10 to 30 s (default 30 s).
    #[serde(default = "default_lifetime", deserialize_with = "lifetime")]
    pub lifetime: Duration,
    /// The word before the token in `Authorization` (RFC 9110, section 11.1; default `Bearer`).
    #[serde(default = "default_scheme", deserialize_with = "auth_scheme")]
    pub scheme: String,
    /// The `kid` that was registered, to be compared with the certificate's. `None`: it is not compared.
    #[serde(default, deserialize_with = "kid")]
    pub kid: Option<String>,
    /// Whether tokens have the claim `nbf`, which is `iat` then.
    #[serde(default)]
    pub not_before: bool,
    /// Where the application's JWKS is published. `None`: where the scheme documents it for the certificate's subject.
    #[serde(default, deserialize_with = "jwks_url")]
    pub jwks: Option<Url>,
    /// By how much the clock of the hub may differ from this machine's before it is said (default 5 s).
    #[serde(default = "default_clock_skew", deserialize_with = "field::duration")]
    pub max_clock_skew: Duration,
    /// The sustained rate of tokens that the signer process signs. `None`: 1000.
    #[serde(default)]
    pub per_second: Option<SignatureRate>,
    /// The number of tokens at once (1 to 1,000,000). `None`: 1000, or as many as `per_second`.
    #[serde(default, deserialize_with = "field::burst")]
    pub burst: Option<u32>,
}

/// Each request of an application takes a token, so the rate is that of requests.
const DEFAULT_PER_SECOND: u32 = 1000;

impl Sig4Config {
    pub(super) fn relative_to(mut self, folder: &Path) -> Self {
        self.certificate = relative_source(self.certificate, folder);
        self
    }

    /// The rate limit of the signer process for tokens.
    pub fn signature_limit(&self) -> SignatureLimit {
        let default = || SignatureRate::of(DEFAULT_PER_SECOND, Duration::from_secs(1));
        let per_second = self.per_second.unwrap_or_else(default);
        SignatureLimit {
            per_second,
            burst: self
                .burst
                .unwrap_or_else(|| per_second.rounded_up().max(DEFAULT_PER_SECOND)),
        }
    }
}

impl Config {
    /// This configuration with key, certificate and token of `[sig4]` in the place of those of `[c3]`: what makes, installs
    /// or checks a key and its certificate works on either. `None`: there is no `[sig4]`.
    pub fn for_sig4(&self) -> Option<Self> {
        let sig4 = self.sig4.as_ref()?;
        Some(Self {
            token: self
                .sig4_token
                .clone()
                .unwrap_or_else(|| self.token.clone()),
            c3: C3Config {
                key: sig4.key.clone(),
                certificate: sig4.certificate.clone(),
                // Both certificates are of one application.
                subject: self.c3.subject.clone(),
                role: KeyRole::Sig4,
            },
            sig4: None,
            sig4_token: None,
            ..self.clone()
        })
    }

    /// The longest time that all steps of the start may take: each has `start_timeout`, for each token.
    pub(crate) fn start_time(&self, steps: u32) -> Duration {
        self.tokens().map(|token| token.start_timeout * steps).sum()
    }

    /// The longest timeout of a signature, of all keys.
    pub(crate) fn longest_timeout(&self) -> Duration {
        let timeouts = self.tokens().map(|token| token.timeout);
        timeouts.max().unwrap_or_default()
    }

    /// This configuration as the proxy uses it: without `[sig4]` where no request carries a token, so that neither its key is
    /// opened nor its token waited for.
    pub fn for_proxy(self) -> Self {
        let is_off = |proxy: &ProxyConfig| proxy.jwt == JwtAuth::Off;
        match self.proxy.as_ref().is_some_and(is_off) {
            true => self.without_sig4(),
            false => self,
        }
    }

    /// This configuration without `[sig4]`.
    pub fn without_sig4(mut self) -> Self {
        self.sig4 = None;
        self.sig4_token = None;
        self
    }

    /// The environment variables of all modules.
    pub fn module_variables(&self) -> BTreeMap<String, String> {
        let variables = self.tokens().flat_map(|token| token.env.clone());
        variables.collect()
    }

    /// The token that holds the Sig4 key.
    pub fn token_of_sig4(&self) -> &TokenConfig {
        self.sig4_token.as_ref().unwrap_or(&self.token)
    }

    /// The tokens: that of `[c3]`, that of `[sig4]` where it is another, and the further ones with a key for the connections.
    pub fn tokens(&self) -> impl Iterator<Item = &TokenConfig> {
        let further = self.failover.iter().map(|further| &further.token);
        std::iter::once(&self.token)
            .chain(&self.sig4_token)
            .chain(further)
    }
}

/// The token of `[c3]`, that of `[sig4]` if it is another, and the further ones.
type Assigned = (TokenConfig, Option<TokenConfig>, Vec<TokenConfig>);

/// Which token is what: the first that `[sig4]` does not name is that of `[c3]`. Of a single one it may be both.
///
/// # Errors
/// Field and message.
pub(super) fn assigned(
    tokens: Vec<TokenConfig>,
    sig4: Option<&Sig4Config>,
) -> Result<Assigned, (&'static str, String)> {
    let named = sig4.and_then(|sig4| sig4.token.as_deref());
    let is_named = |token: &TokenConfig| named.is_some() && token.name.as_deref() == named;
    let is_single = tokens.len() == 1;
    let (mut of_sig4, others): (Vec<_>, Vec<_>) = tokens.into_iter().partition(is_named);
    if let (Some(name), true) = (named, of_sig4.is_empty()) {
        let message = format!("[sig4] names the token {name:?}, and no [[token]] has this `name`");
        return Err(("token", message));
    }
    if of_sig4.len() > 1 {
        let message = format!("two [[token]] have the name {named:?}, which [sig4] names");
        return Err(("token", message));
    }
    let of_sig4 = of_sig4.pop();
    let mut others = others.into_iter();
    match (others.next(), of_sig4) {
        (None, Some(token)) if is_single => Ok((token, None, Vec::new())),
        (None, _) => Err(("token", "at least one [[token]]".to_owned())),
        (Some(token), Some(of_sig4))
            if of_sig4.module == token.module && of_sig4.uri == token.uri =>
        {
            let why = "both [[token]] are one token: a single [[token]] serves [c3] and [sig4]";
            Err(("uri", why.to_owned()))
        }
        (Some(token), of_sig4) => Ok((token, of_sig4, others.collect())),
    }
}

/// Whether C3 and Sig4 are configured to be one key, or one certificate.
pub(super) fn shared(
    c3: &C3Config,
    sig4: &Sig4Config,
    has_other_token: bool,
) -> Option<(&'static str, &'static str)> {
    if !has_other_token && c3.key == sig4.key {
        return Some((
            "key",
            "[c3] and [sig4] name one key: the scheme wants a key for each purpose",
        ));
    }
    let same_place = match &c3.certificate {
        CertificateSource::Token(_) => !has_other_token,
        CertificateSource::File(_) => true,
    };
    (same_place && c3.certificate == sig4.certificate).then_some((
        "certificate",
        "[c3] and [sig4] name one certificate: each has its own",
    ))
}

/// What `kid` of `[sig4]` is compared with.
///
/// # Errors
/// It is another than `of_certificate`.
pub fn check_kid(config: &Config, of_certificate: &str) -> Result<(), ConfigError> {
    let Some(kid) = config.sig4.as_ref().and_then(|sig4| sig4.kid.as_deref()) else {
        return Ok(());
    };
    if kid == of_certificate {
        return Ok(());
    }
    Err(ConfigError::Field {
        path: config.path.clone(),
        line: 0,
        field: "kid".to_owned(),
        message: format!(
            "the certificate of [sig4] has the kid {of_certificate}, and {kid} is configured: it is another certificate than \
             the one that was registered, or the wrong kid"
        ),
        advice: Some(
            "install the certificate that the kid belongs to, or register the certificate anew and correct `kid`"
                .to_owned(),
        ),
    })
}

fn default_lifetime() -> Duration {
    Duration::from_secs(*LIFETIMES.end())
}

fn default_scheme() -> String {
    "Bearer".to_owned()
}

fn default_clock_skew() -> Duration {
    Duration::from_secs(5)
}

fn lifetime<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let time = field::duration(deserializer)?;
    match LIFETIMES.contains(&time.as_secs())
        && time.subsec_nanos() == 0
        && time <= default_lifetime()
    {
        true => Ok(time),
        false => Err(serde::de::Error::custom(
            "a token lives for whole seconds, from \"10s\" to \"30s\"",
        )),
    }
}

fn audience<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    let is_printable = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
    match (1..=255).contains(&text.len()) && text.bytes().all(is_printable) && text.trim() == text {
        true => Ok(text),
        false => Err(serde::de::Error::custom(
            "`audience` is the provider id that was agreed on at onboarding, in ASCII, without blanks around it",
        )),
    }
}

/// A token of RFC 9110, section 5.6.2.
fn auth_scheme<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    match !text.is_empty() && text.len() <= 32 && text.bytes().all(is_token) {
        true => Ok(text),
        false => Err(serde::de::Error::custom(
            "`scheme` is the one word before the token in Authorization, such as \"Bearer\"",
        )),
    }
}

fn kid<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let is_base64url = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    match text.len() == 43 && text.bytes().all(is_base64url) {
        true => Ok(Some(text)),
        false => Err(serde::de::Error::custom(
            "`kid` is the certificate's x5t#S256: 43 characters of base64url, as `hsm-mtls cert show --sig4` prints it",
        )),
    }
}

fn jwks_url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Url>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let url = Url::parse(&text).ok().filter(|url| {
        url.scheme() == "https"
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.fragment().is_none()
    });
    url.map(Some).ok_or_else(|| {
        serde::de::Error::custom(
            "`jwks` is an https URL without user and fragment, such as \"https://keystore.example/ORG/CLIENT/application.jwks\"",
        )
    })
}
