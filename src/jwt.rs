//! JWT Auth: mints the tokens with which an LFI shows the hub, over the connection of its C3 certificate, that it also has the
//! Sig4 key of the same application.
//!
//! [`Minter`] signs one token, for any use. [`TokenStock`] mints ahead, so that a request does not wait for the HSM, and
//! `AuthorizationLayer` (feature `reqwest`) puts a token of a stock into each request of a tower service: reqwest, hyper, tonic.

#[cfg(feature = "reqwest")]
mod authorization_layer;
mod demand;
mod stock;
mod stocked_token;

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use http::HeaderValue;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};

#[cfg(feature = "reqwest")]
pub use self::authorization_layer::{
    AuthorizationError, AuthorizationLayer, AuthorizationService, RequestHeaders,
};
pub use self::stock::{StockCounts, TokenStock};
use crate::certificate::Certificate;
use crate::config::Config;
use crate::engine::{EngineError, Peer, Purpose, Sign, SignRequest};
use crate::identity::{Identity, SIG4_SCHEME, SigningIdentity};
pub use crate::jwt_claims::ClaimSet;
use crate::jwt_claims::{self, Header};
use crate::metrics::KeyMetrics;
use crate::rfc3339;

/// Mints tokens with the Sig4 key.
#[derive(Clone, Debug)]
pub struct Minter {
    signer: Arc<dyn Sign>,
    certificate: Certificate,
    metrics: KeyMetrics,
    claim_set: ClaimSet,
    /// The word before the token in `Authorization`.
    auth_scheme: String,
}

/// A signed token. It shows who the bank is for as long as it lives: neither its `Debug` nor any log has it.
#[derive(Clone)]
pub struct Token {
    compact: SecretString,
    authorization: HeaderValue,
    jti: String,
    issued_at: u64,
    expires_at: u64,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token {} until {}", self.jti, self.expires_at)
    }
}

impl Token {
    /// The compact form, to be sent to whom it is for, and to nobody else.
    pub fn expose(&self) -> &str {
        self.compact.expose_secret()
    }

    /// The value of `Authorization`: scheme and token. It is marked as sensitive.
    pub fn authorization(&self) -> HeaderValue {
        self.authorization.clone()
    }

    /// Its id, as in the ledger.
    pub fn jti(&self) -> &str {
        &self.jti
    }

    /// `iat`, in seconds after the Unix epoch.
    pub fn issued_at(&self) -> u64 {
        self.issued_at
    }

    /// `exp`, in seconds after the Unix epoch.
    pub fn expires_at(&self) -> u64 {
        self.expires_at
    }
}

impl Minter {
    /// The minter of an identity. `None`: there is no `[sig4]`.
    pub fn new(config: &Config, identity: &Identity) -> Option<Self> {
        Some(Self::of(config, identity.sig4()?))
    }

    /// The minter of a signing identity.
    pub fn of(config: &Config, sig4: &SigningIdentity) -> Self {
        let scheme = config.sig4.as_ref().map(|sig4| sig4.scheme.clone());
        Self {
            signer: Arc::clone(sig4.signer()),
            certificate: sig4.certificate().clone(),
            metrics: KeyMetrics::new(&sig4.signer().key_uri()),
            claim_set: sig4.claim_set().clone(),
            auth_scheme: scheme.unwrap_or_default(),
        }
    }

    /// What its tokens have in common.
    pub fn claim_set(&self) -> &ClaimSet {
        &self.claim_set
    }

    /// Mints a token that is valid from now on. Blocks until the HSM has signed it.
    ///
    /// # Errors
    /// There is no signature by the deadline of `[[token]]`, or no random number.
    pub fn mint(&self) -> Result<Token, EngineError> {
        self.mint_with(Map::new())
    }

    /// [`Minter::mint`] with further claims. A signer process signs none of these: they are for a key in this process.
    ///
    /// # Errors
    /// As [`Minter::mint`].
    pub fn mint_with(&self, further: Map<String, Value>) -> Result<Token, EngineError> {
        let claims = self.claim_set.claims(rfc3339::unix_now());
        let mut claims = claims.map_err(|_| EngineError::NoRandom)?;
        claims.further = further;
        let input = jwt_claims::signing_input(&Header::new(&self.claim_set.kid), &claims);
        if input.len() > jwt_claims::MAX_LEN {
            return Err(EngineError::MessageTooLong {
                length: input.len(),
                most: jwt_claims::MAX_LEN,
            });
        }
        let signature = self.signer.sign(&SignRequest {
            message: input.as_bytes(),
            scheme: SIG4_SCHEME,
            purpose: Purpose::Jwt,
            deadline: self.signer.deadline(),
            peer: Peer::default(),
        })?;
        let days_left = self.certificate.days_left(SystemTime::now());
        self.metrics.certificate(days_left);
        let compact = jwt_claims::compact(input, &signature.bytes);
        let value = format!("{} {compact}", self.auth_scheme);
        // The scheme was checked, and base64url has no character that a header must not have.
        let authorization = HeaderValue::try_from(value);
        let mut authorization = authorization.unwrap_or(HeaderValue::from_static(""));
        authorization.set_sensitive(true);
        Ok(Token {
            compact: compact.into(),
            authorization,
            jti: claims.jti,
            issued_at: claims.iat,
            expires_at: claims.exp,
        })
    }
}
