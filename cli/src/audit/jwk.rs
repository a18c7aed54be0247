//! Private keys as JSON Web Keys (RFC 7517), the usual format of an OAuth client's key that is in no HSM: a single key, a set
//! or a list. Only public members are decoded; the value of `d` is skipped.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use der::Encode as _;
use der::asn1::ObjectIdentifier;
use serde::Deserialize;
use serde::de::IgnoredAny;

use hsm_mtls::internal::key::public::PublicKey;

#[derive(Deserialize)]
struct Jwk {
    kty: Option<String>,
    n: Option<String>,
    e: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    /// Its presence makes the key a private one (RFC 7518, sections 6.2.2 and 6.3.2).
    d: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<Jwk>,
}

/// The public key of every private key in a JSON text, or the reason why it is not known.
pub(super) fn private_keys(bytes: &[u8]) -> Vec<Result<PublicKey, &'static str>> {
    let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
    if !matches!(first, Some(b'{' | b'[')) {
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
            let public_key = key.public_key();
            public_key.ok_or("a private JWK of a kind that is not known")
        })
        .collect();
    // A key may be nested in other JSON, such as the parameters of a deployment.
    let contains = |name: &[u8]| bytes.windows(name.len()).any(|window| window == name);
    match private.is_empty() && contains(b"\"kty\"") && contains(b"\"d\"") {
        true => vec![Err(
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
