//! Generates a key pair in the token that is not extractable and can only sign.
//!
//! The full template is tried first. Where the token refuses it, session objects show what it accepts
//! ([`super::template_search`]), and what could not be requested is set afterwards where the token allows that.

use std::cell::Cell;

use aws_lc_rs::rand;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{AttributeType, ObjectClass, ObjectHandle};

use super::attributes::{KeyAttributes, reads_false};
use super::key_pair_template::{Half, KeyPairTemplate, RESTRICTIONS, generation_mechanism};
use super::public::PublicKey;
use super::scheme::KeyAlgorithm;
use super::template_search::{Form, search};
use super::{Key, KeyError, find_objects, object_uri};
use crate::config::uri::{ObjectType, Pkcs11Uri};
use crate::ledger::{Completion, Entry, KeyDestruction, KeyGeneration, Operation, Process};
use crate::token::Token;
use crate::token::fault::Fault;
use crate::token::session::Session;

/// The name in the ledger of session keys that only show which template the token accepts.
const PROBE_LABEL: &str = "session key to try a template";

/// A key pair that was generated.
#[derive(Debug)]
pub struct GeneratedKey {
    /// The private key.
    pub key: Key,
    /// CKA_ names of restrictions that the token does not support, and that the key therefore lacks.
    pub not_restricted: Vec<&'static str>,
}

/// What a key may claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claims {
    /// Only what was requested.
    AsRequested,
    /// CKA_DECRYPT or CKA_UNWRAP true too: some modules say so of each RSA key. Dangerous where it is true.
    AnyUse,
}

/// Generates a key pair in the token: private, sensitive, not extractable, for signing only, and not modifiable or
/// copyable where the token supports that. `session` must be read-write.
///
/// # Errors
/// The label is taken (nothing is generated), the token cannot generate such a key, or the generated key does not
/// have the requested attributes.
pub fn generate(
    token: &Token,
    session: &Session,
    algorithm: KeyAlgorithm,
    label: &str,
    claims: Claims,
) -> Result<GeneratedKey, KeyError> {
    refuse_taken_label(token, session, label)?;
    let (mechanism, parameters) = generation_mechanism(algorithm)?;
    if !token.mechanisms().can_generate(mechanism.mechanism_type()) {
        return Err(KeyError::CannotGenerate(algorithm.to_string()));
    }
    let id = random_id()?;
    let generator = Generator {
        token,
        session,
        mechanism,
        template: KeyPairTemplate {
            algorithm,
            parameters: &parameters,
            label,
            id: &id,
        },
        claims,
        claims_more: Cell::new(false),
    };
    let all: Vec<usize> = (0..RESTRICTIONS.len()).collect();
    let refusal = match generator.call(Form::Plain, &all, true)? {
        Attempt::Made(pair, operation) => return generator.finish(pair, operation, Vec::new()),
        Attempt::Refused(fault) => fault,
    };
    // Some tokens have no session objects: they are asked with token objects, which are destroyed at once.
    for on_token in [false, true] {
        let found = search(RESTRICTIONS.len(), |form, kept| {
            generator.probe(form, kept, on_token)
        })?;
        let Some(accepted) = found else { continue };
        let mut kept = all.clone();
        kept.retain(|index| !accepted.refused.contains(index));
        if generator.claims_more.take() && claims == Claims::AsRequested {
            generator.probe(accepted.form, &kept, on_token)?;
            if generator.claims_more.get() {
                return Err(KeyError::ClaimsMore);
            }
        }
        if let Attempt::Made(pair, operation) = generator.call(accepted.form, &kept, true)? {
            return generator.finish(pair, operation, accepted.refused);
        }
    }
    Err(KeyError::Call(refusal))
}

struct Generator<'a> {
    token: &'a Token,
    session: &'a Session,
    mechanism: Mechanism<'static>,
    template: KeyPairTemplate<'a>,
    claims: Claims,
    /// A probe key claimed a use that was not requested.
    claims_more: Cell<bool>,
}

/// What one C_GenerateKeyPair came to.
enum Attempt {
    Made(KeyPairHandles, Operation),
    Refused(Fault),
}

struct KeyPairHandles {
    public: ObjectHandle,
    private: ObjectHandle,
}

impl Generator<'_> {
    /// One C_GenerateKeyPair, on record.
    fn call(
        &self,
        form: Form,
        restrictions: &[usize],
        on_token: bool,
    ) -> Result<Attempt, KeyError> {
        let (public, private) = self.template.build(form, restrictions, on_token);
        let operation = self
            .token
            .recorder()
            .begin(&Entry::KeyGeneration(KeyGeneration {
                token: &self.token.description().uri().to_string(),
                label: if on_token {
                    self.template.label
                } else {
                    PROBE_LABEL
                },
                algorithm: &self.template.algorithm.to_string(),
                process: Process::current(),
            }))?;
        let generated = self.session.pkcs11().and_then(|session| {
            session
                .generate_key_pair(&self.mechanism, &public, &private)
                .map_err(Fault::of)
        });
        match generated {
            Ok((public, private)) => {
                let pair = KeyPairHandles { public, private };
                Ok(Attempt::Made(pair, operation))
            }
            Err(fault) => {
                operation.fail(fault.failure());
                match fault.may_be_of_the_template() {
                    true => Ok(Attempt::Refused(fault)),
                    false => Err(KeyError::Call(fault)),
                }
            }
        }
    }

    /// Whether the token accepts a template; the key that shows it is destroyed.
    fn probe(&self, form: Form, kept: &[usize], on_token: bool) -> Result<bool, KeyError> {
        let (pair, operation) = match self.call(form, kept, on_token)? {
            Attempt::Made(pair, operation) => (pair, operation),
            Attempt::Refused(_) => return Ok(false),
        };
        operation.succeed();
        self.restrict(&pair, kept);
        let claimed = KeyAttributes::read(self.session, pair.private);
        if unwanted_use(&claimed).is_some() {
            self.claims_more.set(true);
        }
        let label = if on_token {
            self.template.label
        } else {
            PROBE_LABEL
        };
        self.destroy(label, &pair);
        Ok(true)
    }

    /// Sets the restrictions that are not in `kept` by C_SetAttributeValue. Returns the names of those that the key lacks.
    fn restrict(&self, pair: &KeyPairHandles, kept: &[usize]) -> Vec<&'static str> {
        let mut lacking = Vec::new();
        let mut left_out: Vec<_> = RESTRICTIONS
            .iter()
            .enumerate()
            .filter(|(index, _)| !kept.contains(index))
            .map(|(_, restriction)| restriction)
            .collect();
        // A key that is not modifiable takes no other change.
        left_out.sort_by_key(|restriction| restriction.kind == AttributeType::Modifiable);
        for restriction in left_out {
            let object = match restriction.half {
                Half::Public => pair.public,
                Half::Private => pair.private,
            };
            let is_false = || reads_false(self.session, object, restriction.kind);
            if is_false() {
                continue;
            }
            if let (Ok(session), Some(attribute)) = (self.session.pkcs11(), restriction.attribute())
            {
                // Its result does not matter: the attribute is read back.
                let _ = session.update_attributes(object, &[attribute]);
            }
            if !is_false() {
                lacking.push(restriction.name);
            }
        }
        lacking.sort_unstable();
        lacking
    }

    /// Records the new key, restricts it further, and checks its claims; a key that is not as requested is destroyed.
    fn finish(
        &self,
        pair: KeyPairHandles,
        operation: Operation,
        refused: Vec<usize>,
    ) -> Result<GeneratedKey, KeyError> {
        let (token, session) = (self.token, self.session);
        let kept: Vec<usize> = (0..RESTRICTIONS.len())
            .filter(|index| !refused.contains(index))
            .collect();
        let not_restricted = self.restrict(&pair, &kept);
        let key = Key::read(session, token, pair.private);
        let public_key = key.public_key().ok();
        let recorded = operation.finish(Completion {
            spki: public_key.map(PublicKey::fingerprint),
            ..Completion::default()
        });
        if let Err(error) = recorded {
            self.destroy(&key.uri().to_string(), &pair);
            return Err(error.into());
        }
        let reported = key.attributes(session);
        let wrong = leaves_the_token(&reported)
            .or_else(|| unwanted_use(&reported).filter(|_| self.claims == Claims::AsRequested));
        if let Some(why) = wrong {
            // The key was never used; it is destroyed if the token allows it.
            self.destroy(&key.uri().to_string(), &pair);
            return Err(KeyError::NotAsAsked {
                uri: key.uri().to_string(),
                why: why.to_owned(),
            });
        }
        Ok(GeneratedKey {
            key,
            not_restricted,
        })
    }

    /// Destroys a new key pair, even if the ledger cannot record it: the key was never used.
    fn destroy(&self, key: &str, pair: &KeyPairHandles) {
        let operation = self
            .token
            .recorder()
            .begin(&Entry::KeyDestruction(KeyDestruction {
                key,
                process: Process::current(),
            }));
        let destroyed = [pair.private, pair.public].map(|object| {
            let session = self.session.pkcs11()?;
            session.destroy_object(object).map_err(Fault::of)
        });
        let failed = destroyed.into_iter().find_map(Result::err);
        match (operation, failed) {
            (Ok(operation), Some(fault)) => operation.fail(fault.failure()),
            (Ok(operation), None) => {
                if let Err(error) = operation.finish(Completion::default()) {
                    tracing::error!(%error, "that the key pair was destroyed is not on record");
                }
            }
            (Err(error), _) => {
                tracing::error!(%error, "the destruction of the key pair is not on record");
            }
        }
    }
}

/// What the token reports of a new key that must not be: an extractable or not sensitive key is never kept.
fn leaves_the_token(reported: &KeyAttributes) -> Option<&'static str> {
    match () {
        () if reported.extractable != Some(false) => Some("CKA_EXTRACTABLE not false"),
        () if reported.sensitive != Some(true) => Some("CKA_SENSITIVE not true"),
        () => None,
    }
}

/// A use other than signing that the token reports of a new key.
fn unwanted_use(reported: &KeyAttributes) -> Option<&'static str> {
    match () {
        () if reported.decrypt == Some(true) => Some("CKA_DECRYPT true"),
        () if reported.unwrap == Some(true) => Some("CKA_UNWRAP true"),
        () => None,
    }
}

fn refuse_taken_label(token: &Token, session: &Session, label: &str) -> Result<(), KeyError> {
    let uri = Pkcs11Uri {
        object: Some(label.to_owned()),
        ..Pkcs11Uri::default()
    };
    for (class, object_type) in [
        (ObjectClass::PRIVATE_KEY, ObjectType::Private),
        (ObjectClass::PUBLIC_KEY, ObjectType::Public),
    ] {
        if let Some(object) = find_objects(session, &uri, class)?.first() {
            let taken = object_uri(session, token, *object, object_type);
            return Err(KeyError::LabelTaken {
                label: label.to_owned(),
                uri: taken.to_string(),
            });
        }
    }
    Ok(())
}

/// A CKA_ID of 16 random bytes, so that the two keys of a key rollover never share one.
fn random_id() -> Result<Vec<u8>, KeyError> {
    let mut id = [0; 16];
    rand::fill(&mut id)
        .map_err(|_| KeyError::Call(Fault::answer("the system gave no random bytes")))?;
    Ok(id.to_vec())
}
