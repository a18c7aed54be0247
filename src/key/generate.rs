//! Generates a key pair in the token that is not extractable and can only sign.
//!
//! The full template is tried first. Where the token refuses it, probe keys show what it accepts
//! (`template_search`): session objects, or token objects with a label of their own where the token has no session
//! objects. Probe keys are destroyed at once; one that cannot be is an error that names it.

use aws_lc_rs::rand;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, ObjectClass};

use super::attributes::KeyAttributes;
use super::key_pair_template::{Half, KeyPairTemplate, RESTRICTIONS, generation_mechanism};
use super::new_key_pair::{Attempt, NewKeyPair, generate_key_pair};
use super::public::PublicKey;
use super::scheme::KeyAlgorithm;
use super::template_search::{Accepted, Form, search};
use super::{Key, KeyError, find_objects, object_uri};
use crate::config::uri::{ObjectType, Pkcs11Uri};
use crate::ledger::{Completion, Operation};
use crate::token::Token;
use crate::token::fault::Fault;
use crate::token::session::Session;

/// A key pair that was generated.
#[derive(Debug)]
pub struct GeneratedKey {
    /// The private key.
    pub key: Key,
    /// The CKA_ names of restrictions that the token does not support, so that the key does not have them.
    pub not_restricted: Vec<&'static str>,
}

/// Which uses a new key may claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claims {
    /// Only to sign.
    AsRequested,
    /// CKA_DECRYPT or CKA_UNWRAP true too: some modules say so of each RSA key. Dangerous where it is true.
    AnyUse,
}

/// Generates a key pair in the token: private, sensitive, not extractable, for signing only, and not modifiable or
/// copyable where the token supports that. `session` must be read-write.
///
/// # Errors
/// The label is taken (nothing is generated), the token cannot generate such a key, or the generated key does not
/// have the requested attributes; [`KeyError::LeftBehind`] if a key that is not kept could not be destroyed.
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
    let generator = Generator {
        token,
        session,
        mechanism,
        algorithm,
        parameters,
        claims,
    };
    let all: Vec<usize> = (0..RESTRICTIONS.len()).collect();
    let refusal = match generator.call(label, (Form::Plain, &all), true)? {
        Attempt::Made(pair, operation) => return generator.finish(pair, operation, &all),
        Attempt::Refused(fault) => fault,
    };
    for on_token in [false, true] {
        let accepted = search(RESTRICTIONS.len(), |form, kept| {
            generator.accepts(form, kept, on_token)
        })?;
        let Some(accepted) = accepted else { continue };
        let kept = generator.best_template(&accepted, on_token)?;
        if let Attempt::Made(pair, operation) =
            generator.call(label, (accepted.form, &kept), true)?
        {
            return generator.finish(pair, operation, &kept);
        }
    }
    Err(KeyError::Call(refusal))
}

struct Generator<'a> {
    token: &'a Token,
    session: &'a Session,
    mechanism: Mechanism<'static>,
    algorithm: KeyAlgorithm,
    parameters: Vec<Attribute>,
    claims: Claims,
}

impl<'a> Generator<'a> {
    fn call(
        &self,
        label: &str,
        template: (Form, &[usize]),
        on_token: bool,
    ) -> Result<Attempt<'a>, KeyError> {
        let common = KeyPairTemplate {
            algorithm: self.algorithm,
            parameters: &self.parameters,
            label,
            id: &random_id()?,
        };
        let (token, session) = (self.token, self.session);
        generate_key_pair(token, session, &self.mechanism, &common, template, on_token)
    }

    /// Makes a probe key. `None`: the token refuses the template.
    fn probe(
        &self,
        form: Form,
        kept: &[usize],
        on_token: bool,
    ) -> Result<Option<NewKeyPair<'a>>, KeyError> {
        let number: String = random_id()?
            .iter()
            .take(4)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        match self.call(&format!("hsm-mtls probe {number}"), (form, kept), on_token)? {
            Attempt::Made(pair, operation) => {
                operation.succeed();
                Ok(Some(pair))
            }
            Attempt::Refused(_) => Ok(None),
        }
    }

    fn accepts(&self, form: Form, kept: &[usize], on_token: bool) -> Result<bool, KeyError> {
        match self.probe(form, kept, on_token)? {
            Some(pair) => pair.destroy().map(|()| true),
            None => Ok(false),
        }
    }

    /// The restrictions to request. Where one of the private key's was refused, it may still be set afterwards, but not on a
    /// key that was made with CKA_MODIFIABLE false: the variant is taken whose key lacks less.
    fn best_template(&self, accepted: &Accepted, on_token: bool) -> Result<Vec<usize>, KeyError> {
        let kept: Vec<usize> = (0..RESTRICTIONS.len())
            .filter(|index| !accepted.refused.contains(index))
            .collect();
        let is_private = |index: &&usize| RESTRICTIONS[**index].half == Half::Private;
        let is_modifiable =
            |index: &&usize| RESTRICTIONS[**index].kind == AttributeType::Modifiable;
        let mut variants = vec![kept.clone()];
        if accepted.refused.iter().any(|index| is_private(&index))
            && kept.iter().any(|index| is_modifiable(&index))
        {
            let others = kept.iter().filter(|index| !is_modifiable(index));
            variants.push(others.copied().collect());
        }
        let mut claims_more = false;
        let mut best: Option<(u32, Vec<usize>)> = None;
        for variant in variants {
            let Some(pair) = self.probe(accepted.form, &variant, on_token)? else {
                continue;
            };
            let lacking = pair.restrict(&variant);
            let claimed = KeyAttributes::read(self.session, pair.private);
            pair.destroy()?;
            let weight = lacking
                .iter()
                .map(|index| RESTRICTIONS[*index].weight)
                .sum();
            if best.as_ref().is_none_or(|(least, _)| weight < *least) {
                claims_more = has_unwanted_use(&claimed);
                best = Some((weight, variant));
            }
        }
        if claims_more && self.claims == Claims::AsRequested {
            return Err(KeyError::ClaimsMore);
        }
        Ok(best.map_or(kept, |(_, variant)| variant))
    }

    /// Restricts the new key further, checks its claims and records it; a key that is not as requested is destroyed.
    fn finish(
        &self,
        pair: NewKeyPair<'_>,
        operation: Operation,
        requested: &[usize],
    ) -> Result<GeneratedKey, KeyError> {
        let lacking = pair.restrict(requested);
        let key = Key::read(self.session, self.token, pair.private);
        let public_key = key.public_key().ok();
        let recorded = operation.finish(Completion {
            spki: public_key.map(PublicKey::fingerprint),
            ..Completion::default()
        });
        if let Err(error) = recorded {
            pair.destroy()?;
            return Err(error.into());
        }
        let reported = key.attributes(self.session);
        if let Some(why) = unfit(&reported) {
            // The key was never used.
            pair.destroy()?;
            return Err(KeyError::NotAsAsked {
                uri: key.uri().to_string(),
                why: why.to_owned(),
            });
        }
        if has_unwanted_use(&reported) && self.claims == Claims::AsRequested {
            pair.destroy()?;
            return Err(KeyError::ClaimsMore);
        }
        pair.keep();
        let mut not_restricted: Vec<_> = lacking
            .iter()
            .map(|index| RESTRICTIONS[*index].name)
            .collect();
        not_restricted.sort_unstable();
        Ok(GeneratedKey {
            key,
            not_restricted,
        })
    }
}

/// Why a new key is never kept: it may leave the token, or cannot sign.
fn unfit(reported: &KeyAttributes) -> Option<&'static str> {
    match () {
        () if reported.extractable != Some(false) => Some("CKA_EXTRACTABLE not false"),
        () if reported.sensitive != Some(true) => Some("CKA_SENSITIVE not true"),
        () if reported.sign == Some(false) => Some("CKA_SIGN false"),
        () => None,
    }
}

/// Whether the token reports a use other than signing of a new key.
fn has_unwanted_use(reported: &KeyAttributes) -> bool {
    reported.decrypt == Some(true) || reported.unwrap == Some(true)
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
