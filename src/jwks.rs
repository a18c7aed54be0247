//! JSON Web Key Sets (RFC 7517), as the Trust Framework publishes them for an application: read within bounds, judged against
//! the Sig4 certificate ([`judgement`]), and used to say what a hub would say of a token ([`token_verification`]).
//!
//! The hub finds the key of a token in the published set, by `kid`. A set that is wrong is noticed by nobody at the bank before
//! the first call is refused.

pub mod judgement;
pub mod location;
pub mod publication;
mod strict_json;
pub mod token_verification;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Map, Value};
use thiserror::Error;

use crate::config::trust::Fingerprint;
use crate::diagnostic::Diagnostic;
use crate::exit_code::ExitCode;
use crate::key::public::PublicKey;
use strict_json::{StrictValue, TWICE};

/// The largest set that is read, in bytes.
pub const MAX_LEN: usize = 256 << 10;
/// The largest number of keys in a set that is read.
pub const MAX_KEYS: usize = 100;

/// The members of a private key (RFC 7518, sections 6.2.2, 6.3.2 and 6.4.1).
const PRIVATE_MEMBERS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// A set of public keys.
#[derive(Clone, Debug)]
pub struct JwkSet {
    keys: Vec<Jwk>,
}

/// A key of a set: the members that a verifier looks at (RFC 7517, section 4).
#[derive(Clone, Debug)]
pub struct Jwk {
    /// `kid`; `None` where it is missing or no text.
    pub kid: Option<String>,
    /// `kty`, such as `RSA`.
    pub key_type: String,
    /// The key, or why it is none that verifies PS256.
    pub key: Result<PublicKey, String>,
    /// `use`.
    pub key_use: Option<String>,
    /// `key_ops`.
    pub operations: Option<Vec<String>>,
    /// `alg`.
    pub algorithm: Option<String>,
    /// `x5c`, each certificate in DER; `Some(Err)` where it is no list of certificates in base64.
    pub certificates: Option<Result<Vec<Vec<u8>>, &'static str>>,
    /// `x5t#S256`.
    pub thumbprint: Option<String>,
    /// Whether it has a member that only private or symmetric keys have.
    pub is_private: bool,
}

/// Why a text is no JWK Set that can be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum JwksError {
    /// It is longer than [`MAX_LEN`].
    #[error("the JWKS has {0} bytes, and no more than {MAX_LEN} are read")]
    TooLong(usize),
    /// It is no JSON. The text has line and column.
    #[error("the JWKS is no JSON: {0}")]
    NotJson(String),
    /// An object of it has a name twice.
    #[error(
        "an object of the JWKS has a name twice (line {line}, column {column}): readers do not agree which one counts"
    )]
    Twice {
        /// The line, from 1 on.
        line: usize,
        /// The column, from 1 on.
        column: usize,
    },
    /// It is no object with a list `keys` of objects.
    #[error("this is no JWKS, which is an object with `keys`, a list of objects: {0}")]
    NotASet(&'static str),
    /// It has more than [`MAX_KEYS`] keys.
    #[error("the JWKS has {0} keys, and no more than {MAX_KEYS} are read")]
    TooManyKeys(usize),
}

impl Diagnostic for JwksError {
    fn hint(&self) -> String {
        match self {
            Self::TooLong(_) | Self::TooManyKeys(_) => {
                "is this the JWKS of the one application? The URL ends with ORGANISATION/CLIENT/application.jwks"
            }
            Self::NotJson(_) | Self::NotASet(_) => {
                "check the URL: `jwks` of [sig4] or --url overrides the one that is derived from the certificate"
            }
            Self::Twice { .. } => {
                "tell the Trust Framework's operator: verifiers may take different keys out of it"
            }
        }
        .to_owned()
    }

    fn exit_code(&self) -> ExitCode {
        ExitCode::Finding
    }

    fn is_transient(&self) -> bool {
        false
    }
}

impl JwkSet {
    /// Reads a set (RFC 7517, section 5). A key of a type that is not known stays in it, as one that verifies nothing.
    ///
    /// # Errors
    /// It is longer than [`MAX_LEN`], has more than [`MAX_KEYS`] keys or a name twice in one object, or is no set.
    pub fn parse(bytes: &[u8]) -> Result<Self, JwksError> {
        if bytes.len() > MAX_LEN {
            return Err(JwksError::TooLong(bytes.len()));
        }
        let read: Result<StrictValue, _> = serde_json::from_slice(bytes);
        let StrictValue(value) = read.map_err(|error| {
            let (line, column) = (error.line(), error.column());
            match error.to_string().starts_with(TWICE) {
                true => JwksError::Twice { line, column },
                false => JwksError::NotJson(format!("line {line}, column {column}")),
            }
        })?;
        let Value::Object(mut set) = value else {
            return Err(JwksError::NotASet("it is no object"));
        };
        let keys = set
            .remove("keys")
            .ok_or(JwksError::NotASet("it has no `keys`"))?;
        let Value::Array(keys) = keys else {
            return Err(JwksError::NotASet("its `keys` is no list"));
        };
        if keys.len() > MAX_KEYS {
            return Err(JwksError::TooManyKeys(keys.len()));
        }
        let keys = keys.iter().map(|key| {
            let members = key.as_object();
            members
                .map(Jwk::of)
                .ok_or(JwksError::NotASet("one of its keys is no object"))
        });
        Ok(Self {
            keys: keys.collect::<Result<_, _>>()?,
        })
    }

    /// All keys.
    pub fn keys(&self) -> &[Jwk] {
        &self.keys
    }

    /// The keys with this `kid`.
    pub fn with_kid(&self, kid: &str) -> Vec<&Jwk> {
        let keys = self.keys.iter();
        keys.filter(|key| key.kid.as_deref() == Some(kid)).collect()
    }
}

impl Jwk {
    fn of(members: &Map<String, Value>) -> Self {
        let text = |name: &str| members.get(name)?.as_str().map(str::to_owned);
        let key_type = text("kty").unwrap_or_else(|| "no type".to_owned());
        let key = match key_type.as_str() {
            "RSA" => rsa(members),
            other => Err(format!("a key of type {other}, and PS256 takes RSA")),
        };
        Self {
            kid: text("kid"),
            key,
            key_type,
            key_use: text("use"),
            operations: members.get("key_ops").map(|list| {
                let list = list.as_array().into_iter().flatten();
                list.filter_map(|name| name.as_str().map(str::to_owned))
                    .collect()
            }),
            algorithm: text("alg"),
            certificates: members.get("x5c").map(certificates),
            thumbprint: text("x5t#S256"),
            is_private: PRIVATE_MEMBERS
                .iter()
                .any(|name| members.contains_key(*name)),
        }
    }

    /// `kid`, `alg` and `use` for a person.
    pub fn describe(&self) -> String {
        let shown = |value: &Option<String>| {
            let value = value.as_deref().unwrap_or("none");
            value.chars().take(80).collect::<String>()
        };
        format!(
            "kid {} ({}, alg {}, use {})",
            shown(&self.kid),
            self.key_type.chars().take(20).collect::<String>(),
            shown(&self.algorithm),
            shown(&self.key_use)
        )
    }
}

/// `x5t#S256` of a certificate in DER (RFC 7515, section 4.1.8).
fn thumbprint(der: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(Fingerprint::of(der).0)
}

/// The RSA key of `n` and `e` (RFC 7518, section 6.3.1).
fn rsa(members: &Map<String, Value>) -> Result<PublicKey, String> {
    let number = |name: &str| {
        let text = members.get(name).and_then(Value::as_str);
        let text = text.ok_or_else(|| format!("an RSA key without `{name}`"))?;
        URL_SAFE_NO_PAD
            .decode(text)
            .map_err(|_| format!("an RSA key whose `{name}` is not in base64url without padding"))
    };
    PublicKey::from_rsa(&number("n")?, &number("e")?).map_err(|kind| kind.to_string())
}

/// The certificates of `x5c`: base64, not base64url, of DER (RFC 7517, section 4.7).
fn certificates(value: &Value) -> Result<Vec<Vec<u8>>, &'static str> {
    let list = value.as_array().ok_or("it is no list")?;
    if list.is_empty() {
        return Err("it is an empty list");
    }
    let decoded = list.iter().map(|text| {
        let text = text.as_str().ok_or("it is no list of texts")?;
        STANDARD
            .decode(text)
            .map_err(|_| "it is not in base64 (with + and /, and with padding)")
    });
    decoded.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_set_is_refused_with_the_reason() {
        let parse = |text: &str| JwkSet::parse(text.as_bytes()).map(|set| set.keys.len());
        assert_eq!(parse(r#"{"keys":[]}"#), Ok(0));
        assert_eq!(parse(r#"{"keys":[{"kty":"oct"},{}],"more":1}"#), Ok(2));
        for text in ["[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[1]}"#] {
            let refused = parse(text);
            assert!(matches!(refused, Err(JwksError::NotASet(_))), "{text}");
        }
        for text in ["", "<html>", r#"{"keys":[]"#, r#"{"keys":[]} x"#] {
            let refused = parse(text);
            assert!(matches!(refused, Err(JwksError::NotJson(_))), "{text}");
        }
        for text in [
            r#"{"keys":[],"keys":[]}"#,
            r#"{"keys":[{"kid":"a","kid":"b"}]}"#,
        ] {
            let refused = parse(text);
            assert!(matches!(refused, Err(JwksError::Twice { .. })), "{text}");
        }
        let keys = |count| format!(r#"{{"keys":[{}]}}"#, vec!["{}"; count].join(","));
        assert_eq!(parse(&keys(MAX_KEYS)), Ok(MAX_KEYS));
        assert_eq!(parse(&keys(101)), Err(JwksError::TooManyKeys(101)));
        let long = format!(r#"{{"keys":[]{}}}"#, " ".repeat(MAX_LEN));
        assert_eq!(parse(&long), Err(JwksError::TooLong(long.len())));
    }

    #[test]
    fn deep_nesting_is_refused_and_does_not_overflow_the_stack() {
        let deep = format!(r#"{{"keys":{}"#, "[".repeat(100_000));
        let refused = JwkSet::parse(deep.as_bytes());
        assert!(matches!(refused, Err(JwksError::NotJson(_))));
    }

    #[test]
    fn a_key_that_cannot_verify_says_why() {
        let key = |text: &str| {
            let set = JwkSet::parse(format!(r#"{{"keys":[{text}]}}"#).as_bytes()).unwrap();
            set.keys[0].key.clone().unwrap_err()
        };
        for (text, word) in [
            (r#"{"kty":"EC"}"#, "EC"),
            (r#"{"kty":"RSA","e":"AQAB"}"#, "`n`"),
            (r#"{"kty":"RSA","n":"AQAB"}"#, "`e`"),
            (r#"{"kty":"RSA","n":"A+B=","e":"AQAB"}"#, "base64url"),
            (r#"{"kty":"RSA","n":"AQAB","e":"AQAB"}"#, "RSA-17"),
        ] {
            assert!(key(text).contains(word), "{text}: {}", key(text));
        }
    }
}
