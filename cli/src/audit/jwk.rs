//! Private keys as JSON Web Keys (RFC 7517), the usual format of an OAuth client's key that is in no HSM. Only public members are
//! decoded; the value of `d` is skipped.

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

/// The public key of every private JWK in a file, or the reason why it is not known. Each object is looked at, wherever it is: in a
/// set, in the parameters of a deployment, or beside a certificate.
pub(super) fn private_keys(bytes: &[u8]) -> Vec<Result<PublicKey, &'static str>> {
    if memchr::memmem::find(bytes, b"\"kty\"").is_none() {
        return Vec::new();
    }
    let private: Vec<_> = memchr::memchr_iter(b'{', bytes)
        .filter_map(|start| {
            // Reads this object and what it contains, and nothing behind it.
            let object = serde_json::Deserializer::from_slice(&bytes[start..]);
            object.into_iter::<Jwk>().next()?.ok()
        })
        .filter(|key| key.kty.is_some() && key.d.is_some())
        .map(|key| {
            let public_key = key.public_key();
            public_key.ok_or("a private JWK of a kind that is not known")
        })
        .collect();
    match private.is_empty() && memchr::memmem::find(bytes, b"\"d\"").is_some() {
        true => vec![Err("perhaps a private JWK that is not whole")],
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
