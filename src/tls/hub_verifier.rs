//! Verifies from a handshake's messages that its server is the hub: for the signer process, which does not take the front
//! end's word for it. The rules are those of the TLS client itself ([`super::trust`]).

use std::sync::Arc;

use rustls::client::danger::ServerCertVerifier as _;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{SignatureScheme, SupportedCipherSuite};
use webpki::EndEntityCert;

use super::diagnose::from_rustls;
use super::trust::{ObservationPolicy, ServerVerifier, TrustStore};
use super::{TlsError, provider};
use crate::certificate::Certificate;
use crate::certificate::anchors::Anchors;
use crate::config::Config;
use crate::config::origin::Origin;

/// What our ClientHello offers, as the numbers that are sent.
#[derive(Clone, Debug)]
pub(crate) struct Offer {
    /// The cipher suites.
    pub(crate) suites: Vec<u16>,
    /// Those of TLS 1.2, with the signature schemes of each.
    tls12: Vec<(u16, Vec<u16>)>,
    /// The key exchange groups.
    pub(crate) groups: Vec<u16>,
    /// The schemes of the server's signatures.
    pub(crate) schemes: Vec<u16>,
}

impl Offer {
    /// The signature schemes of a cipher suite. `None`: it is none of TLS 1.2.
    pub(crate) fn tls12_schemes(&self, suite: u16) -> Option<&[u16]> {
        let found = self.tls12.iter().find(|(number, _)| *number == suite);
        found.map(|(_, schemes)| schemes.as_slice())
    }

    fn of(provider: &CryptoProvider, schemes: &[SignatureScheme]) -> Self {
        let numbers = |schemes: &[SignatureScheme]| schemes.iter().map(|it| (*it).into()).collect();
        let suites = &provider.cipher_suites;
        let tls12 = suites.iter().filter_map(|suite| match suite {
            SupportedCipherSuite::Tls12(tls12) => {
                Some((tls12.common.suite.into(), numbers(tls12.sign)))
            }
            SupportedCipherSuite::Tls13(_) => None,
        });
        Self {
            suites: suites.iter().map(|suite| suite.suite().into()).collect(),
            tls12: tls12.collect(),
            groups: provider
                .kx_groups
                .iter()
                .map(|group| group.name().into())
                .collect(),
            schemes: numbers(schemes),
        }
    }
}

/// What a ClientHello of the default configuration offers.
#[cfg(test)]
impl Default for Offer {
    fn default() -> Self {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let schemes = provider
            .signature_verification_algorithms
            .supported_schemes();
        Self::of(&provider, &schemes)
    }
}

/// Verifies servers as the TLS client of this configuration does.
#[derive(Debug)]
pub(crate) struct HubVerifier {
    verifier: ServerVerifier,
    provider: Arc<CryptoProvider>,
    /// The hosts of the hub that are addresses: they are not named in a ClientHello.
    addresses: Vec<String>,
    offer: Offer,
}

impl HubVerifier {
    /// Loads the CRLs and, where the configuration says so, the public roots of this machine.
    ///
    /// # Errors
    /// As [`super::Tls::new`].
    pub(crate) fn load(config: &Config, anchors: &Anchors) -> Result<Self, TlsError> {
        let provider = provider(&config.tls);
        let trust = Arc::new(TrustStore::load(&config.trust, anchors, &provider)?);
        let origins = config.hub.origins();
        // The other process has observed the handshake.
        let verifier = ServerVerifier::new(trust, &origins, ObservationPolicy::Optional);
        let is_address = |origin: &&&Origin| {
            let name = ServerName::try_from(origin.host.as_str());
            matches!(name, Ok(ServerName::IpAddress(_)))
        };
        let addresses = origins.iter().filter(is_address);
        Ok(Self {
            addresses: addresses.map(|origin| origin.host.clone()).collect(),
            offer: Offer::of(&provider, &verifier.supported_verify_schemes()),
            verifier,
            provider,
        })
    }

    /// What the ClientHello of this configuration offers.
    pub(crate) fn offer(&self) -> &Offer {
        &self.offer
    }

    /// Checks that this chain, the leaf first, is one that the hub's host `name` is believed by now. Without a name, any of
    /// the hub's addresses may be the host.
    ///
    /// # Errors
    /// The host is not the hub's, or the TLS client would not believe the chain.
    pub(crate) fn verify_server(
        &self,
        chain: &[Certificate],
        name: Option<&str>,
    ) -> Result<(), TlsError> {
        let der = |certificate: &Certificate| CertificateDer::from(certificate.der().to_vec());
        let mut chain = chain.iter().map(der);
        let leaf = chain.next().ok_or(TlsError::ServerNotProved)?;
        let intermediates: Vec<_> = chain.collect();
        let hosts: Vec<_> = match name {
            Some(name) => vec![name],
            None => self.addresses.iter().map(String::as_str).collect(),
        };
        let now = UnixTime::now();
        let mut refused = TlsError::HostNotConfigured {
            host: "an address".to_owned(),
            configured: self.addresses.clone(),
        };
        for host in hosts {
            let verified = ServerName::try_from(host)
                .map_err(|error| TlsError::Setup(error.to_string()))
                .and_then(|host| {
                    self.verifier
                        .verify_server_cert(&leaf, &intermediates, &host, &[], now)
                        .map_err(|error| from_rustls(&error))
                });
            match verified {
                Ok(_) => return Ok(()),
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }

    /// Checks a signature of a TLS 1.2 handshake with the server's certificate.
    ///
    /// # Errors
    /// It is not this server's signature of the message.
    pub(crate) fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &Certificate,
        scheme: u16,
        signature: &[u8],
    ) -> Result<(), TlsError> {
        let leaf = CertificateDer::from(leaf.der());
        let leaf = EndEntityCert::try_from(&leaf).map_err(|_| TlsError::ServerNotProved)?;
        let schemes = self.provider.signature_verification_algorithms.mapping;
        let mut algorithms = schemes
            .iter()
            .filter(|(known, _)| u16::from(*known) == scheme)
            .flat_map(|(_, algorithms)| algorithms.iter());
        // A scheme of ECDSA has one for each curve in TLS 1.2.
        let is_valid = algorithms.any(|algorithm| {
            leaf.verify_signature(*algorithm, message, signature)
                .is_ok()
        });
        match is_valid {
            true => Ok(()),
            false => Err(TlsError::ServerNotProved),
        }
    }
}
