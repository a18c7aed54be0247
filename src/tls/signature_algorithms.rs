//! Signature algorithms for certificates and CRLs in addition to those of rustls: RSASSA-PSS with the salt lengths that CAs
//! use, and keys of the type id-RSASSA-PSS. The signature schemes of the handshake are those of TLS only (RFC 8446,
//! section 4.2.3).

use std::sync::{Arc, LazyLock};

use aws_lc_rs::signature::VerificationAlgorithm;
use der::{Decode, Encode, Reader, SliceReader};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{
    AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id,
};

use crate::certificate::rsassa_pss::{PssParams, RSASSA_PSS, algorithm_identifier, pss_verifier};
use crate::key::scheme::Hash;

/// Salt lengths in bytes: 0, the length of SHA-1 (the default of RFC 4055), that of each hash, and the maximum for
/// RSA-2048, RSA-3072 and RSA-4096 with each hash (the default of OpenSSL before 3.1).
const SALT_LENGTHS: [u16; 14] = [
    0, 20, 32, 48, 64, 190, 206, 222, 318, 334, 350, 446, 462, 478,
];

/// RSASSA-PSS with one set of parameters, for one type of public key.
#[derive(Debug)]
struct RsaPss {
    parameters: PssParams,
    key: AlgorithmIdentifier,
    signature: AlgorithmIdentifier,
}

impl SignatureVerificationAlgorithm for RsaPss {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        pss_verifier(self.parameters)
            .verify_sig(public_key, message, signature)
            .map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.key
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.signature
    }
}

/// The algorithms of rustls and the additional ones.
static ALGORITHMS: LazyLock<Vec<&'static dyn SignatureVerificationAlgorithm>> =
    LazyLock::new(|| {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let mut all = provider.signature_verification_algorithms.all.to_vec();
        for hash in [Hash::Sha256, Hash::Sha384, Hash::Sha512] {
            for salt in SALT_LENGTHS {
                all.extend(rsa_pss(PssParams { hash, salt }).into_iter().flatten());
            }
        }
        all
    });

/// The algorithm for each type of key: rsaEncryption, id-RSASSA-PSS without parameters, and id-RSASSA-PSS with the same
/// parameters.
fn rsa_pss(parameters: PssParams) -> Option<[&'static dyn SignatureVerificationAlgorithm; 3]> {
    let content = |der: Vec<u8>| -> Option<AlgorithmIdentifier> {
        // webpki's identifiers are the content of the SEQUENCE, without its tag and length.
        let value = SliceReader::new(&der).ok().and_then(|mut reader| {
            der::Header::decode(&mut reader).ok()?;
            let length = reader.remaining_len();
            reader.read_slice(length).ok().map(<[u8]>::to_vec)
        })?;
        Some(AlgorithmIdentifier::from_slice(value.leak()))
    };
    let signature = content(algorithm_identifier(parameters)?.to_der().ok()?)?;
    let unrestricted = AlgorithmIdentifier::from_slice(RSASSA_PSS.to_der().ok()?.leak());
    let with_key = |key| -> &'static dyn SignatureVerificationAlgorithm {
        Box::leak(Box::new(RsaPss {
            parameters,
            key,
            signature,
        }))
    };
    Some([
        with_key(alg_id::RSA_ENCRYPTION),
        with_key(unrestricted),
        with_key(signature),
    ])
}

/// A copy of the provider with all of these algorithms, for certificate verification.
pub(super) fn with_all_algorithms(provider: &CryptoProvider) -> Arc<CryptoProvider> {
    let mut provider = provider.clone();
    provider.signature_verification_algorithms = WebPkiSupportedAlgorithms {
        all: ALGORITHMS.as_slice(),
        mapping: provider.signature_verification_algorithms.mapping,
    };
    Arc::new(provider)
}
