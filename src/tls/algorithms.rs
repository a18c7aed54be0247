//! The signatures on certificates and revocation lists that the TLS library is taught to check beyond its
//! own table: RSASSA-PSS with the salts that CAs use, and keys of the type id-RSASSA-PSS. What a handshake
//! is signed with stays TLS's matter (RFC 8446, section 4.2.3).

use std::sync::{Arc, LazyLock};

use aws_lc_rs::signature::VerificationAlgorithm;
use der::{Decode, Encode, Reader, SliceReader};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{
    AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id,
};

use crate::certificate::rsassa_pss::{Pss, RSASSA_PSS, pss, pss_identifier};
use crate::key::scheme::Hash;

/// Lengths of salts: none, that of SHA-1 (the default of RFC 4055), of each hash, and the longest that fits
/// RSA-2048, RSA-3072 and RSA-4096 with each hash, which OpenSSL before 3.1 takes unless told otherwise.
const SALTS: [u16; 14] = [
    0, 20, 32, 48, 64, 190, 206, 222, 318, 334, 350, 446, 462, 478,
];

/// RSASSA-PSS with one set of parameters, by one type of key.
#[derive(Debug)]
struct RsaPss {
    parameters: Pss,
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
        pss(self.parameters)
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

/// The library's table and ours, made once.
static TABLE: LazyLock<Vec<&'static dyn SignatureVerificationAlgorithm>> = LazyLock::new(|| {
    let own = rustls::crypto::aws_lc_rs::default_provider();
    let mut all = own.signature_verification_algorithms.all.to_vec();
    for hash in [Hash::Sha256, Hash::Sha384, Hash::Sha512] {
        for salt in SALTS {
            all.extend(of(Pss { hash, salt }).into_iter().flatten());
        }
    }
    all
});

/// By keys of rsaEncryption, of id-RSASSA-PSS without parameters, and with the same ones.
fn of(parameters: Pss) -> Option<[&'static dyn SignatureVerificationAlgorithm; 3]> {
    let bare = |der: Vec<u8>| -> Option<AlgorithmIdentifier> {
        // webpki holds identifiers without the SEQUENCE around them.
        let content = SliceReader::new(&der).ok().and_then(|mut reader| {
            der::Header::decode(&mut reader).ok()?;
            let length = reader.remaining_len();
            reader.read_slice(length).ok().map(<[u8]>::to_vec)
        })?;
        Some(AlgorithmIdentifier::from_slice(content.leak()))
    };
    let signature = bare(pss_identifier(parameters)?.to_der().ok()?)?;
    let unrestricted = AlgorithmIdentifier::from_slice(RSASSA_PSS.to_der().ok()?.leak());
    let by = |key| -> &'static dyn SignatureVerificationAlgorithm {
        Box::leak(Box::new(RsaPss {
            parameters,
            key,
            signature,
        }))
    };
    Some([by(alg_id::RSA_ENCRYPTION), by(unrestricted), by(signature)])
}

/// The provider for those who check certificates.
pub(super) fn for_certificates(provider: &CryptoProvider) -> Arc<CryptoProvider> {
    let mut provider = provider.clone();
    provider.signature_verification_algorithms = WebPkiSupportedAlgorithms {
        all: TABLE.as_slice(),
        mapping: provider.signature_verification_algorithms.mapping,
    };
    Arc::new(provider)
}
