//! The JSON Web Tokens of JWT Auth, before they are signed: header and claims as the scheme's page has them, and the strict
//! reader with which the signer process sees what it is asked to sign.
//!
//! A token is `header.claims.signature`, each part in base64url without padding (RFC 7515, section 7.1). What is signed is the
//! text `header.claims`.

use std::time::Duration;

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Builder;

/// `alg`: RSASSA-PSS with SHA-256 (RFC 7518, section 3.5).
pub const ALGORITHM: &str = "PS256";
/// `typ` and `cty` of the scheme's tokens.
const HEADER_TYPE: (&str, &str) = ("JOSE", "json");

/// The longest signing input that is read, in bytes, and so the longest that is signed.
pub const MAX_LEN: usize = 16 << 10;

/// The header (RFC 7515, section 4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// The algorithm.
    pub alg: String,
    /// The type of the whole.
    pub typ: String,
    /// The type of the content.
    pub cty: String,
    /// The key: `x5t#S256` of the Sig4 certificate.
    pub kid: String,
}

impl Header {
    /// The scheme's header with this `kid`.
    pub fn new(kid: &str) -> Self {
        let (typ, cty) = HEADER_TYPE;
        Self {
            alg: ALGORITHM.to_owned(),
            typ: typ.to_owned(),
            cty: cty.to_owned(),
            kid: kid.to_owned(),
        }
    }
}

/// The claims (RFC 7519, section 4.1). Times are seconds after the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Who issued the token: O of the C3 certificate's subject.
    pub iss: String,
    /// Whom it is about: OU of the C3 certificate's subject.
    pub sub: String,
    /// Whom it is for.
    pub aud: String,
    /// When it was issued.
    pub iat: u64,
    /// When it ends.
    pub exp: u64,
    /// Its id, a UUIDv4.
    pub jti: String,
    /// From when on it is valid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbf: Option<u64>,
    /// Further claims.
    #[serde(flatten)]
    pub further: Map<String, Value>,
}

/// The claims that are set by the configuration, and never by an operator.
pub const REGISTERED: [&str; 7] = ["iss", "sub", "aud", "iat", "exp", "jti", "nbf"];

/// What the tokens of one configuration have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimSet {
    /// `iss`.
    pub issuer: String,
    /// `sub`.
    pub subject: String,
    /// `aud`.
    pub audience: String,
    /// `kid`.
    pub kid: String,
    /// From `iat` to `exp`.
    pub lifetime: Duration,
    /// Whether there is an `nbf`, equal to `iat`.
    pub not_before: bool,
}

/// The random number generator failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there are no random numbers for the jti of a token")]
pub struct NoRandom;

impl ClaimSet {
    /// The claims of a token that is issued at this time, with an id of its own: 122 random bits, so that no two processes make
    /// the same.
    ///
    /// # Errors
    /// There are no random numbers.
    pub fn claims(&self, issued_at: u64) -> Result<Claims, NoRandom> {
        let mut random = [0; 16];
        rand::fill(&mut random).map_err(|_| NoRandom)?;
        let jti = Builder::from_random_bytes(random).into_uuid();
        Ok(Claims {
            iss: self.issuer.clone(),
            sub: self.subject.clone(),
            aud: self.audience.clone(),
            iat: issued_at,
            exp: issued_at + self.lifetime.as_secs(),
            jti: jti.to_string(),
            nbf: self.not_before.then_some(issued_at),
            further: Map::new(),
        })
    }
}

/// The text that is signed.
pub fn signing_input(header: &Header, claims: &Claims) -> String {
    // Serialisation of strings and numbers does not fail.
    let header = serde_json::to_vec(header).unwrap_or_default();
    let claims = serde_json::to_vec(claims).unwrap_or_default();
    let mut text = URL_SAFE_NO_PAD.encode(header);
    text.push('.');
    URL_SAFE_NO_PAD.encode_string(claims, &mut text);
    text
}

/// The complete token.
pub fn compact(mut signing_input: String, signature: &[u8]) -> String {
    signing_input.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut signing_input);
    signing_input
}

/// Why a text is no signing input.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// It is not two parts in base64url.
    #[error("it is not header and claims in base64url, with a dot between")]
    Form,
    /// The header is not the scheme's.
    #[error("its header is not exactly alg, typ, cty and kid: {0}")]
    Header(String),
    /// The claims cannot be read.
    #[error("its claims cannot be read: {0}")]
    Claims(String),
}

/// Reads a signing input. Names that appear twice, other fields of the header and other forms of base64 are refused, because
/// two readers could take them for different tokens.
///
/// # Errors
/// It is none.
pub fn parse(signing_input: &[u8]) -> Result<(Header, Claims), ParseError> {
    let text = std::str::from_utf8(signing_input).map_err(|_| ParseError::Form)?;
    if text.len() > MAX_LEN {
        return Err(ParseError::Form);
    }
    let (header, claims) = text.split_once('.').ok_or(ParseError::Form)?;
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| ParseError::Form);
    let (header, claims) = (decode(header)?, decode(claims)?);
    let header = object(&header).map_err(|error| ParseError::Header(shape(&error)))?;
    let claims = object(&claims).map_err(|error| ParseError::Claims(shape(&error)))?;
    Ok((header, claims))
}

/// Reads a JSON object none of whose names appears twice, and none of whose claims is null. serde would take an array too.
fn object<T: serde::de::DeserializeOwned>(json: &[u8]) -> Result<T, serde_json::Error> {
    let refused = <serde_json::Error as serde::de::Error>::custom;
    let UniqueNames(members) = serde_json::from_slice(json)?;
    let is_null = |name: &&str| members.get(*name).is_some_and(Value::is_null);
    if json.first() != Some(&b'{') || REGISTERED.iter().any(is_null) {
        return Err(refused("a claim is null, or a blank is before the object"));
    }
    serde_json::from_value(Value::Object(members))
}

/// Why a text has no further claims.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FurtherClaimsError {
    /// It is no JSON object.
    #[error("it is no JSON object, or has a name twice")]
    NoObject,
    /// A claim is one of [`REGISTERED`].
    #[error("{0} is set by the configuration, and not by hand")]
    Registered(&'static str),
}

/// Reads a JSON object of claims beside those of the configuration.
///
/// # Errors
/// It is none, or has one of [`REGISTERED`].
pub fn further_claims(json: &[u8]) -> Result<Map<String, Value>, FurtherClaimsError> {
    let UniqueNames(claims) =
        serde_json::from_slice(json).map_err(|_| FurtherClaimsError::NoObject)?;
    match REGISTERED
        .into_iter()
        .find(|name| claims.contains_key(*name))
    {
        Some(name) => Err(FurtherClaimsError::Registered(name)),
        None => Ok(claims),
    }
}

/// What is wrong with a JSON text, without what it says: that may be somebody's data.
fn shape(error: &serde_json::Error) -> String {
    match error.classify() {
        serde_json::error::Category::Data => {
            "a name is missing, twice, too many or of another type"
        }
        _ => "it is no JSON",
    }
    .to_owned()
}

/// A JSON object none of whose names appears twice.
pub(crate) struct UniqueNames(pub(crate) Map<String, Value>);

impl<'de> Deserialize<'de> for UniqueNames {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;
        impl<'de> serde::de::Visitor<'de> for Names {
            type Value = Map<String, Value>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<Self::Value, A::Error> {
                let mut names = Map::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    if names.insert(name, value).is_some() {
                        return Err(serde::de::Error::custom("a name appears twice"));
                    }
                }
                Ok(names)
            }
        }
        deserializer.deserialize_map(Names).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim_set() -> ClaimSet {
        ClaimSet {
            issuer: "Demo Bank, \"A\" & Söhne".to_owned(),
            subject: "b0a6f9ad-3c5d-4f0e-9a57-1d2f6a1c7e10".to_owned(),
            audience: "provider-1".to_owned(),
            kid: "k".to_owned(),
            lifetime: Duration::from_secs(30),
            not_before: false,
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let set = claim_set();
        for not_before in [false, true] {
            let set = ClaimSet {
                not_before,
                ..set.clone()
            };
            let claims = set.claims(1_700_000_000).unwrap();
            assert_eq!(claims.exp, 1_700_000_030);
            assert_eq!(claims.nbf, not_before.then_some(1_700_000_000));
            assert!(crate::uuid_format::is_uuid_v4(claims.jti.as_bytes()));
            let header = Header::new(&set.kid);
            let input = signing_input(&header, &claims);
            assert_eq!(parse(input.as_bytes()), Ok((header, claims)));
        }
        let one = set.claims(0).unwrap();
        assert_ne!(one.jti, set.claims(0).unwrap().jti);
    }

    #[test]
    fn what_two_readers_could_take_for_two_tokens_is_refused() {
        let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let header = encode(r#"{"alg":"PS256","typ":"JOSE","cty":"json","kid":"k"}"#);
        let claims = encode(r#"{"iss":"a","sub":"b","aud":"c","iat":1,"exp":2,"jti":"d"}"#);
        assert!(parse(format!("{header}.{claims}").as_bytes()).is_ok());
        let twice = r#"{"iss":"a","iss":"z","sub":"b","aud":"c","iat":1,"exp":2,"jti":"d"}"#;
        let further = r#"{"iss":"a","sub":"b","aud":"c","iat":1,"exp":2,"jti":"d","x":1,"x":2}"#;
        let list = r#"{"iss":"a","sub":"b","aud":["c"],"iat":1,"exp":2,"jti":"d"}"#;
        let fraction = r#"{"iss":"a","sub":"b","aud":"c","iat":1.5,"exp":2,"jti":"d"}"#;
        let negative = r#"{"iss":"a","sub":"b","aud":"c","iat":-1,"exp":2,"jti":"d"}"#;
        let null = r#"{"iss":"a","sub":"b","aud":"c","iat":1,"exp":2,"jti":"d","nbf":null}"#;
        let blank = r#" {"iss":"a","sub":"b","aud":"c","iat":1,"exp":2,"jti":"d"}"#;
        let array = r#"["a","b","c",1,2,"d"]"#;
        for claims in [
            twice, further, list, fraction, negative, null, blank, array, "[]", "{}", "",
        ] {
            let input = format!("{header}.{}", encode(claims));
            let parsed = parse(input.as_bytes());
            assert!(matches!(parsed, Err(ParseError::Claims(_))), "{claims}");
        }
        for header in [
            r#"{"alg":"PS256","alg":"none","typ":"JOSE","cty":"json","kid":"k"}"#,
            r#"{"alg":"PS256","typ":"JOSE","cty":"json","kid":"k","crit":["b64"],"b64":false}"#,
            r#"{"alg":"PS256","typ":"JOSE","cty":"json","kid":"k","jku":"https://a"}"#,
            r#"{"alg":"PS256","typ":"JOSE","kid":"k"}"#,
            r#"["PS256","JOSE","json","k"]"#,
            r#" {"alg":"PS256","typ":"JOSE","cty":"json","kid":"k"}"#,
        ] {
            let parsed = parse(format!("{}.{claims}", encode(header)).as_bytes());
            assert!(matches!(parsed, Err(ParseError::Header(_))), "{header}");
        }
        for input in [
            String::new(),
            header.clone(),
            format!("{header}="),
            format!("{header}.{claims}="),
            format!("{header}.{claims}."),
            format!("{header}.{claims}.AAAA"),
            format!(" {header}.{claims}"),
            format!("{header}.{}", claims.replace('e', "+")),
        ] {
            assert_eq!(parse(input.as_bytes()), Err(ParseError::Form), "{input}");
        }
    }
}
