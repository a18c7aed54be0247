//! Active probes for the audit: whether a key could be made extractable by C_CopyObject or C_SetAttributeValue, and then
//! wrapped. They use a session key with the attributes of the real key, which is destroyed afterwards, never the real key.
//!
//! These calls change something in the token temporarily, and an HSM may raise an alarm for them.

use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, ObjectHandle};

use super::KeyError;
use super::attributes::attribute;
use super::custody_attributes::CustodyAttributes;
use super::extraction_probes::{
    CHANGE_REFUSALS, Probe, ProbeOutcome, outcome_of_fault, probe_wrap,
};
use super::generation_mechanism::{listed, parameters};
use super::new_key_pair::set_attribute;
use super::scheme::KeyAlgorithm;
use crate::ledger::{Entry, KeyDestruction, KeyGeneration, Process};
use crate::token::Token;
use crate::token::fault::Fault;
use crate::token::session::Session;

/// The name of probe keys in the ledger.
const LABEL: &str = "session key of an audit";

/// A key pair of session objects (CKA_TOKEN false), with the copies and wrapping keys that the probes create. All of them
/// are destroyed when it is dropped.
struct ProbeKey<'a> {
    session: &'a Session,
    token: &'a Token,
    objects: Vec<ObjectHandle>,
    private: ObjectHandle,
}

/// The probes of a session key, and whether all session objects were destroyed.
#[derive(Debug)]
pub struct ProbeKeyReport {
    /// CKA_LOCAL of the session key, which was made in the token: a module that says false here says it of each key.
    pub local: Option<bool>,
    /// C_CopyObject with attributes that would make the copy extractable.
    pub copies: Vec<Probe>,
    /// C_SetAttributeValue of attributes that would make the key extractable.
    pub changes: Vec<Probe>,
    /// C_WrapKey with a null buffer.
    pub wraps: Vec<Probe>,
    /// Why session objects could not be destroyed.
    pub left_behind: Vec<String>,
}

/// Generates a session key of this algorithm with the real key's attributes, and probes whether it can be made
/// extractable.
///
/// # Errors
/// The token does not generate such a session key.
pub fn probe_session_key(
    session: &Session,
    token: &Token,
    algorithm: KeyAlgorithm,
    attributes: &CustodyAttributes,
) -> Result<ProbeKeyReport, Fault> {
    let mut key = ProbeKey::generate(session, token, algorithm, attributes)?;
    let local = match attribute(session, key.private, AttributeType::Local) {
        Some(Attribute::Local(local)) => Some(local),
        _ => None,
    };
    let unrestricted = [
        ("CKA_EXTRACTABLE true", Attribute::Extractable(true)),
        ("CKA_SENSITIVE false", Attribute::Sensitive(false)),
    ];
    let mut copies = Vec::new();
    for (name, attribute) in &unrestricted {
        let template = [Attribute::Token(false), attribute.clone()];
        let call = format!("C_CopyObject with {name}");
        copies.push(Probe::new(call, key.copy(&template)?));
    }
    let mut changes = Vec::new();
    for (name, attribute) in &unrestricted {
        let outcome = match set_attribute(session, token, (key.private, LABEL), name, attribute) {
            Ok(()) => check_extractable(session, key.private),
            Err(KeyError::Call(fault)) => outcome_of_fault(&fault, &CHANGE_REFUSALS),
            Err(other) => return Err(Fault::answer(other.to_string())),
        };
        changes.push(Probe::new(format!("C_SetAttributeValue {name}"), outcome));
    }
    // If a change succeeded, the key could be wrapped because of that change.
    let wraps = match changes
        .iter()
        .all(|probe| !matches!(probe.outcome, ProbeOutcome::Allowed(_)))
    {
        true => key.wrap()?,
        false => Vec::new(),
    };
    Ok(ProbeKeyReport {
        local,
        copies,
        changes,
        wraps,
        left_behind: key.destroy(),
    })
}

impl<'a> ProbeKey<'a> {
    fn generate(
        session: &'a Session,
        token: &'a Token,
        algorithm: KeyAlgorithm,
        attributes: &CustodyAttributes,
    ) -> Result<Self, Fault> {
        let no_mechanism = || Fault::answer("no mechanism makes such a key");
        let mechanisms = listed(token, algorithm);
        let mechanism = mechanisms.first().ok_or_else(no_mechanism)?;
        let mut public = parameters(algorithm).map_err(|_| no_mechanism())?;
        public.extend([Attribute::Token(false), Attribute::Private(false)]);
        let mut private = vec![Attribute::Token(false)];
        let value = |name| attributes.flag(name);
        private.extend(
            [
                value("CKA_PRIVATE").map(Attribute::Private),
                value("CKA_SENSITIVE").map(Attribute::Sensitive),
                value("CKA_EXTRACTABLE").map(Attribute::Extractable),
                value("CKA_SIGN").map(Attribute::Sign),
                value("CKA_DECRYPT").map(Attribute::Decrypt),
                value("CKA_UNWRAP").map(Attribute::Unwrap),
                value("CKA_DERIVE").map(Attribute::Derive),
                value("CKA_MODIFIABLE").map(Attribute::Modifiable),
                value("CKA_COPYABLE").map(Attribute::Copyable),
                value("CKA_WRAP_WITH_TRUSTED").map(Attribute::WrapWithTrusted),
                value("CKA_SIGN_RECOVER").map(Attribute::SignRecover),
            ]
            .into_iter()
            .flatten(),
        );
        let operation = token.recorder().begin(&Entry::KeyGeneration(KeyGeneration {
            token: &token.description().uri().to_string(),
            label: LABEL,
            algorithm: &algorithm.to_string(),
            mechanism: mechanism.name,
            process: Process::current(),
        }));
        let operation = operation.map_err(|error| Fault::answer(error.to_string()))?;
        let generated = session.generate_key_pair(mechanism.kind, &public, &private);
        let (public, private) = match generated {
            Ok(handles) => handles,
            Err(fault) => {
                operation.fail(fault.failure());
                return Err(fault);
            }
        };
        operation.succeed();
        Ok(Self {
            session,
            token,
            objects: vec![public, private],
            private,
        })
    }

    fn copy(&mut self, template: &[Attribute]) -> Result<ProbeOutcome, Fault> {
        let copied = self.session.pkcs11()?.copy_object(self.private, template);
        Ok(match copied {
            Ok(copy) => {
                self.objects.push(copy);
                check_extractable(self.session, copy)
            }
            Err(error) => outcome_of_fault(&self.session.fault(error), &CHANGE_REFUSALS),
        })
    }

    /// Probes C_WrapKey with a wrapping key that is generated for it.
    fn wrap(&mut self) -> Result<Vec<Probe>, Fault> {
        let template = [
            Attribute::Token(false),
            Attribute::Wrap(true),
            Attribute::ValueLen(32.into()),
        ];
        let generated = self
            .session
            .pkcs11()?
            .generate_key(&Mechanism::AesKeyGen, &template);
        Ok(match generated {
            Ok(wrapping_key) => {
                self.objects.push(wrapping_key);
                probe_wrap(self.session, self.token, wrapping_key, self.private)
            }
            Err(error) => {
                let call = "C_GenerateKey for a wrapping key";
                let fault = self.session.fault(error);
                let returned = fault.failure().ckr.unwrap_or_else(|| fault.to_string());
                vec![Probe::new(call, ProbeOutcome::Inconclusive(returned))]
            }
        })
    }
}

impl ProbeKey<'_> {
    /// Destroys all session objects; returns the errors.
    fn destroy(&mut self) -> Vec<String> {
        if self.objects.is_empty() {
            return Vec::new();
        }
        let operation = self
            .token
            .recorder()
            .begin(&Entry::KeyDestruction(KeyDestruction {
                key: LABEL,
                process: Process::current(),
            }));
        let mut failed = Vec::new();
        for object in self.objects.drain(..) {
            let destroyed = self.session.pkcs11().and_then(|call| {
                call.destroy_object(object)
                    .map_err(|error| self.session.fault(error))
            });
            failed.extend(destroyed.err());
        }
        match (operation, failed.first()) {
            (Ok(operation), None) => operation.succeed(),
            (Ok(operation), Some(fault)) => operation.fail(fault.failure()),
            (Err(error), _) => {
                tracing::error!(%error, "the end of a session key is not on record");
            }
        }
        failed.iter().map(Fault::to_string).collect()
    }
}

impl Drop for ProbeKey<'_> {
    fn drop(&mut self) {
        for why in self.destroy() {
            // The token destroys a session object at the end of its session at the latest.
            tracing::warn!(why, "a session object of the audit was not destroyed");
        }
    }
}

/// Whether an object is extractable or not sensitive after a call that returned CKR_OK: a module may return that and ignore
/// the attribute.
fn check_extractable(session: &Session, object: ObjectHandle) -> ProbeOutcome {
    let extractable = attribute(session, object, AttributeType::Extractable);
    let sensitive = attribute(session, object, AttributeType::Sensitive);
    match (extractable, sensitive) {
        (Some(Attribute::Extractable(true)), _) => {
            ProbeOutcome::Allowed("CKR_OK, and it says CKA_EXTRACTABLE true".to_owned())
        }
        (_, Some(Attribute::Sensitive(false))) => {
            ProbeOutcome::Allowed("CKR_OK, and it says CKA_SENSITIVE false".to_owned())
        }
        (Some(Attribute::Extractable(false)), Some(Attribute::Sensitive(true))) => {
            ProbeOutcome::Refused("CKR_OK, and nothing was changed".to_owned())
        }
        _ => ProbeOutcome::Inconclusive("CKR_OK, and it does not tell what it is now".to_owned()),
    }
}
