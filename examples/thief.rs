//! A thief who has the PIN: asks the token for the private key in every way that PKCS#11 knows.
//!
//! ```text
//! thief MODULE TOKEN-LABEL KEY-LABEL PIN-FILE      ends with 0 if every way was refused
//! ```
//!
//! Run by the demo, to show rather than claim that the key stays. The product itself asks for no
//! component of a private key, ever.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    clippy::expect_used,
    reason = "a thief minds no law of the project, and tells what it did"
)]

use std::fs;
use std::process::ExitCode;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeInfo, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;

const COMPONENTS: [(&str, AttributeType); 7] = [
    ("CKA_VALUE", AttributeType::Value),
    ("CKA_PRIVATE_EXPONENT", AttributeType::PrivateExponent),
    ("CKA_PRIME_1", AttributeType::Prime1),
    ("CKA_PRIME_2", AttributeType::Prime2),
    ("CKA_EXPONENT_1", AttributeType::Exponent1),
    ("CKA_EXPONENT_2", AttributeType::Exponent2),
    ("CKA_COEFFICIENT", AttributeType::Coefficient),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    const USAGE: &str = "usage: thief MODULE TOKEN-LABEL KEY-LABEL PIN-FILE      ends with 0 if every way to the private key was refused";
    if let Some("-h" | "--help") = arguments.first().map(String::as_str) {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let [module, token, label, pin_file] = arguments.as_slice() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let (session, key) = log_in(module, token, label, pin_file);
    let mut stolen = 0;
    let mut tell = |way: &str, outcome: Result<(), String>| match outcome {
        Ok(()) => {
            stolen += 1;
            println!("  STOLEN   {way}");
        }
        Err(refusal) => println!("  refused  {way:60} {refusal}"),
    };
    for (name, component) in COMPONENTS {
        tell(
            &format!("C_GetAttributeValue {name}"),
            read(&session, key, component),
        );
    }
    let extractable = [Attribute::Sensitive(false), Attribute::Extractable(true)];
    let changed = session.update_attributes(key, &extractable);
    tell(
        "C_SetAttributeValue CKA_EXTRACTABLE true",
        changed.map_err(short),
    );
    let copy = [Attribute::Token(false), Attribute::Extractable(true)];
    let copied = session.copy_object(key, &copy).map(|_| ());
    tell(
        "C_CopyObject with CKA_EXTRACTABLE true",
        copied.map_err(short),
    );
    tell("C_WrapKey under an AES key of our own", wrap(&session, key));
    if stolen == 0 {
        println!("the private key did not leave the token");
        ExitCode::SUCCESS
    } else {
        println!("{stolen} ways lead out of this token");
        ExitCode::FAILURE
    }
}

fn log_in(module: &str, token: &str, label: &str, pin_file: &str) -> (Session, ObjectHandle) {
    let pkcs11 = Pkcs11::new(module).expect("a PKCS#11 module");
    pkcs11
        .initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))
        .expect("C_Initialize");
    let slots = pkcs11.get_slots_with_token().expect("slots");
    let named = |slot: &cryptoki::slot::Slot| {
        pkcs11
            .get_token_info(*slot)
            .is_ok_and(|info| info.label() == token)
    };
    let slot = slots.into_iter().find(named).expect("the token");
    let session = pkcs11.open_rw_session(slot).expect("a session");
    let pin = fs::read_to_string(pin_file).expect("the PIN");
    session
        .login(
            UserType::User,
            Some(&AuthPin::from(pin.trim_end().to_owned())),
        )
        .expect("the login");
    let template = [
        Attribute::Class(ObjectClass::PRIVATE_KEY),
        Attribute::Label(label.as_bytes().to_vec()),
    ];
    let found = session.find_objects(&template).expect("a search");
    let key = *found.first().expect("the private key");
    (session, key)
}

fn read(session: &Session, key: ObjectHandle, component: AttributeType) -> Result<(), String> {
    let info = session
        .get_attribute_info(key, &[component])
        .map_err(short)?;
    match info.first() {
        Some(AttributeInfo::Available(_)) => Ok(()),
        other => Err(format!("{other:?}").replace("Some(", "").replace(')', "")),
    }
}

fn wrap(session: &Session, key: ObjectHandle) -> Result<(), String> {
    let template = [
        Attribute::Token(false),
        Attribute::ValueLen(32.into()),
        Attribute::Wrap(true),
    ];
    let aes = session
        .generate_key(&Mechanism::AesKeyGen, &template)
        .map_err(short)?;
    session
        .wrap_key(&Mechanism::AesKeyWrapPad, aes, key)
        .map(|_| ())
        .map_err(short)
}

fn short(error: cryptoki::error::Error) -> String {
    match error {
        cryptoki::error::Error::Pkcs11(code, function) => format!("C_{function:?}: {code:?}"),
        other => other.to_string(),
    }
}
