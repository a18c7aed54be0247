//! One C_GenerateKeyPair, on record, and the pair that it made: restricted afterwards where the token allows that, each change
//! on record too, and destroyed unless it is kept.

use std::time::{Duration, Instant};

use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};

use super::attributes::{bytes, flag};
use super::generation_mechanism::GenerationMechanism;
use super::key_pair_template::{Half, KeyPairTemplate, RESTRICTIONS};
use super::template_search::Form;
use super::{KeyError, find_objects};
use crate::config::uri::{ObjectType, Pkcs11Uri};
use crate::ledger::{Entry, KeyChange, KeyDestruction, KeyGeneration, Operation, Process};
use crate::polling::poll_until;
use crate::token::Token;
use crate::token::fault::{Fault, FaultClass};
use crate::token::session::{Access, Session};

/// A key pair that nobody has used yet.
pub(super) struct NewKeyPair<'a> {
    token: &'a Token,
    session: &'a Session,
    pub(super) private: ObjectHandle,
    public: ObjectHandle,
    /// CKA_TOKEN
    on_token: bool,
    label: String,
    /// CKA_ID, as it was asked for, or as the token chose it.
    id: Option<Vec<u8>>,
    is_settled: bool,
}

/// What one C_GenerateKeyPair came to.
pub(super) enum Attempt<'a> {
    Made(NewKeyPair<'a>, Operation),
    /// The token does not take this template.
    Refused(Fault),
}

/// Calls C_GenerateKeyPair once.
///
/// # Errors
/// The ledger could not write the record (no call was made), or the call failed for a reason that another template does not
/// change: session, login, device.
pub(super) fn generate_key_pair<'a>(
    token: &'a Token,
    session: &'a Session,
    mechanism: &GenerationMechanism,
    template: &KeyPairTemplate<'_>,
    (form, restrictions): (Form, &[usize]),
    on_token: bool,
) -> Result<Attempt<'a>, KeyError> {
    let (public, private) = template.build(form, restrictions, on_token);
    let operation = token
        .recorder()
        .begin(&Entry::KeyGeneration(KeyGeneration {
            token: &token.description().uri().to_string(),
            label: template.label,
            algorithm: &template.algorithm.to_string(),
            mechanism: mechanism.name,
            process: Process::current(),
        }))?;
    match session.generate_key_pair(mechanism.kind, &public, &private) {
        Ok((public, private)) => {
            let pair = NewKeyPair {
                token,
                session,
                private,
                public,
                // NetHSM makes a token object whatever CKA_TOKEN says.
                on_token: on_token || flag(session, private, AttributeType::Token) == Some(true),
                label: template.label.to_owned(),
                id: match template.id(form) {
                    Some(id) => Some(id.to_vec()),
                    None => bytes(session, private, AttributeType::Id),
                },
                is_settled: false,
            };
            let label = bytes(session, private, AttributeType::Label);
            if label.is_some_and(|label| label != template.label.as_bytes()) {
                operation.succeed();
                pair.destroy()?;
                return Ok(Attempt::Refused(Fault::answer(
                    "the token gives a new key another label than the one that was asked for",
                )));
            }
            Ok(Attempt::Made(pair, operation))
        }
        Err(fault) => {
            operation.fail(fault.failure());
            if fault.may_be_of_the_template() && (!fault.names_no_cause() || answers(session)) {
                return Ok(Attempt::Refused(fault));
            }
            Err(KeyError::Call(fault))
        }
    }
}

/// Whether the device answers at all: after a code that names no cause, no other template is tried on one that does not.
fn answers(session: &Session) -> bool {
    let asked = session.pkcs11().and_then(|call| {
        call.generate_random_slice(&mut [0; 8])
            .map_err(|error| session.fault(error))
    });
    match asked {
        Ok(()) => true,
        // A token without a random number generator says so.
        Err(fault) => !matches!(
            fault.class(),
            FaultClass::Device | FaultClass::Session | FaultClass::Login
        ),
    }
}

/// C_SetAttributeValue of one attribute, on record. `key`: the object, and the private key's name in the record; `name`: the
/// attribute and its new value.
///
/// # Errors
/// [`KeyError::Ledger`]: no call was made. [`KeyError::Call`]: the token did not change it.
pub(super) fn set_attribute(
    session: &Session,
    token: &Token,
    (object, key): (ObjectHandle, &str),
    name: &str,
    attribute: &Attribute,
) -> Result<(), KeyError> {
    let operation = token.recorder().begin(&Entry::KeyChange(KeyChange {
        key,
        change: name,
        process: Process::current(),
    }))?;
    let changed = session.pkcs11().and_then(|call| {
        call.update_attributes(object, std::slice::from_ref(attribute))
            .map_err(|error| session.fault(error))
    });
    match changed {
        Ok(()) => operation.succeed(),
        Err(fault) => {
            operation.fail(fault.failure());
            return Err(KeyError::Call(fault));
        }
    }
    Ok(())
}

/// How often a new key is searched for.
const SEARCH_INTERVAL: Duration = Duration::from_millis(250);

impl<'a> NewKeyPair<'a> {
    /// A pair of token objects that a process made which was ended before it used them.
    pub(super) fn found(
        token: &'a Token,
        session: &'a Session,
        (private, public): (ObjectHandle, ObjectHandle),
        label: &str,
    ) -> Self {
        Self {
            token,
            session,
            private,
            public,
            on_token: true,
            label: label.to_owned(),
            id: bytes(session, private, AttributeType::Id),
            is_settled: false,
        }
    }
}

impl NewKeyPair<'_> {
    /// Whether it is a token object, asked for or not.
    pub(super) fn is_on_token(&self) -> bool {
        self.on_token
    }

    /// Waits until a search finds the private key: a key that one HSM of a cluster made may be missing on another for a
    /// while (AWS CloudHSM). False: it was not found within `timeout`.
    ///
    /// # Errors
    /// The search failed.
    pub(super) fn wait_until_found(&self, timeout: Duration) -> Result<bool, KeyError> {
        let uri = self.uri();
        let search = || find_objects(self.session, &uri, ObjectClass::PRIVATE_KEY);
        let deadline = Instant::now() + timeout;
        let found = poll_until(deadline, SEARCH_INTERVAL, || match search() {
            Ok(found) if found.is_empty() => None,
            Ok(_) => Some(Ok(true)),
            Err(error) => Some(Err(error)),
        });
        found.unwrap_or(Ok(false))
    }

    /// Sets the restrictions that are not in `requested` by C_SetAttributeValue, where they do not hold already. Returns those
    /// of all that do not hold then: of the requested ones, those that the token reports as true nevertheless.
    pub(super) fn restrict(&self, requested: &[usize]) -> Vec<usize> {
        let mut missing: Vec<usize> = (0..RESTRICTIONS.len())
            .filter(|index| !requested.contains(index))
            .collect();
        // A key that is not modifiable takes no other change.
        missing.sort_by_key(|index| self.restriction(*index).1 == AttributeType::Modifiable);
        let mut lacking = Vec::new();
        for index in missing {
            let (object, attribute_type) = self.restriction(index);
            let holds = || flag(self.session, object, attribute_type) == Some(false);
            if !holds()
                && let Some(attribute) = RESTRICTIONS[index].attribute()
            {
                let key = self.uri().to_string();
                let change = format!("{} false", RESTRICTIONS[index].name);
                let target = (object, key.as_str());
                // A refusal does not matter: the attribute is read back.
                if let Err(KeyError::Ledger(error)) =
                    set_attribute(self.session, self.token, target, &change, &attribute)
                {
                    tracing::error!(%error, "the new key is not restricted further, for want of a record");
                }
            }
            if !holds() {
                lacking.push(index);
            }
        }
        lacking.extend(requested.iter().filter(|index| {
            let (object, attribute_type) = self.restriction(**index);
            flag(self.session, object, attribute_type) == Some(true)
        }));
        lacking.sort_unstable();
        lacking
    }

    fn restriction(&self, index: usize) -> (ObjectHandle, AttributeType) {
        let restriction = &RESTRICTIONS[index];
        let object = match restriction.half {
            Half::Public => self.public,
            Half::Private => self.private,
        };
        (object, restriction.kind)
    }

    /// The pair stays.
    pub(super) fn keep(mut self) {
        self.is_settled = true;
    }

    /// Destroys the pair, also if the ledger cannot record it. Session objects that stay end with their session.
    ///
    /// # Errors
    /// [`KeyError::LeftBehind`]: an object is still on the token.
    pub(super) fn destroy(mut self) -> Result<(), KeyError> {
        self.is_settled = true;
        match self.try_destroy() {
            Err(why) if self.on_token => Err(KeyError::LeftBehind {
                uri: self.uri().to_string(),
                why,
            }),
            _ => Ok(()),
        }
    }

    /// The private key's URI.
    pub(super) fn uri(&self) -> Pkcs11Uri {
        Pkcs11Uri {
            object: Some(self.label.clone()),
            id: self.id.clone(),
            object_type: Some(ObjectType::Private),
            ..self.token.description().short_uri()
        }
    }

    fn try_destroy(&self) -> Result<(), Fault> {
        let operation = self
            .token
            .recorder()
            .begin(&Entry::KeyDestruction(KeyDestruction {
                key: &self.uri().to_string(),
                process: Process::current(),
            }));
        let private = destroy_object(self.session, self.private);
        let public = destroy_object(self.session, self.public);
        let is_private_gone = private.is_ok();
        let mut result = private.and(public);
        if let Err(fault) = &result
            && self.on_token
            && matches!(fault.class(), FaultClass::Session | FaultClass::Key)
        {
            result = match self.destroy_in_another_session() {
                // Not found is not gone: a key that one HSM of a cluster made may be missing on another for a while.
                Ok(0) if !is_private_gone => Err(fault.clone()),
                other => other.map(drop),
            };
        }
        match (operation, &result) {
            (Ok(operation), Err(fault)) => operation.fail(fault.failure()),
            (Ok(operation), Ok(())) => operation.succeed(),
            (Err(error), _) => {
                tracing::error!(%error, "the destruction of the key pair is not on record");
            }
        }
        result
    }

    /// Destroys what a search finds of the pair; returns how many private keys that were.
    fn destroy_in_another_session(&self) -> Result<usize, Fault> {
        let unreachable = |error: &dyn std::fmt::Display| Fault::answer(error.to_string());
        let session = self
            .token
            .session(Access::ReadWrite)
            .map_err(|error| unreachable(&error))?;
        let destroy_all = |class| {
            let found = find_objects(&session, &self.uri(), class);
            let found = found.map_err(|error| unreachable(&error))?;
            for object in &found {
                destroy_object(&session, *object)?;
            }
            Ok(found.len())
        };
        let private = destroy_all(ObjectClass::PRIVATE_KEY)?;
        destroy_all(ObjectClass::PUBLIC_KEY)?;
        Ok(private)
    }
}

fn destroy_object(session: &Session, object: ObjectHandle) -> Result<(), Fault> {
    let call = session.pkcs11()?;
    call.destroy_object(object)
        .map_err(|error| session.fault(error))
}

impl Drop for NewKeyPair<'_> {
    fn drop(&mut self) {
        if !self.is_settled
            && let Err(fault) = self.try_destroy()
        {
            tracing::error!(key = %self.uri(), %fault, "an unused key pair was not destroyed");
        }
    }
}
