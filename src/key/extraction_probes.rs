//! Passive probes for the audit: whether the token would reveal a private key's components (C_GetAttributeValue), and
//! whether it would wrap the key (C_WrapKey). `probe_keys` has the active ones.
//!
//! Both calls have a null buffer, so they return only a length: no key material can leave the token, and nothing in it is
//! changed. A length that is returned is the finding.

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

/// The result of a probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProbeOutcome {
    /// The token refused, with this return value.
    Refused(String),
    /// The token allowed the operation, or would allow it; with its output.
    #[serde(rename = "done")]
    Allowed(String),
    /// The probe shows neither, and why.
    #[serde(rename = "nothing-follows")]
    Inconclusive(String),
}

/// A call and its result.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Probe {
    /// The call, with its PKCS#11 names.
    #[serde(rename = "asked")]
    pub call: String,
    /// Its result.
    #[serde(rename = "answer")]
    pub outcome: ProbeOutcome,
}

impl Probe {
    pub(super) fn new(call: impl Into<String>, outcome: ProbeOutcome) -> Self {
        Self {
            call: call.into(),
            outcome,
        }
    }
}

/// The attributes that hold private key material (PKCS#11 3.1, sections 6.1.3 and 6.3.4).
fn private_components(key_type: Option<KeyType>) -> &'static [(&'static str, AttributeType)] {
    const RSA: [(&str, AttributeType); 6] = [
        ("CKA_PRIVATE_EXPONENT", AttributeType::PrivateExponent),
        ("CKA_PRIME_1", AttributeType::Prime1),
        ("CKA_PRIME_2", AttributeType::Prime2),
        ("CKA_EXPONENT_1", AttributeType::Exponent1),
        ("CKA_EXPONENT_2", AttributeType::Exponent2),
        ("CKA_COEFFICIENT", AttributeType::Coefficient),
    ];
    const EC: [(&str, AttributeType); 1] = [("CKA_VALUE", AttributeType::Value)];
    match key_type {
        Some(KeyType::RSA) => &RSA,
        _ => &EC,
    }
}

impl Key {
    /// Reads the length of each private component: C_GetAttributeValue with a null buffer.
    pub fn probe_reads(&self, session: &Session) -> Vec<Probe> {
        let key_type = match attribute(session, self.handle, AttributeType::KeyType) {
            Some(Attribute::KeyType(key_type)) => Some(key_type),
            _ => None,
        };
        let length = |attribute_type| {
            let call = session.pkcs11()?;
            let info = call.get_attribute_info(self.handle, &[attribute_type]);
            info.map_err(|error| session.fault(error))
        };
        let probe = |(name, attribute_type): &(&str, AttributeType)| {
            let outcome = match length(*attribute_type).as_deref() {
                Ok([AttributeInfo::Sensitive]) => {
                    ProbeOutcome::Refused("CKR_ATTRIBUTE_SENSITIVE".to_owned())
                }
                Ok([AttributeInfo::Available(0)]) => {
                    ProbeOutcome::Inconclusive("a length of 0".to_owned())
                }
                Ok([AttributeInfo::Available(length)]) => {
                    ProbeOutcome::Allowed(format!("it is {length} bytes long, and would be told"))
                }
                // Also returned for an attribute that the key does not have.
                Ok([AttributeInfo::Unavailable]) => {
                    ProbeOutcome::Inconclusive("CK_UNAVAILABLE_INFORMATION".to_owned())
                }
                Ok([AttributeInfo::TypeInvalid]) => {
                    ProbeOutcome::Inconclusive("CKR_ATTRIBUTE_TYPE_INVALID".to_owned())
                }
                Ok(_) => ProbeOutcome::Inconclusive("no answer for it".to_owned()),
                Err(fault) => outcome_of_fault(fault, &READ_REFUSALS),
            };
            Probe::new(format!("length of {name}"), outcome)
        };
        private_components(key_type).iter().map(probe).collect()
    }

    /// Reads the length of this key wrapped with each wrapping key that is visible in the session: C_WrapKey with a null
    /// buffer. Returns a list of probes for each wrapping key.
    pub fn probe_wraps(&self, session: &Session, token: &Token) -> Vec<Vec<Probe>> {
        let mut all = Vec::new();
        for (class, object_type) in [
            (ObjectClass::SECRET_KEY, ObjectType::SecretKey),
            (ObjectClass::PUBLIC_KEY, ObjectType::Public),
        ] {
            let template = [Attribute::Class(class), Attribute::Wrap(true)];
            let found = session.pkcs11().and_then(|call| {
                call.find_objects(&template)
                    .map_err(|error| session.fault(error))
            });
            let found = match found {
                Ok(found) => found,
                Err(fault) => {
                    let call = "C_FindObjects for wrapping keys";
                    all.push(vec![Probe::new(call, outcome_of_fault(&fault, &[]))]);
                    continue;
                }
            };
            for wrapping_key in found.iter().take(MAX_WRAPPING_KEYS) {
                let uri = object_uri(session, token, *wrapping_key, object_type);
                let mut probes = probe_wrap(session, token, *wrapping_key, self.handle);
                for probe in &mut probes {
                    probe.call.push_str(&format!(" with {uri}"));
                }
                all.push(probes);
            }
            if found.len() > MAX_WRAPPING_KEYS {
                let call = format!("C_WrapKey with {} more", found.len() - MAX_WRAPPING_KEYS);
                let why = "not tried: too many".to_owned();
                all.push(vec![Probe::new(call, ProbeOutcome::Inconclusive(why))]);
            }
        }
        all
    }
}

/// How many wrapping keys of each class are tried; further ones are reported as not tried.
const MAX_WRAPPING_KEYS: usize = 16;

/// Probes C_WrapKey with each mechanism that the token lists and that fits the wrapping key's type.
pub(super) fn probe_wrap(
    session: &Session,
    token: &Token,
    wrapping_key: ObjectHandle,
    key: ObjectHandle,
) -> Vec<Probe> {
    let key_type = match attribute(session, wrapping_key, AttributeType::KeyType) {
        Some(Attribute::KeyType(key_type)) => Some(key_type),
        _ => None,
    };
    let mechanisms = match key_type {
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
    let probes: Vec<_> = listed
        .map(|mechanism| {
            let outcome = match session.wrapped_length(&mechanism, wrapping_key, key) {
                None => ProbeOutcome::Inconclusive(
                    "through this module the output of C_WrapKey cannot be left out".to_owned(),
                ),
                Some(Ok(0 | u64::MAX)) => {
                    ProbeOutcome::Inconclusive("no length was answered".to_owned())
                }
                Some(Ok(length)) => {
                    ProbeOutcome::Allowed(format!("a length of {length} bytes was answered"))
                }
                Some(Err(fault)) => outcome_of_fault(&fault, &WRAP_REFUSALS),
            };
            let call = format!("C_WrapKey by {}", mechanism.mechanism_type());
            Probe::new(call, outcome)
        })
        .collect();
    match probes.is_empty() {
        true => {
            let why = "no mechanism that this program knows, and the token lists, fits it";
            vec![Probe::new(
                "C_WrapKey",
                ProbeOutcome::Inconclusive(why.to_owned()),
            )]
        }
        false => probes,
    }
}

/// The return values of C_GetAttributeValue for an attribute that must not be revealed.
const READ_REFUSALS: [&str; 1] = ["CKR_ATTRIBUTE_SENSITIVE"];
/// The return values of C_WrapKey for a key that must not leave the token. CKR_KEY_NOT_WRAPPABLE is not one of them: it
/// means that this mechanism cannot wrap the key.
const WRAP_REFUSALS: [&str; 1] = ["CKR_KEY_UNEXTRACTABLE"];
/// The return values of C_CopyObject and C_SetAttributeValue for an attribute that must not be changed.
pub(super) const CHANGE_REFUSALS: [&str; 3] = [
    "CKR_ATTRIBUTE_READ_ONLY",
    "CKR_ACTION_PROHIBITED",
    "CKR_TEMPLATE_INCONSISTENT",
];

/// The outcome of a call that failed: a refusal if the return value is one of `refusals`. Other return values, as for a call
/// that is not supported, do not show that the token refuses the call for this key.
pub(super) fn outcome_of_fault(fault: &Fault, refusals: &[&str]) -> ProbeOutcome {
    let returned = fault.failure().ckr.unwrap_or_else(|| fault.to_string());
    match refusals.contains(&returned.as_str()) {
        true => ProbeOutcome::Refused(returned),
        false => ProbeOutcome::Inconclusive(returned),
    }
}
