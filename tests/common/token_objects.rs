//! Objects put into a token by PKCS#11 calls: keys as the product makes none, each with the one fault that a test
//! needs. Done in a process of its own, whose environment is the module's.
#![allow(
    clippy::disallowed_methods,
    reason = "the login of somebody who is not the product"
)]

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, KeyType, ObjectClass};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use der::asn1::{ObjectIdentifier, Uint};
use der::{Decode as _, Encode as _};

use super::softhsm::{MODULE, PIN};

/// A session of the user's that may write. The process must have been started with the token's
/// SOFTHSM2_CONF.
pub fn session() -> Session {
    let session = open();
    session
        .login(UserType::User, Some(&AuthPin::from(PIN.to_owned())))
        .expect("C_Login");
    session
}

/// A session that may write, without a login.
fn open() -> Session {
    let pkcs11 = Pkcs11::new(MODULE).expect("SoftHSM");
    let locking = CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK);
    pkcs11.initialize(locking).expect("C_Initialize");
    let slot = pkcs11.get_slots_with_token().expect("C_GetSlotList")[0];
    pkcs11.open_rw_session(slot).expect("C_OpenSession")
}

fn named(label: &str) -> Vec<Attribute> {
    vec![
        Attribute::Token(true),
        Attribute::Label(label.as_bytes().to_vec()),
        Attribute::Id(label.as_bytes().to_vec()),
    ]
}

/// What `key generate` asks for, with something changed.
fn private(label: &str, changes: &[Attribute]) -> Vec<Attribute> {
    let mut template = named(label);
    template.extend([
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(true),
        Attribute::SignRecover(false),
        Attribute::Decrypt(false),
        Attribute::Unwrap(false),
        Attribute::Derive(false),
        Attribute::Modifiable(false),
        Attribute::Copyable(false),
    ]);
    template.retain(|attribute| {
        let kind = attribute.attribute_type();
        changes.iter().all(|change| change.attribute_type() != kind)
    });
    template.extend_from_slice(changes);
    template
}

fn public(label: &str) -> Vec<Attribute> {
    let mut template = named(label);
    template.extend([
        Attribute::Private(false),
        Attribute::Verify(true),
        Attribute::Encrypt(false),
        Attribute::Wrap(false),
    ]);
    template
}

/// Makes an RSA key pair in the token.
pub fn generate_rsa(session: &Session, label: &str, bits: u64, changes: &[Attribute]) {
    let mut public = public(label);
    public.push(Attribute::ModulusBits(bits.into()));
    public.push(Attribute::PublicExponent(vec![1, 0, 1]));
    session
        .generate_key_pair(
            &Mechanism::RsaPkcsKeyPairGen,
            &public,
            &private(label, changes),
        )
        .unwrap_or_else(|error| panic!("{label}: {error}"));
}

/// Makes a P-256 key pair in the token.
pub fn generate_p256(session: &Session, label: &str, changes: &[Attribute]) {
    generate_p256_with(session, label, public(label), changes);
}

/// Makes a P-256 key pair with this CKA_ID in the token.
pub fn generate_p256_with_id(session: &Session, label: &str, id: &[u8]) {
    let id = Attribute::Id(id.to_vec());
    let mut public = public(label);
    public.retain(|attribute| attribute.attribute_type() != id.attribute_type());
    public.push(id.clone());
    generate_p256_with(session, label, public, &[id]);
}

fn generate_p256_with(
    session: &Session,
    label: &str,
    mut public: Vec<Attribute>,
    changes: &[Attribute],
) {
    const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
    public.push(Attribute::EcParams(P256.to_der().expect("DER")));
    session
        .generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private(label, changes))
        .unwrap_or_else(|error| panic!("{label}: {error}"));
}

/// Makes a P-256 key pair that needs no login, as the tools of some vendors do. The process must have been started with the
/// token's SOFTHSM2_CONF.
pub fn generate_unprotected_p256(label: &str) {
    let session = open();
    generate_p256(&session, label, &[Attribute::Private(false)]);
}

/// The same with RSA-2048.
pub fn generate_unprotected_rsa(label: &str) {
    let session = open();
    generate_rsa(&session, label, 2048, &[Attribute::Private(false)]);
}

/// C_CreateObject of an RSA key that was made outside, given as PKCS#8: with every restriction that a
/// key of our own has.
pub fn import_rsa(session: &Session, label: &str, pkcs8: &[u8], changes: &[Attribute]) {
    let members = Vec::<der::Any>::from_der(pkcs8).expect("PKCS#8");
    let numbers = Vec::<Uint>::from_der(members[2].value()).expect("PKCS#1");
    let number = |at: usize| numbers[at].as_bytes().to_vec();
    let mut template = private(label, changes);
    template.extend([
        Attribute::Class(ObjectClass::PRIVATE_KEY),
        Attribute::KeyType(KeyType::RSA),
        Attribute::Modulus(number(1)),
        Attribute::PublicExponent(number(2)),
        Attribute::PrivateExponent(number(3)),
        Attribute::Prime1(number(4)),
        Attribute::Prime2(number(5)),
        Attribute::Exponent1(number(6)),
        Attribute::Exponent2(number(7)),
        Attribute::Coefficient(number(8)),
    ]);
    session
        .create_object(&template)
        .unwrap_or_else(|error| panic!("{label}: {error}"));
}

/// An AES key that wraps others.
pub fn generate_wrapping_key(session: &Session, label: &str) {
    let mut template = named(label);
    template.extend([
        Attribute::Wrap(true),
        Attribute::Sensitive(true),
        Attribute::ValueLen(32.into()),
    ]);
    session
        .generate_key(&Mechanism::AesKeyGen, &template)
        .expect("a wrapping key");
}

/// Puts a certificate into the token.
pub fn store_certificate(session: &Session, label: &str, certificate: &[u8]) {
    let mut template = named(label);
    let parsed = x509_cert::Certificate::from_der(certificate).expect("a certificate");
    let subject = parsed.tbs_certificate().subject().to_der().expect("DER");
    template.extend([
        Attribute::Class(ObjectClass::CERTIFICATE),
        Attribute::CertificateType(cryptoki::object::CertificateType::X_509),
        Attribute::Subject(subject),
        Attribute::Value(certificate.to_vec()),
    ]);
    session.create_object(&template).expect("a certificate");
}
