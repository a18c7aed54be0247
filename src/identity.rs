//! The identity: a certificate chain and its private key, proved to belong together. Later stages use only a proved pair.

mod error;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::certificate::anchors::{Anchors, Chain};
use crate::certificate::{Certificate, CertificateError, read_file};
use crate::config::{CertificateSource, Config};
use crate::engine::{self, EngineError, Sign, TokenEngine};
use crate::key::public::PublicKey;
use crate::key::unsupported::UnsupportedKey;
use crate::key::{Key, certificate_object};
use crate::ledger::{Ledger, LedgerError, Recorder};
use crate::token::device_info::DeviceInfo;
use crate::token::guard::Attendance;
use crate::token::session::Access;
use crate::token::{Token, TokenOperation, with_timeout};
pub use error::IdentityError;

/// A certificate chain, and the key that signs for its leaf.
#[derive(Debug)]
pub struct Identity {
    chain: Chain,
    signer: Arc<dyn Sign>,
    proof: Duration,
    device: Option<DeviceInfo>,
    // Keeps the login for as long as the key is in use.
    token: Option<Arc<Token>>,
}

/// Trust anchors and certificate chain of the configured files. They are read before the token is opened.
#[derive(Debug)]
pub struct IdentityFiles {
    anchors: Anchors,
    chain: Option<Chain>,
    validity: Validity,
}

/// When the certificate must be valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// Now.
    Now,
    /// Now or later: it is not used before. A machine's clock may not be set yet.
    NowOrLater,
}

impl IdentityFiles {
    /// Reads the trust anchors, and the certificate if it is in a file. Checks that the certificate is valid now and for TLS
    /// clients.
    ///
    /// # Errors
    /// A file cannot be read, or the certificate is not valid.
    pub fn read(config: &Config) -> Result<Self, IdentityError> {
        Self::read_valid(config, Validity::Now)
    }

    /// [`IdentityFiles::read`] with a certificate that may become valid later.
    ///
    /// # Errors
    /// A file cannot be read, or the certificate is not valid.
    pub(crate) fn read_valid(config: &Config, validity: Validity) -> Result<Self, IdentityError> {
        let anchors = Anchors::load(config)?;
        let chain = match &config.c3.certificate {
            CertificateSource::File(path) => {
                let given = read_file(path)?;
                Some(complete_chain(config, &anchors, &given, validity)?)
            }
            CertificateSource::Token(_) => None,
        };
        Ok(Self {
            anchors,
            chain,
            validity,
        })
    }

    /// The trust anchors.
    pub(crate) fn anchors(&self) -> &Anchors {
        &self.anchors
    }

    /// The chain of the certificate in the file, or else of the one that `in_token` finds.
    ///
    /// # Errors
    /// There is no certificate, or it is not valid.
    pub fn chain(
        self,
        config: &Config,
        in_token: impl FnOnce() -> Result<Certificate, IdentityError>,
    ) -> Result<Chain, IdentityError> {
        match self.chain {
            Some(chain) => Ok(chain),
            None => Ok(complete_chain(
                config,
                &self.anchors,
                &[in_token()?],
                self.validity,
            )?),
        }
    }

    /// The identity of these files and a key that signs in another process. `certificate` (DER) is given if it is configured
    /// to be in the token; `device` describes module and token.
    ///
    /// # Errors
    /// Chain and key do not belong together, or there is no certificate.
    pub fn identity(
        self,
        config: &Config,
        signer: Arc<dyn Sign>,
        certificate: Option<&[u8]>,
        device: DeviceInfo,
    ) -> Result<Identity, IdentityError> {
        let chain = self.chain(config, || {
            let empty = || CertificateError::Empty("the token".to_owned());
            let der = certificate.ok_or_else(empty)?;
            Ok(Certificate::from_der(der, "the token")?)
        })?;
        let mut identity = Identity::prove(chain, signer)?;
        identity.device = Some(device);
        Ok(identity)
    }
}

/// The chain from the given certificates to an anchor, with a leaf that is valid and for TLS clients.
fn complete_chain(
    config: &Config,
    anchors: &Anchors,
    given: &[Certificate],
    validity: Validity,
) -> Result<Chain, CertificateError> {
    let chain = Chain::complete(given, anchors, config.environment)?;
    let now = SystemTime::now();
    let valid_at = match validity {
        Validity::Now => now,
        Validity::NowOrLater => now.max(chain.leaf().not_before_time()),
    };
    chain.check_client(valid_at)?;
    Ok(chain)
}

impl Identity {
    /// Opens token, key, certificate and ledger as configured, checks that the certificate is valid now and for TLS
    /// clients, and proves the pair.
    ///
    /// # Errors
    /// One of the stages fails; the error is that of the stage.
    pub fn open(config: &Config, attendance: Attendance) -> Result<Self, IdentityError> {
        Self::open_recorded(config, attendance, || {
            Recorder::open(config.ledger.as_ref())
        })
    }

    /// [`Identity::open`] with a ledger of the application's in place of the configured one.
    ///
    /// # Errors
    /// As [`Identity::open`].
    pub fn open_with_ledger(
        config: &Config,
        attendance: Attendance,
        ledger: Arc<dyn Ledger>,
    ) -> Result<Self, IdentityError> {
        Self::open_recorded(config, attendance, || Ok(Recorder::new(ledger)))
    }

    fn open_recorded(
        config: &Config,
        attendance: Attendance,
        recorder: impl FnOnce() -> Result<Recorder, LedgerError>,
    ) -> Result<Self, IdentityError> {
        // The files first: an error in them is found without a login.
        let files = IdentityFiles::read(config)?;
        let token = Token::open(&config.token, attendance, recorder()?)?;
        let chain = files.chain(config, || certificate_in_token(config, &token))?;
        let signer = engine_for_certificate(config, &token, chain.leaf())?;
        let mut identity = Self::prove(chain, Arc::new(signer))?;
        identity.device = Some(token.device_info());
        identity.token = Some(token);
        Ok(identity)
    }

    /// Proves that `signer` has the private key of the chain's leaf: compares the public keys, and has a random challenge
    /// signed and verified. The comparison alone would rely on the token's metadata.
    ///
    /// # Errors
    /// Chain and key do not belong together, or the key does not sign.
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
            device: None,
            token: None,
        })
    }

    /// The chain, leaf first.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// The key.
    pub fn signer(&self) -> &Arc<dyn Sign> {
        &self.signer
    }

    /// The module and the token that hold the key, if they are known.
    pub fn device_info(&self) -> Option<DeviceInfo> {
        self.device.clone()
    }

    /// The duration of the proof's signature.
    pub fn proof(&self) -> Duration {
        self.proof
    }
}

/// The configured certificate, if it is an object in the token.
///
/// # Errors
/// None or several match, or it is malformed.
pub fn certificate_in_token(config: &Config, token: &Token) -> Result<Certificate, IdentityError> {
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
/// The key is missing, ambiguous or another certificate's, or cannot sign.
pub fn engine_for_certificate(
    config: &Config,
    token: &Arc<Token>,
    leaf: &Certificate,
) -> Result<TokenEngine, IdentityError> {
    let (key, public_key) = find_key_of_certificate(config, token, leaf)?;
    engine_for_key(config, token, key, public_key)
}

/// The engine for a key that was found already. Signatures are verified with `public_key`.
///
/// # Errors
/// The key cannot sign.
pub fn engine_for_key(
    config: &Config,
    token: &Arc<Token>,
    key: Key,
    public_key: PublicKey,
) -> Result<TokenEngine, IdentityError> {
    let token = Arc::clone(token);
    Ok(TokenEngine::start(token, key, public_key, &config.token)?)
}

/// [`engine_for_certificate`] for a process whose supervisor kills it when a call hangs.
///
/// # Errors
/// As [`engine_for_certificate`].
pub(crate) fn engine_on_caller_threads(
    config: &Config,
    token: &Arc<Token>,
    leaf: &Certificate,
) -> Result<TokenEngine, IdentityError> {
    let (key, public_key) = find_key_of_certificate(config, token, leaf)?;
    let token = Arc::clone(token);
    Ok(TokenEngine::start_on_caller_threads(
        token,
        key,
        public_key,
        &config.token,
    )?)
}

fn find_key_of_certificate(
    config: &Config,
    token: &Arc<Token>,
    leaf: &Certificate,
) -> Result<(Key, PublicKey), IdentityError> {
    let public_key = match (leaf.public_key(), leaf.unsupported_key()) {
        (Some(public_key), _) => public_key,
        (None, unsupported) => {
            let unreadable = || UnsupportedKey::named("a public key that cannot be read");
            return Err(CertificateError::UnsupportedKey {
                subject: leaf.subject().to_string(),
                key_type: unsupported.cloned().unwrap_or_else(unreadable),
            }
            .into());
        }
    };
    let key = find_key(config, token, Some(public_key))?;
    Ok((key, public_key.clone()))
}

/// The engine for the configured key before there is a certificate. The public key is the one that the token reports.
///
/// # Errors
/// The key is missing or ambiguous, the token has no public key for it, or it cannot sign.
pub fn engine_without_certificate(
    config: &Config,
    token: &Arc<Token>,
) -> Result<TokenEngine, IdentityError> {
    let key = find_key(config, token, None)?;
    let public_key = key.public_key()?.clone();
    engine_for_key(config, token, key, public_key)
}

/// The configured key; if several match, the one with the `expected` public key.
///
/// # Errors
/// None or several match, or the token does not answer in time.
pub fn find_key(
    config: &Config,
    token: &Arc<Token>,
    expected: Option<&PublicKey>,
) -> Result<Key, IdentityError> {
    let (uri, expected) = (config.c3.key.clone(), expected.cloned());
    let searched = Arc::clone(token);
    with_timeout(TokenOperation::Key, token.start_timeout(), move || {
        let session = searched.session(Access::ReadOnly)?;
        Ok(Key::find(&session, &searched, &uri, expected.as_ref())?)
    })
}
