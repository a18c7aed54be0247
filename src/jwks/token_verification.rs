//! Says of a token what a hub would say, check by check: by the scheme's page on JWT Auth, RFC 7515 and RFC 7519, with the key
//! that is published under its `kid`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use thiserror::Error;

use super::judgement::judge_purpose;
use super::strict_json::StrictValue;
use super::{Jwk, JwkSet};
use crate::identity::SIG4_SCHEME;
use crate::jwt_claims::{ALGORITHM, ClaimSet, Header};
use crate::rfc3339;
use crate::uuid_format::is_uuid_v4;

/// The longest token that is read, in bytes.
const MAX_LEN: usize = 32 << 10;
/// By how much the clocks of bank and hub may differ, in seconds (the scheme's page).
pub const SKEW: u64 = 10;
/// The lifetimes that the scheme allows, in seconds.
const LIFETIMES: std::ops::RangeInclusive<u64> = 10..=30;

/// A token taken apart (RFC 7515, section 7.1), and not verified. Its signature is not shown.
#[derive(Clone)]
pub struct DecodedToken {
    /// The header.
    pub header: Map<String, Value>,
    /// The claims.
    pub claims: Map<String, Value>,
    signing_input: String,
    signature: Vec<u8>,
}

impl std::fmt::Debug for DecodedToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DecodedToken").finish_non_exhaustive()
    }
}

/// Why a text is no token. It never has a part of the text: that may be a token that is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FormError {
    /// It is too long.
    #[error("it is longer than {} KiB", MAX_LEN >> 10)]
    TooLong,
    /// It has not three parts.
    #[error("a token has three parts with dots between, and this has {0}")]
    Parts(usize),
    /// A part is not in base64url.
    #[error("its {0} is not in base64url without padding")]
    Base64(&'static str),
    /// A part is no JSON object.
    #[error("its {0} is no JSON object, or has a name twice")]
    Json(&'static str),
}

impl FormError {
    /// What to do.
    pub fn hint(self) -> &'static str {
        "give the token alone, as `hsm-mtls jwt mint` prints it: without the word before it in Authorization, without quotes and \
         line breaks"
    }
}

impl DecodedToken {
    /// Takes a token apart.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(token: &str) -> Result<Self, FormError> {
        if token.len() > MAX_LEN {
            return Err(FormError::TooLong);
        }
        let parts: Vec<_> = token.split('.').collect();
        let [header, claims, signature] = parts[..] else {
            return Err(FormError::Parts(parts.len()));
        };
        let decode = |part: &str, name| {
            let decoded = URL_SAFE_NO_PAD.decode(part);
            decoded.map_err(|_| FormError::Base64(name))
        };
        let object = |part: &str, name| match serde_json::from_slice(&decode(part, name)?) {
            Ok(StrictValue(Value::Object(members))) => Ok(members),
            _ => Err(FormError::Json(name)),
        };
        Ok(Self {
            header: object(header, "header")?,
            claims: object(claims, "claims")?,
            signing_input: format!("{header}.{claims}"),
            signature: decode(signature, "signature")?,
        })
    }
}

/// One check of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// Three parts in base64url.
    Form,
    /// alg, typ, cty and kid, and nothing else.
    Header,
    /// The kid is in the set.
    Kid,
    /// The published key verifies the signature.
    Signature,
    /// Who issued it.
    Issuer,
    /// Whom it is about.
    Subject,
    /// Whom it is for.
    Audience,
    /// `iat`, `nbf` and `exp` against the clock.
    Times,
    /// From `iat` to `exp`.
    Lifetime,
    /// A UUIDv4.
    Id,
}

impl Check {
    /// All, in the order in which they are made.
    pub const ALL: [Self; 10] = [
        Self::Form,
        Self::Header,
        Self::Kid,
        Self::Signature,
        Self::Issuer,
        Self::Subject,
        Self::Audience,
        Self::Times,
        Self::Lifetime,
        Self::Id,
    ];

    /// What to do where it fails.
    pub fn hint(self) -> &'static str {
        match self {
            Self::Form => FormError::Parts(0).hint(),
            Self::Header => "the hub takes exactly alg PS256, typ JOSE, cty json and kid",
            Self::Kid => {
                "`hsm-mtls jwks check` says whether our certificate is published, and since when"
            }
            Self::Signature => {
                "the kid does not belong to the key that signed, or the token was changed on its way"
            }
            Self::Issuer | Self::Subject => {
                "iss and sub are O and OU of the C3 certificate, letter by letter: `hsm-mtls cert show` prints them"
            }
            Self::Audience => "compare `audience` of [sig4] with what was agreed on at onboarding",
            Self::Times => {
                "compare this machine's clock with the hub's; `--at` judges the token at another time"
            }
            Self::Lifetime => "a token lives for 10 to 30 s: `lifetime` of [sig4]",
            Self::Id => "the id of each token is a new UUIDv4",
        }
    }
}

/// The outcome of a check: what was seen, or what is wrong. `None`: it was not made, since an earlier one failed.
pub type Outcome = Option<Result<String, String>>;

/// Makes all checks of a token, at a time in seconds after the Unix epoch. What depends on a check that failed is not made.
pub fn verify(token: &str, set: &JwkSet, expected: &ClaimSet, at: u64) -> Vec<(Check, Outcome)> {
    let decoded = match DecodedToken::parse(token) {
        Ok(decoded) => decoded,
        Err(error) => {
            let others = Check::ALL.into_iter().skip(1).map(|check| (check, None));
            let form = (Check::Form, Some(Err(error.to_string())));
            return std::iter::once(form).chain(others).collect();
        }
    };
    let kid = decoded.header.get("kid").and_then(Value::as_str);
    let key = kid.map(|kid| published_key(set, kid));
    let checks = Check::ALL.map(|check| {
        let outcome = match check {
            Check::Form => Some(Ok("three parts in base64url".to_owned())),
            Check::Header => Some(header(&decoded.header)),
            Check::Kid => match &key {
                Some(Ok(_)) => Some(Ok("published once, with an RSA key".to_owned())),
                Some(Err(why)) => Some(Err(why.clone())),
                None => Some(Err("the header has no kid".to_owned())),
            },
            Check::Signature => match &key {
                Some(Ok(key)) => Some(signature(&decoded, key)),
                _ => None,
            },
            Check::Issuer => Some(text(&decoded, "iss", &expected.issuer)),
            Check::Subject => Some(text(&decoded, "sub", &expected.subject)),
            Check::Audience => Some(text(&decoded, "aud", &expected.audience)),
            Check::Times => Some(times(&decoded, at)),
            Check::Lifetime => Some(lifetime(&decoded)),
            Check::Id => Some(id(&decoded)),
        };
        (check, outcome)
    });
    checks.into()
}

/// Why the key is not for signatures by PS256, as it is published.
fn purpose_fault(key: &Jwk) -> Option<String> {
    let findings = judge_purpose(key);
    let fault = findings.iter().find(|finding| !finding.is_note())?;
    Some(fault.to_string())
}

fn published_key<'a>(
    set: &'a JwkSet,
    kid: &str,
) -> Result<&'a crate::key::public::PublicKey, String> {
    match set.with_kid(kid)[..] {
        [key] if purpose_fault(key).is_some() => {
            let why = purpose_fault(key).unwrap_or_default();
            Err(format!(
                "a hub does not use the key that is published under it: {why}"
            ))
        }
        [key] => key
            .key
            .as_ref()
            .map_err(|why| format!("what is published under it verifies no {ALGORITHM}: {why}")),
        [] => Err(format!(
            "no key of the set has it, and {} have another",
            set.keys().len()
        )),
        [..] => Err("more than one key of the set has it".to_owned()),
    }
}

fn header(header: &Map<String, Value>) -> Result<String, String> {
    let scheme = Header::new("");
    for (name, value) in [
        ("alg", scheme.alg),
        ("typ", scheme.typ),
        ("cty", scheme.cty),
    ] {
        match header.get(name) {
            Some(Value::String(found)) if *found == value => {}
            Some(Value::String(found)) => {
                return Err(format!("{name} is {found:?}, not {value:?}"));
            }
            Some(_) => return Err(format!("{name} is no text")),
            None => return Err(format!("{name} is missing")),
        }
    }
    let known = ["alg", "typ", "cty", "kid"];
    match header.keys().find(|name| !known.contains(&name.as_str())) {
        Some(other) => Err(format!("it also has {other:?}")),
        None => Ok(format!("alg {ALGORITHM}, typ JOSE, cty json, kid")),
    }
}

fn signature(token: &DecodedToken, key: &crate::key::public::PublicKey) -> Result<String, String> {
    let message = token.signing_input.as_bytes();
    match key.verifies(SIG4_SCHEME, message, &token.signature) {
        true => Ok(format!("{ALGORITHM} by the published key")),
        false => Err(format!(
            "it is no {ALGORITHM} signature of this token by the key that is published under its kid"
        )),
    }
}

fn text(token: &DecodedToken, name: &str, expected: &str) -> Result<String, String> {
    match token.claims.get(name) {
        Some(Value::String(found)) if found == expected => Ok(found.clone()),
        Some(Value::String(found)) => Err(format!("{name} is {found:?}, not {expected:?}")),
        Some(_) => Err(format!("{name} is no text")),
        None => Err(format!("{name} is missing")),
    }
}

/// A claim in whole seconds after the Unix epoch.
fn time(token: &DecodedToken, name: &str) -> Result<u64, String> {
    match token.claims.get(name) {
        Some(value) => value
            .as_u64()
            .ok_or_else(|| format!("{name} is no whole number of seconds")),
        None => Err(format!("{name} is missing")),
    }
}

fn times(token: &DecodedToken, at: u64) -> Result<String, String> {
    let (issued, expires) = (time(token, "iat")?, time(token, "exp")?);
    let now = rfc3339::of_unix(at);
    let from = match token.claims.contains_key("nbf") {
        true => time(token, "nbf")?,
        false => issued,
    };
    for (name, begin) in [("iat", issued), ("nbf", from)] {
        if begin > at.saturating_add(SKEW) {
            let begin_text = rfc3339::of_unix(begin);
            return Err(format!(
                "{name} is {} s ahead ({begin_text}, and it is {now}); {SKEW} s are allowed",
                begin - at
            ));
        }
    }
    if at >= expires.saturating_add(SKEW) {
        let end = rfc3339::of_unix(expires);
        return Err(format!(
            "it ended {} s ago ({end}, and it is {now}); {SKEW} s are allowed",
            at - expires
        ));
    }
    Ok(format!(
        "issued {}, ends {}, and it is {now}",
        rfc3339::of_unix(issued),
        rfc3339::of_unix(expires)
    ))
}

fn lifetime(token: &DecodedToken) -> Result<String, String> {
    let (issued, expires) = (time(token, "iat")?, time(token, "exp")?);
    match expires.checked_sub(issued) {
        Some(seconds) if LIFETIMES.contains(&seconds) => Ok(format!("{seconds} s")),
        Some(seconds) => Err(format!(
            "it lives for {seconds} s, and 10 to 30 are allowed"
        )),
        None => Err("it ends before it was issued".to_owned()),
    }
}

fn id(token: &DecodedToken) -> Result<String, String> {
    match token.claims.get("jti") {
        Some(Value::String(found)) if is_uuid_v4(found.as_bytes()) => Ok(found.clone()),
        Some(_) => Err("jti is no UUIDv4".to_owned()),
        None => Err("jti is missing".to_owned()),
    }
}

#[cfg(test)]
#[path = "token_verification_tests.rs"]
mod tests;
