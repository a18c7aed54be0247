//! Private keys as JSON (RFC 7517): the form in which an OAuth client's key is kept when it is in no HSM,
//! alone, in a set or in a list. Only public members are decoded; `d` is skipped where it lies.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use der::Encode as _;
use der::asn1::ObjectIdentifier;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::key_file_search::Content;
use hsm_mtls::internal::key::public::PublicKey;

#[derive(Deserialize)]
struct Jwk {
    kty: Option<String>,
    n: Option<String>,
    e: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    /// That it is there makes it a private key (RFC 7518, sections 6.2.2 and 6.3.2).
    d: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<Jwk>,
}

/// Every private key of a JSON text.
pub(super) fn private_keys(bytes: &[u8]) -> Vec<Content> {
    let begins = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
    if !matches!(begins, Some(b'{' | b'[')) {
        return Vec::new();
    }
    let set = serde_json::from_slice::<Set>(bytes).map(|set| set.keys);
    let list = || serde_json::from_slice::<Vec<Jwk>>(bytes);
    let one = || serde_json::from_slice::<Jwk>(bytes).map(|key| vec![key]);
    let keys = set.or_else(|_| list()).or_else(|_| one());
    let private: Vec<_> = keys
        .unwrap_or_default()
        .into_iter()
        .filter(|key| key.kty.is_some() && key.d.is_some())
        .map(|key| {
            let known = key.public_key().map(Content::Key);
            known.unwrap_or(Content::Unknown(
                "a private JWK of a kind that is not known",
            ))
        })
        .collect();
    // Deeper in a document, as in a deployment's parameters.
    let holds = |name: &[u8]| bytes.windows(name.len()).any(|window| window == name);
    match private.is_empty() && holds(b"\"kty\"") && holds(b"\"d\"") {
        true => vec![Content::Unknown(
            "perhaps a private JWK within other JSON, which is not compared",
        )],
        false => private,
    }
}

impl Jwk {
    fn public_key(&self) -> Option<PublicKey> {
        let decoded = |text: &Option<String>| URL_SAFE_NO_PAD.decode(text.as_ref()?).ok();
        match self.kty.as_deref()? {
            "RSA" => PublicKey::from_rsa(&decoded(&self.n)?, &decoded(&self.e)?).ok(),
            "EC" => {
                let curve = match self.crv.as_deref()? {
                    "P-256" => "1.2.840.10045.3.1.7",
                    "P-384" => "1.3.132.0.34",
                    "P-521" => "1.3.132.0.35",
                    _ => return None,
                };
                let curve = ObjectIdentifier::new(curve).ok()?.to_der().ok()?;
                let (x, y) = (decoded(&self.x)?, decoded(&self.y)?);
                let point = [&[4][..], &x, &y].concat();
                PublicKey::from_ec(&curve, &point).ok()
            }
            _ => None,
        }
    }
}
