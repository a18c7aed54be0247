//! A key in memory behind the product's seam: the same client without a token, for comparison only.
//! Nothing of it is in the product.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, RSA_PSS_SHA256, RsaKeyPair,
};
use hsm_mtls::internal::certificate::anchors::{Anchors, Chain};
use hsm_mtls::internal::certificate::read_pem;
use hsm_mtls::internal::config::Config;
use hsm_mtls::internal::engine::{EngineError, Sign, SignRequest, Signature};
use hsm_mtls::internal::identity::Identity;
use hsm_mtls::internal::key::public::PublicKey;
use hsm_mtls::internal::key::scheme::Scheme;
use rcgen::{CertificateParams, KeyPair, RsaKeySize};

use crate::common::bank::Bank;

/// Where the parent leaves the key, beside the configuration.
const KEY: &str = "in-memory.der";
const CERTIFICATE: &str = "in-memory.pem";

enum Pair {
    Rsa(RsaKeyPair),
    P256(EcdsaKeyPair),
}

struct InMemory {
    pair: Pair,
    public_key: PublicKey,
    scheme: Scheme,
}

/// Makes a key and has it certified, for a child to find.
pub fn prepare(bank: &Bank, rsa: bool) {
    let key = match rsa {
        true => KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048),
        false => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
    };
    let key = key.expect("a key");
    let request = CertificateParams::default().serialize_request(&key);
    let request = request
        .and_then(|request| request.pem())
        .expect("a request");
    bank.write(CERTIFICATE, &bank.framework.issue_client(&request));
    std::fs::write(bank.path(KEY), key.serialize_der()).expect("the key's file");
}

/// An identity of that key, as the product's own would be.
pub fn identity(config: &Config, folder: &Path) -> Identity {
    let certificate: PathBuf = folder.join(CERTIFICATE);
    let pem = std::fs::read_to_string(certificate).expect("the parent's certificate");
    let given = read_pem(&pem, CERTIFICATE).expect("a certificate");
    let anchors = Anchors::load(config).expect("anchors");
    let chain = Chain::complete(&given, &anchors, config.environment).expect("a chain");
    chain
        .leaf()
        .check_client(SystemTime::now())
        .expect("a client's certificate");
    let key = std::fs::read(folder.join(KEY)).expect("the parent's key");
    let public_key = chain.leaf().public_key().expect("a known kind").clone();
    let scheme = public_key.algorithm().schemes()[0];
    let pair = match scheme {
        Scheme::EcdsaP256Sha256 => {
            let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &key);
            Pair::P256(pair.expect("a P-256 key"))
        }
        _ => Pair::Rsa(RsaKeyPair::from_pkcs8(&key).expect("an RSA key")),
    };
    let signer = InMemory {
        pair,
        public_key,
        scheme,
    };
    Identity::prove(chain, Arc::new(signer)).expect("a pair")
}

impl fmt::Debug for InMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InMemory")
    }
}

impl Sign for InMemory {
    fn key_uri(&self) -> String {
        "a key in memory".to_owned()
    }

    fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    fn schemes(&self) -> &[Scheme] {
        std::slice::from_ref(&self.scheme)
    }

    fn deadline(&self) -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    fn sign(&self, request: &SignRequest<'_>) -> Result<Signature, EngineError> {
        let started = Instant::now();
        let random = SystemRandom::new();
        let bytes = match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PSS_SHA256, &random, request.message, &mut signature)
                    .map(|()| signature)
            }
            Pair::P256(pair) => pair
                .sign(&random, request.message)
                .map(|signature| signature.as_ref().to_vec()),
        };
        Ok(Signature {
            bytes: bytes.map_err(|_| EngineError::NoRandom)?,
            elapsed: started.elapsed(),
        })
    }
}
