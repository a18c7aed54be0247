//! A public-key object is metadata: anybody with the PIN can put another one beside a private key. A signature that
//! does not verify with it is not used.

use crate::common::bank::{Bank, config_of_child};
use crate::common::softhsm::{MODULE, PIN};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;

#[test]
fn a_public_key_object_that_is_not_the_keys_does_not_get_past_the_first_signature() {
    if config_of_child().is_some() {
        return tamper();
    }
    let mut bank = Bank::new();
    bank.run(&["key", "generate", "--type", "p-256"]).expect(0);
    bank.run(&["key", "generate", "--type", "p-256", "--label", "other"])
        .expect(0);
    bank.run_test(
        a_public_key_object_that_is_not_the_keys_does_not_get_past_the_first_signature,
        &[],
    );
    let csr = bank.run(&["csr"]).expect(3);
    let said = "signature does not verify with the public key; it was not used";
    assert!(csr.stderr.contains(said), "{csr:?}");
    assert!(
        csr.stdout.is_empty(),
        "nothing that was signed wrongly is released"
    );

    // A certificate for the other key: by what the token says, it is that of `c3`.
    bank.configure(|settings| settings.key = "pkcs11:object=other".to_owned());
    let leaf = bank.issue();
    bank.configure(|settings| settings.key = "pkcs11:object=c3".to_owned());
    let file = bank.write("leaf.pem", &leaf);
    let install = bank
        .run(&["cert", "install", file.to_str().unwrap()])
        .expect(2);
    assert!(install.stderr.contains("they are no pair"), "{install:?}");
    assert!(!bank.path("c3.pem").exists());
}

/// Puts the public half of `other` in the place of that of `c3`.
fn tamper() {
    let pkcs11 = Pkcs11::new(MODULE).unwrap();
    let locking = CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK);
    pkcs11.initialize(locking).unwrap();
    let slot = pkcs11.get_slots_with_token().unwrap()[0];
    let session = pkcs11.open_rw_session(slot).unwrap();
    session
        .login(UserType::User, Some(&AuthPin::from(PIN.to_owned())))
        .unwrap();
    let (ours, others) = (public(&session, "c3"), public(&session, "other"));
    let read = |object, kind| session.get_attributes(object, &[kind]).unwrap().remove(0);
    let forged = [
        Attribute::Class(ObjectClass::PUBLIC_KEY),
        Attribute::KeyType(KeyType::EC),
        Attribute::Token(true),
        Attribute::Private(false),
        read(ours, AttributeType::Label),
        read(ours, AttributeType::Id),
        read(others, AttributeType::EcParams),
        read(others, AttributeType::EcPoint),
    ];
    session.destroy_object(ours).unwrap();
    session.create_object(&forged).unwrap();
}

fn public(session: &Session, label: &str) -> cryptoki::object::ObjectHandle {
    let template = [
        Attribute::Class(ObjectClass::PUBLIC_KEY),
        Attribute::Label(label.as_bytes().to_vec()),
    ];
    session.find_objects(&template).unwrap()[0]
}
