//! What can be tried with a key without changing anything and without any of it coming near us: whether
//! the token would tell its private components, and whether it would wrap it.
//!
//! Both are asked for by length only. A length that is answered is the finding; no call here has a place
//! that key material could be written to.

use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsOaepParams, PkcsOaepSource};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{
    Attribute, AttributeInfo, AttributeType, KeyType, ObjectClass, ObjectHandle,
};
use serde::{Deserialize, Serialize};

use super::attributes::attribute;
use super::{Key, object_uri};
use crate::config::uri::ObjectType;
use crate::token::Token;
use crate::token::fault::Fault;
use crate::token::session::Session;

/// What a trial came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// The token refused, with this return value.
    Refused(String),
    /// It would have done it, or did: what it answered.
    Done(String),
    /// Nothing follows from it, and why.
    NothingFollows(String),
}

/// Something that was asked of the token, and its answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Trial {
    /// The call, in the standard's words.
    pub asked: String,
    /// What came of it.
    pub answer: Answer,
}

impl Trial {
    pub(super) fn new(asked: impl Into<String>, answer: Answer) -> Self {
        Self {
            asked: asked.into(),
            answer,
        }
    }
}

/// What makes up a private key (PKCS#11 3.1, sections 6.1.3 and 6.3.4).
fn components(kind: Option<KeyType>) -> &'static [(&'static str, AttributeType)] {
    const RSA: [(&str, AttributeType); 6] = [
        ("CKA_PRIVATE_EXPONENT", AttributeType::PrivateExponent),
        ("CKA_PRIME_1", AttributeType::Prime1),
        ("CKA_PRIME_2", AttributeType::Prime2),
        ("CKA_EXPONENT_1", AttributeType::Exponent1),
        ("CKA_EXPONENT_2", AttributeType::Exponent2),
        ("CKA_COEFFICIENT", AttributeType::Coefficient),
    ];
    const EC: [(&str, AttributeType); 1] = [("CKA_VALUE", AttributeType::Value)];
    match kind {
        Some(KeyType::RSA) => &RSA,
        _ => &EC,
    }
}

impl Key {
    /// Asks how long each private component is: C_GetAttributeValue with no place for the value.
    pub fn try_to_read(&self, session: &Session) -> Vec<Trial> {
        let kind = match attribute(session, self.handle, AttributeType::KeyType) {
            Some(Attribute::KeyType(kind)) => Some(kind),
            _ => None,
        };
        let length = |kind| {
            let session = session.pkcs11()?;
            let told = session.get_attribute_info(self.handle, &[kind]);
            told.map_err(Fault::of)
        };
        let trial = |(name, kind): &(&str, AttributeType)| {
            let answer = match length(*kind).as_deref() {
                Ok([AttributeInfo::Sensitive]) => {
                    Answer::Refused("CKR_ATTRIBUTE_SENSITIVE".to_owned())
                }
                Ok([AttributeInfo::Available(0)]) => {
                    Answer::NothingFollows("a length of 0".to_owned())
                }
                Ok([AttributeInfo::Available(length)]) => {
                    Answer::Done(format!("it is {length} bytes long, and would be told"))
                }
                Ok([AttributeInfo::Unavailable]) => {
                    Answer::Refused("CK_UNAVAILABLE_INFORMATION".to_owned())
                }
                Ok([AttributeInfo::TypeInvalid]) => {
                    Answer::NothingFollows("CKR_ATTRIBUTE_TYPE_INVALID".to_owned())
                }
                Ok(_) => Answer::NothingFollows("no answer for it".to_owned()),
                Err(fault) => of_fault(fault),
            };
            Trial::new(format!("the length of {name}"), answer)
        };
        components(kind).iter().map(trial).collect()
    }

    /// Asks how long this key would be, wrapped by each wrapping key that can be seen here:
    /// C_WrapKey with no place for its output. None where there is no wrapping key.
    pub fn try_to_wrap(&self, session: &Session, token: &Token) -> Vec<Trial> {
        let mut trials = Vec::new();
        for (class, object_type) in [
            (ObjectClass::SECRET_KEY, ObjectType::SecretKey),
            (ObjectClass::PUBLIC_KEY, ObjectType::Public),
        ] {
            let template = [Attribute::Class(class), Attribute::Wrap(true)];
            let found = session
                .pkcs11()
                .and_then(|session| session.find_objects(&template).map_err(Fault::of));
            let found = match found {
                Ok(found) => found,
                Err(fault) => {
                    trials.push(Trial::new(
                        "C_FindObjects for wrapping keys",
                        of_fault(&fault),
                    ));
                    continue;
                }
            };
            if let Some(more @ 1..) = found.len().checked_sub(MOST_WRAPPING_KEYS) {
                let asked = format!("C_WrapKey with {more} more of them");
                let said = format!("not tried: {MOST_WRAPPING_KEYS} of a kind are");
                trials.push(Trial::new(asked, Answer::NothingFollows(said)));
            }
            for wrapping_key in found.into_iter().take(MOST_WRAPPING_KEYS) {
                let uri = object_uri(session, token, wrapping_key, object_type);
                let trial = wrap(session, token, wrapping_key, self.handle);
                trials.extend(trial.into_iter().map(|mut trial| {
                    trial.asked.push_str(&format!(" with {uri}"));
                    trial
                }));
            }
        }
        trials
    }
}

/// Each costs some calls. What is left out is told.
const MOST_WRAPPING_KEYS: usize = 8;

/// C_WrapKey by each mechanism that fits the wrapping key and that the token lists.
pub(super) fn wrap(
    session: &Session,
    token: &Token,
    wrapping_key: ObjectHandle,
    key: ObjectHandle,
) -> Vec<Trial> {
    let kind = match attribute(session, wrapping_key, AttributeType::KeyType) {
        Some(Attribute::KeyType(kind)) => Some(kind),
        _ => None,
    };
    let mechanisms = match kind {
        Some(KeyType::AES) => vec![
            Mechanism::AesKeyWrapPad,
            Mechanism::AesKeyWrap,
            Mechanism::AesCbcPad([0; 16]),
        ],
        Some(KeyType::RSA) => vec![
            Mechanism::RsaPkcs,
            Mechanism::RsaPkcsOaep(PkcsOaepParams::new(
                MechanismType::SHA1,
                PkcsMgfType::MGF1_SHA1,
                PkcsOaepSource::empty(),
            )),
        ],
        Some(KeyType::DES3) => vec![Mechanism::Des3Cbc([0; 8])],
        _ => Vec::new(),
    };
    let listed = mechanisms
        .into_iter()
        .filter(|mechanism| token.mechanisms().can_wrap(mechanism.mechanism_type()));
    listed
        .map(|mechanism| {
            let answer = match session.wrapped_length(&mechanism, wrapping_key, key) {
                None => Answer::NothingFollows(
                    "through this module the output of C_WrapKey cannot be left out".to_owned(),
                ),
                Some(Ok(0)) => Answer::NothingFollows("a length of 0".to_owned()),
                Some(Ok(length)) => Answer::Done(format!("it would be wrapped, in {length} bytes")),
                Some(Err(fault)) => of_fault(&fault),
            };
            Trial::new(
                format!("C_WrapKey by {}", mechanism.mechanism_type()),
                answer,
            )
        })
        .collect()
}

/// A token that does not do this at all, or cannot do it now, has not refused it to this key.
pub(super) fn of_fault(fault: &Fault) -> Answer {
    let said = fault.failure().ckr.unwrap_or_else(|| fault.to_string());
    match said.as_str() {
        "CKR_ATTRIBUTE_SENSITIVE"
        | "CKR_ATTRIBUTE_READ_ONLY"
        | "CKR_ATTRIBUTE_VALUE_INVALID"
        | "CKR_TEMPLATE_INCONSISTENT"
        | "CKR_ACTION_PROHIBITED"
        | "CKR_KEY_FUNCTION_NOT_PERMITTED"
        | "CKR_KEY_UNEXTRACTABLE"
        | "CKR_KEY_NOT_WRAPPABLE" => Answer::Refused(said),
        _ => Answer::NothingFollows(said),
    }
}
