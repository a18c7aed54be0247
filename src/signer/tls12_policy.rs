//! What the signer signs in TLS 1.2: handshakes with the hub, that offer our own certificate. The message is the handshake
//! itself, so the signer verifies in it what the TLS client verified: the hub's certificate, and the signature by which the
//! hub proves that it takes part in this very handshake. (In TLS 1.3 the message is a hash.)

use super::tls12_transcript::{Transcript, TranscriptError};
use crate::certificate::Certificate;
use crate::certificate::anchors::{Anchors, Chain};
use crate::config::environment::Environment;
use crate::config::trust::TrustMode;
use crate::config::{Config, TlsConfig};
use crate::diagnostic::Diagnostic as _;
use crate::key::public::PublicKey;
use crate::key::scheme::Scheme;
use crate::tls::hub_verifier::HubVerifier;
use crate::tls::trust::verify_client_chain;
use crate::tls::{TlsError, provider};

/// Why a handshake is not signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Tls12Refusal {
    #[error("the message is no handshake of TLS 1.2 up to the client's CertificateVerify: {0}")]
    Transcript(#[from] TranscriptError),
    #[error("the server of the handshake takes no signature of this scheme")]
    Scheme,
    #[error("the client's certificate in the handshake is not that of this key")]
    OtherCertificate,
    #[error("the server of the handshake is not the hub: {0}")]
    NotTheHub(String),
    #[error("the server of the handshake sends a certificate of no CA of the trust anchors")]
    ForeignCertificate,
    #[error("the server's signature in the handshake is not that of the hub's certificate")]
    ServerSignature,
    /// Not the fault of the request.
    #[error("the signer process cannot tell the hub's certificate: {why}")]
    Unavailable { why: String, hint: String },
}

/// The policy for handshakes of TLS 1.2; or why there is none.
#[derive(Debug)]
pub(super) struct Tls12Policy(Result<HandshakeVerifier, Tls12Refusal>);

/// What both sides of a handshake are verified with.
#[derive(Debug)]
struct HandshakeVerifier {
    hub: HubVerifier,
    key: PublicKey,
    chain: Chain,
    anchors: Anchors,
    mode: TrustMode,
    environment: Environment,
    tls: TlsConfig,
}

impl Tls12Policy {
    /// Loads what the hub's certificate is verified with. Where that fails, no handshake of TLS 1.2 is signed, and the log
    /// says why; others are.
    pub(super) fn load(config: &Config, anchors: &Anchors, key: &PublicKey, chain: Chain) -> Self {
        let verifier = HubVerifier::load(config, anchors).map(|hub| HandshakeVerifier {
            hub,
            key: key.clone(),
            chain,
            anchors: anchors.clone(),
            mode: config.trust.mode,
            environment: config.environment,
            tls: config.tls.clone(),
        });
        Self(verifier.map_err(|error| {
            let (why, hint) = (error.to_string(), hint(config, &error));
            tracing::warn!(error = why, hint, "no handshake of TLS 1.2 is signed");
            Tls12Refusal::Unavailable { why, hint }
        }))
    }

    #[cfg(test)]
    pub(super) fn unavailable(why: &str) -> Self {
        Self(Err(Tls12Refusal::Unavailable {
            why: why.to_owned(),
            hint: String::new(),
        }))
    }

    /// Checks the messages of a handshake that is to be signed with this scheme.
    pub(super) fn check(&self, message: &[u8], scheme: Scheme) -> Result<(), Tls12Refusal> {
        match &self.0 {
            Ok(verifier) => verifier.check(message, scheme),
            Err(refusal) => Err(refusal.clone()),
        }
    }
}

impl HandshakeVerifier {
    fn check(&self, message: &[u8], scheme: Scheme) -> Result<(), Tls12Refusal> {
        let transcript = Transcript::parse(message, self.hub.offer())?;
        if !transcript.client_schemes.contains(&scheme.number()) {
            return Err(Tls12Refusal::Scheme);
        }
        if !self.is_ours(&transcript.client_chain) {
            return Err(Tls12Refusal::OtherCertificate);
        }
        self.hub
            .verify_server(&transcript.server_chain, transcript.server_name)
            .map_err(|error| Tls12Refusal::NotTheHub(error.to_string()))?;
        let [leaf, issuers @ ..] = &transcript.server_chain[..] else {
            return Err(Tls12Refusal::ServerSignature);
        };
        if self.mode == TrustMode::TrustFramework && !self.are_of_the_anchors(issuers) {
            return Err(Tls12Refusal::ForeignCertificate);
        }
        let signed = &transcript.server_signed;
        let (scheme, signature) = (transcript.server_scheme, transcript.server_signature);
        self.hub
            .verify_tls12_signature(signed, leaf, scheme, signature)
            .map_err(|_| Tls12Refusal::ServerSignature)
    }

    /// Whether each of these certificates is one of the bundle, or issued by one of it or by another of these. The server's
    /// signature does not cover them, and those that the leaf's chain does not need are not verified by the TLS client:
    /// they could hold any text.
    fn are_of_the_anchors(&self, issuers: &[Certificate]) -> bool {
        let bundle = self
            .anchors
            .roots()
            .iter()
            .chain(self.anchors.intermediates());
        let mut known: Vec<_> = bundle.collect();
        let mut open: Vec<_> = issuers.iter().collect();
        while !open.is_empty() {
            let is_known = |certificate: &&Certificate| {
                let is_one = |ca: &&Certificate| ca.der() == certificate.der();
                let issued = |ca: &&Certificate| {
                    certificate.is_signed_whole() && certificate.is_issued_by(ca)
                };
                known.iter().any(|ca| is_one(ca) || issued(ca))
            };
            let (found, rest): (Vec<_>, Vec<_>) = open.into_iter().partition(is_known);
            if found.is_empty() {
                return false;
            }
            known.extend(found);
            open = rest;
        }
        true
    }

    /// Whether this is the certificate of the configuration; or, because the file may have been replaced since the front end
    /// read it, another one for the same key, of the configured CA.
    fn is_ours(&self, sent: &[Certificate]) -> bool {
        let same = |chain: &Chain| {
            let ours = chain.certificates().map(Certificate::der);
            ours.eq(sent.iter().map(Certificate::der))
        };
        if same(&self.chain) {
            return true;
        }
        let is_of_key = sent.first().and_then(Certificate::public_key) == Some(&self.key);
        if !is_of_key || !sent.iter().all(Certificate::is_signed_whole) {
            return false;
        }
        let provider = provider(&self.tls);
        Chain::complete(sent, &self.anchors, self.environment).is_ok_and(|chain| {
            same(&chain) && verify_client_chain(&chain, &self.anchors, &provider).is_ok()
        })
    }
}

/// The next step, where the signer cannot read or use what the hub's certificate is verified with.
fn hint(config: &Config, error: &TlsError) -> String {
    match &config.signer.landlock {
        Some(_) => format!(
            "add the folders of `anchors` and `crls` of [trust], and for public roots those of this machine's store, to `read` of \
             `landlock` in [signer]; else: {}",
            error.hint()
        ),
        None => error.hint(),
    }
}
