//! What a CA takes from a PKCS#10 request: a subject that must not change by a byte, and a key that must have signed it.

use der::asn1::Any;
use der::{Decode as _, Encode as _, Tag};
use rcgen::{KeyPair, SigningKey as _};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer};

/// Where the subject stands in a `TBSCertificate` that names its version, as every v3 certificate does.
const SUBJECT: usize = 5;

/// Subject and public key of a request whose signature is good.
pub fn checked(csr_pem: &str) -> (Any, Any) {
    let csr = CertificateSigningRequestDer::from_pem_slice(csr_pem.as_bytes())
        .expect("a certificate request in PEM");
    let [info, algorithm, signature] = members(&csr);
    let [_version, subject, spki, _attributes] = members(&info.to_der().expect("DER"));
    let [key_algorithm, key] = members(&spki.to_der().expect("DER"));
    let message = info.to_der().expect("DER");
    let verified = rustls::crypto::aws_lc_rs::default_provider()
        .signature_verification_algorithms
        .all
        .iter()
        .filter(|known| *known.public_key_alg_id() == *key_algorithm.value())
        .filter(|known| *known.signature_alg_id() == *algorithm.value())
        .any(|known| {
            known
                .verify_signature(bits(&key), &message, bits(&signature))
                .is_ok()
        });
    assert!(verified, "the request is not signed by the key in it");
    (subject, spki)
}

/// The certificate with another subject, signed anew.
///
/// rcgen holds a name as a map from type to value, so it would lose a repeated type and a set of two.
pub fn with_subject(der: &[u8], subject: Any, key: &KeyPair) -> CertificateDer<'static> {
    let [tbs, algorithm, _signature] = members(der);
    let mut fields = Vec::<Any>::from_der(&tbs.to_der().expect("DER")).expect("a TBSCertificate");
    fields[SUBJECT] = subject;
    let tbs = fields.to_der().expect("DER");
    let mut signature = vec![0];
    signature.extend(key.sign(&tbs).expect("a signature of the issuing CA"));
    vec![
        Any::from_der(&tbs).expect("DER"),
        algorithm,
        Any::new(Tag::BitString, signature).expect("a bit string"),
    ]
    .to_der()
    .expect("DER")
    .into()
}

fn members<const N: usize>(sequence: &[u8]) -> [Any; N] {
    Vec::<Any>::from_der(sequence)
        .expect("a DER sequence")
        .try_into()
        .unwrap_or_else(|found: Vec<_>| panic!("{} members where {N} belong", found.len()))
}

fn bits(string: &Any) -> &[u8] {
    assert_eq!(string.value().first(), Some(&0), "whole octets");
    &string.value()[1..]
}
