//! Certificate chain and key, proved to belong together. Nothing that is not a pair gets further.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::certificate::anchors::{Anchors, Chain};
use crate::certificate::{Certificate, CertificateError, read_file};
use crate::config::{CertificateSource, Config};
use crate::engine::{self, EngineError, Sign, TokenEngine};
use crate::error::Error;
use crate::key::public::PublicKey;
use crate::key::{Key, certificate_object};
use crate::ledger::{Ledger, LedgerError, Recorder};
use crate::token::guard::Attendance;
use crate::token::holder::Holder;
use crate::token::session::Access;
use crate::token::{Start, Token, in_time};

/// A chain and the key that signs for it.
#[derive(Debug)]
pub struct Identity {
    chain: Chain,
    signer: Arc<dyn Sign>,
    proof: Duration,
    token: Option<Arc<Token>>,
}

impl Identity {
    /// Opens token, key, certificate and ledger as configured, checks that the certificate is in its
    /// time and for clients, and proves the pair.
    ///
    /// # Errors
    /// Any of it fails; the error of the stage.
    pub fn open(config: &Config, attendance: Attendance) -> Result<Self, Error> {
        Self::open_recorded(config, attendance, || {
            Recorder::open(config.ledger.as_ref())
        })
    }

    /// The same with a ledger of the application's in place of the configured one.
    ///
    /// # Errors
    /// As [`Identity::open`].
    pub fn open_with_ledger(
        config: &Config,
        attendance: Attendance,
        ledger: Arc<dyn Ledger>,
    ) -> Result<Self, Error> {
        Self::open_recorded(config, attendance, || Ok(Recorder::new(ledger)))
    }

    fn open_recorded(
        config: &Config,
        attendance: Attendance,
        recorder: impl FnOnce() -> Result<Recorder, LedgerError>,
    ) -> Result<Self, Error> {
        // Files first: what can be said without the token costs no login.
        let anchors = Anchors::load(config)?;
        let file = match &config.c3.certificate {
            CertificateSource::File(path) => Some(read_file(path)?),
            CertificateSource::Token(_) => None,
        };
        let complete = |given: &[Certificate]| {
            let chain = Chain::complete(given, &anchors, config.environment)?;
            chain.check_client(SystemTime::now())?;
            Ok::<_, CertificateError>(chain)
        };
        let early = file.as_deref().map(complete).transpose()?;
        let token = Token::open(&config.token, attendance, recorder()?)?;
        let chain = match early {
            Some(chain) => chain,
            None => complete(&[certificate_in_token(config, &token)?])?,
        };
        let signer = signer_for(config, &token, chain.leaf())?;
        let mut identity = Self::prove(chain, Arc::new(signer))?;
        identity.token = Some(token);
        Ok(identity)
    }

    /// Proves that `signer` signs for the chain's leaf: public keys compared, and a random
    /// challenge signed and verified. The comparison alone would believe the token's metadata.
    ///
    /// # Errors
    /// They are no pair, or the key does not sign.
    pub fn prove(chain: Chain, signer: Arc<dyn Sign>) -> Result<Self, EngineError> {
        if chain.leaf().public_key() != Some(signer.public_key()) {
            return Err(EngineError::NotThePair {
                uri: signer.key_uri(),
            });
        }
        let proof = engine::prove(signer.as_ref())?;
        Ok(Self {
            chain,
            signer,
            proof,
            token: None,
        })
    }

    /// Leaf first.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// The key.
    pub fn signer(&self) -> &Arc<dyn Sign> {
        &self.signer
    }

    /// Module and token that hold the key, where it was opened here.
    pub fn holder(&self) -> Option<Holder> {
        self.token.as_ref().map(|token| token.holder())
    }

    /// How long the proof's signature took.
    pub fn proof(&self) -> Duration {
        self.proof
    }
}

/// The configured certificate, where it is an object of the token.
///
/// # Errors
/// None or several match, or it is malformed.
pub fn certificate_in_token(config: &Config, token: &Token) -> Result<Certificate, Error> {
    let CertificateSource::Token(uri) = &config.c3.certificate else {
        return Err(CertificateError::Empty("the token".to_owned()).into());
    };
    let session = token.session(Access::ReadOnly)?;
    let found = certificate_object::find(&session, token, uri)?;
    match found.as_slice() {
        [(uri, der)] => Ok(Certificate::from_der(der, &uri.to_string())?),
        several => Err(CertificateError::NotOneInToken {
            uri: uri.to_string(),
            candidates: several.iter().map(|(uri, _)| uri.to_string()).collect(),
        }
        .into()),
    }
}

/// The engine for the configured key, found by the certificate's public key.
///
/// # Errors
/// The key is missing, ambiguous or another's, or cannot sign.
pub fn signer_for(
    config: &Config,
    token: &Arc<Token>,
    leaf: &Certificate,
) -> Result<TokenEngine, Error> {
    let public_key = leaf
        .public_key()
        .ok_or_else(|| CertificateError::Malformed {
            place: leaf.subject().to_string(),
            why: "its public key is neither RSA, P-256, P-384, P-521 nor Ed25519".to_owned(),
        })?;
    let key = find_key(config, token, Some(public_key))?;
    let engine = TokenEngine::start(Arc::clone(token), key, public_key.clone(), &config.token)?;
    Ok(engine)
}

/// The engine for the configured key before there is a certificate: its public half is what the
/// token tells.
///
/// # Errors
/// The key is missing or ambiguous, the token tells no public key, or it cannot sign.
pub fn signer_without_certificate(
    config: &Config,
    token: &Arc<Token>,
) -> Result<TokenEngine, Error> {
    let key = find_key(config, token, None)?;
    let public_key = key.public_key()?.clone();
    let engine = TokenEngine::start(Arc::clone(token), key, public_key, &config.token)?;
    Ok(engine)
}

/// The configured key; where several match, the one of `expected`.
///
/// # Errors
/// None or several match, or the token does not answer in time.
pub fn find_key(
    config: &Config,
    token: &Arc<Token>,
    expected: Option<&PublicKey>,
) -> Result<Key, Error> {
    let (uri, expected) = (config.c3.key.clone(), expected.cloned());
    let looked_in = Arc::clone(token);
    in_time(Start::Key, token.start_timeout(), move || {
        let session = looked_in.session(Access::ReadOnly)?;
        Ok(Key::find(&session, &looked_in, &uri, expected.as_ref())?)
    })
}
