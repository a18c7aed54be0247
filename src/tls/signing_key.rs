//! The token's key as a rustls `SigningKey`. It always returns a signer, so that a failure is an error of the handshake and
//! never makes the client anonymous.

use std::sync::Arc;

use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::sign::{Signer, SigningKey};
use rustls::{Error, OtherError, SignatureAlgorithm, SignatureScheme};

use super::TlsError;
use super::handshake_observer::{HandshakeSignature, Observer, record};
use super::replay::{self, Answer, WantedSignature};
use crate::engine::{Peer, Purpose, Sign, SignRequest, tls13_transcript_hash};
use crate::key::scheme::{KeyAlgorithm, Scheme};

/// A private key in a token.
#[derive(Clone, Debug)]
pub(super) struct TokenSigningKey(pub(super) Arc<dyn Sign>);

impl SigningKey for TokenSigningKey {
    /// Never `None`: rustls would send an *empty* Certificate message then, and a handshake of TLS 1.3 would succeed. A
    /// signer that fails makes the handshake fail with the true reason.
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let ours = self.0.schemes();
        let chosen = ours
            .iter()
            .find(|scheme| offered.contains(&rustls_scheme(**scheme)));
        Some(match chosen {
            Some(scheme) => Box::new(TokenSigner {
                key: Arc::clone(&self.0),
                scheme: *scheme,
            }),
            None => Box::new(NoCommonScheme {
                offered: offered.iter().map(|scheme| scheme_name(*scheme)).collect(),
                ours: ours.iter().map(|scheme| scheme.name()).collect(),
            }),
        })
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some(self.0.public_key().spki().into())
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        match self.0.public_key().algorithm() {
            KeyAlgorithm::Rsa { .. } => SignatureAlgorithm::RSA,
            KeyAlgorithm::EcP256 | KeyAlgorithm::EcP384 | KeyAlgorithm::EcP521 => {
                SignatureAlgorithm::ECDSA
            }
            KeyAlgorithm::Ed25519 => SignatureAlgorithm::ED25519,
        }
    }
}

#[derive(Debug)]
struct TokenSigner {
    key: Arc<dyn Sign>,
    scheme: Scheme,
}

impl Signer for TokenSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        match replay::signature(self.scheme, message)? {
            Answer::Signature(signature) => return Ok(signature),
            Answer::EndRun => return Err(Error::General("its signature is awaited".to_owned())),
            Answer::Sign => {}
        }
        let (peer, interaction_id) =
            record(|observation| (observation.peer.clone(), observation.interaction_id.clone()))
                .unwrap_or_default();
        let peer = (peer, interaction_id);
        let signed = self
            .key
            .sign(&request(&*self.key, self.scheme, message, &peer))
            .map_err(|error| rustls_error(TlsError::Signature(Arc::new(error))))?;
        record(|observation| {
            observation.signature = Some(HandshakeSignature {
                scheme: self.scheme,
                elapsed: signed.elapsed,
            });
        });
        Ok(signed.bytes)
    }

    fn scheme(&self) -> SignatureScheme {
        rustls_scheme(self.scheme)
    }
}

/// Signs for a handshake whose first run has ended with `wanted`. The future waits, and no thread.
pub(super) async fn sign_async(
    key: &dyn Sign,
    wanted: &WantedSignature,
    observer: &Observer,
) -> Result<Vec<u8>, TlsError> {
    let WantedSignature { scheme, message } = wanted;
    let peer = observer.peer();
    let request = request(key, *scheme, message, &peer);
    let signed = key.sign_async(&request).await;
    let signed = signed.map_err(|error| TlsError::Signature(Arc::new(error)))?;
    observer.signed(HandshakeSignature {
        scheme: *scheme,
        elapsed: signed.elapsed,
    });
    Ok(signed.bytes)
}

/// `peer` is the server and the interaction id, as far as they are known.
fn request<'a>(
    key: &dyn Sign,
    scheme: Scheme,
    message: &'a [u8],
    (peer, interaction_id): &'a (Option<String>, Option<String>),
) -> SignRequest<'a> {
    SignRequest {
        message,
        scheme,
        purpose: purpose(message),
        deadline: key.deadline(),
        peer: Peer {
            name: peer.as_deref(),
            interaction_id: interaction_id.as_deref(),
        },
    }
}

/// The signer if client and server have no scheme in common: it always fails.
#[derive(Debug)]
struct NoCommonScheme {
    offered: Vec<String>,
    ours: Vec<&'static str>,
}

impl Signer for NoCommonScheme {
    fn sign(&self, _: &[u8]) -> Result<Vec<u8>, Error> {
        Err(rustls_error(TlsError::NoCommonScheme {
            offered: self.offered.clone(),
            ours: self.ours.clone(),
        }))
    }

    fn scheme(&self) -> SignatureScheme {
        // Never sent: `sign` is called first, and fails.
        SignatureScheme::Unknown(0)
    }
}

/// Wraps an error of this crate for rustls; `diagnose` unwraps it.
pub(super) fn rustls_error(error: TlsError) -> Error {
    Error::Other(OtherError(Arc::new(error)))
}

/// The purpose of the signature. rustls does not tell a signer the TLS version, but the message shows it.
fn purpose(message: &[u8]) -> Purpose {
    match tls13_transcript_hash(message) {
        Some(_) => Purpose::Tls13ClientAuth,
        None => Purpose::Tls12ClientAuth,
    }
}

fn rustls_scheme(scheme: Scheme) -> SignatureScheme {
    match scheme {
        Scheme::RsaPkcs1Sha256 => SignatureScheme::RSA_PKCS1_SHA256,
        Scheme::RsaPkcs1Sha384 => SignatureScheme::RSA_PKCS1_SHA384,
        Scheme::RsaPkcs1Sha512 => SignatureScheme::RSA_PKCS1_SHA512,
        Scheme::RsaPssSha256 => SignatureScheme::RSA_PSS_SHA256,
        Scheme::RsaPssSha384 => SignatureScheme::RSA_PSS_SHA384,
        Scheme::RsaPssSha512 => SignatureScheme::RSA_PSS_SHA512,
        Scheme::EcdsaP256Sha256 => SignatureScheme::ECDSA_NISTP256_SHA256,
        Scheme::EcdsaP384Sha384 => SignatureScheme::ECDSA_NISTP384_SHA384,
        Scheme::EcdsaP521Sha512 => SignatureScheme::ECDSA_NISTP521_SHA512,
        Scheme::Ed25519 => SignatureScheme::ED25519,
    }
}

/// The scheme's name in the IANA registry if this crate supports the scheme; otherwise its name in rustls.
pub(super) fn scheme_name(scheme: SignatureScheme) -> String {
    let ours = Scheme::ALL
        .iter()
        .find(|ours| rustls_scheme(**ours) == scheme);
    ours.map_or_else(|| format!("{scheme:?}"), |ours| ours.name().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_purpose_is_derived_from_the_message() {
        let mut tls13 = vec![b' '; 64];
        tls13.extend_from_slice(b"TLS 1.3, client CertificateVerify\0");
        tls13.extend_from_slice(&[7; 32]);
        assert_eq!(purpose(&tls13), Purpose::Tls13ClientAuth);
        // A handshake of TLS 1.2 begins with a ClientHello (1).
        assert_eq!(purpose(&[1; 1200]), Purpose::Tls12ClientAuth);
        assert_eq!(purpose(&[]), Purpose::Tls12ClientAuth);
    }
}
