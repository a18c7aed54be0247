//! The files of an identity: trust anchors and certificates. They are read before the token is opened, so that an error in them
//! is found without a login.

use std::sync::Arc;
use std::time::SystemTime;

use super::{Identity, IdentityError, Sig4Error, SigningIdentity};
use crate::certificate::anchors::{Anchors, Chain};
use crate::certificate::{Certificate, CertificateError, read_file};
use crate::config::{CertificateSource, Config};
use crate::engine::Sign;
use crate::token::device_info::DeviceInfo;

/// Trust anchors and certificate chain of the configured files. They are read before the token is opened.
#[derive(Debug)]
pub struct IdentityFiles {
    anchors: Anchors,
    chain: Option<Chain>,
    validity: Validity,
    sig4: Option<Box<Self>>,
}

/// A key that signs in another process, and its certificate in DER if that is configured to be in the token.
pub(crate) struct RemoteSig4 {
    pub(crate) signer: Arc<dyn Sign>,
    pub(crate) certificate: Option<Vec<u8>>,
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
            sig4: Self::of_sig4(config, validity)?,
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

    /// The files of `[sig4]`.
    pub(crate) fn take_sig4(&mut self) -> Option<Self> {
        self.sig4.take().map(|files| *files)
    }

    /// The identity of these files and of keys that sign in another process. `certificate` (DER) is given if it is configured
    /// to be in the token; `device` describes module and token.
    ///
    /// # Errors
    /// Chain and key do not belong together, or there is no certificate.
    pub(crate) fn identity(
        mut self,
        config: &Config,
        signer: Arc<dyn Sign>,
        certificate: Option<&[u8]>,
        sig4: Option<RemoteSig4>,
        device: DeviceInfo,
    ) -> Result<Identity, IdentityError> {
        let files_of_sig4 = self.take_sig4();
        let chain = self.chain(config, || received(certificate))?;
        let mut identity = Identity::prove(chain, signer)?;
        if let (Some(files), Some(view), Some(sig4)) = (files_of_sig4, config.for_sig4(), sig4) {
            let chain = files.chain(&view, || received(sig4.certificate.as_deref()));
            let chain = chain.map_err(Sig4Error::from)?;
            let leaf = identity.chain.leaf();
            let proved = SigningIdentity::prove(config, leaf, &chain, sig4.signer)?;
            identity.sig4 = Some(proved);
        }
        identity.device = Some(device);
        Ok(identity)
    }
}

/// The certificate that another process found in the token.
fn received(der: Option<&[u8]>) -> Result<Certificate, IdentityError> {
    let empty = || CertificateError::Empty("the token".to_owned());
    let der = der.ok_or_else(empty)?;
    Ok(Certificate::from_der(der, "the token")?)
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
    chain.check_role(config.c3.role, valid_at)?;
    Ok(chain)
}
