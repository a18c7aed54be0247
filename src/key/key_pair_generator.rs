//! Tries to make a key pair with one mechanism, until it is as restricted as the token allows.
//!
//! A session key shows first what the token says of such a key. Then the full template is tried. Where the token refuses it,
//! probe keys show what it accepts (`template_search`): session objects, or token objects with a label of their own where the
//! token has no session objects. Probe keys are destroyed at once; one that cannot be is an error that names it.

use aws_lc_rs::rand;
use cryptoki::object::{Attribute, AttributeType, ObjectClass};

use super::attributes::{KeyAttributes, has_unwanted_use, unfit};
use super::generation_mechanism::{self, GenerationMechanism};
use super::key_pair_template::{Half, KeyPairTemplate, RESTRICTIONS};
use super::new_key_pair::{Attempt, NewKeyPair, generate_key_pair};
use super::public::PublicKey;
use super::scheme::KeyAlgorithm;
use super::template_search::{Accepted, Form, IdForm, search};
use super::{Key, KeyError, find_objects};
use crate::config::profile::Profile;
use crate::config::uri::Pkcs11Uri;
use crate::ledger::{Completion, Operation};
use crate::token::Token;
use crate::token::fault::Fault;
use crate::token::session::Session;

/// A key pair that was generated.
#[derive(Debug)]
pub struct GeneratedKey {
    /// The private key.
    pub key: Key,
    /// The CKM_ name of the mechanism that made it.
    pub mechanism: &'static str,
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

/// What came of the tries with one mechanism.
pub(super) enum Generated {
    Made(Box<GeneratedKey>),
    /// The token takes no template with it, or refuses it although it lists it.
    Refused(Fault),
}

/// One mechanism, and what is asked for.
pub(super) struct Generator<'a> {
    pub(super) token: &'a Token,
    pub(super) session: &'a Session,
    pub(super) mechanism: GenerationMechanism,
    pub(super) algorithm: KeyAlgorithm,
    pub(super) parameters: Vec<Attribute>,
    pub(super) claims: Claims,
}

impl<'a> Generator<'a> {
    /// One for each mechanism that the token lists for this kind of key, preferred first.
    ///
    /// # Errors
    /// The algorithm's parameters cannot be encoded.
    pub(super) fn of_each_mechanism(
        token: &'a Token,
        session: &'a Session,
        algorithm: KeyAlgorithm,
        claims: Claims,
    ) -> Result<Vec<Self>, KeyError> {
        let parameters = generation_mechanism::parameters(algorithm)?;
        let mechanisms = generation_mechanism::listed(token, algorithm).into_iter();
        let generators = mechanisms.map(|mechanism| Self {
            token,
            session,
            mechanism,
            algorithm,
            parameters: parameters.clone(),
            claims,
        });
        Ok(generators.collect())
    }

    /// Makes the key pair.
    ///
    /// # Errors
    /// The token failed, or made a key that is not kept.
    pub(super) fn generate(&self, label: &str, id: Option<&[u8]>) -> Result<Generated, KeyError> {
        match self.generate_with_templates(label, id) {
            Err(KeyError::Call(fault)) if fault.is_mechanism_invalid() => {
                Ok(Generated::Refused(fault))
            }
            other => other,
        }
    }

    fn generate_with_templates(
        &self,
        label: &str,
        id: Option<&[u8]>,
    ) -> Result<Generated, KeyError> {
        let form = self.first_form();
        let all: Vec<usize> = (0..RESTRICTIONS.len()).collect();
        if self.claims == Claims::AsRequested
            && let Some(pair) = self.probe(form, &all, false)?
        {
            let claimed = KeyAttributes::read(self.session, pair.private);
            pair.destroy()?;
            if has_unwanted_use(&claimed) {
                return Err(KeyError::ClaimsMore);
            }
        }
        let refusal = match self.call((label, id), (form, &all), true)? {
            Attempt::Made(pair, operation) => return self.finish(pair, operation, &all),
            Attempt::Refused(fault) if fault.is_function_not_supported() => {
                return Ok(Generated::Refused(fault));
            }
            Attempt::Refused(fault) => fault,
        };
        let forms = self.forms();
        for on_token in [false, true] {
            let accepted = search(&forms, RESTRICTIONS.len(), |form, kept| {
                self.accepts(form, kept, on_token)
            })?;
            let Some(accepted) = accepted else { continue };
            let kept = self.best_template(&accepted, on_token)?;
            if let Attempt::Made(pair, operation) =
                self.call((label, id), (accepted.form, &kept), true)?
            {
                return self.finish(pair, operation, &kept);
            }
        }
        Ok(Generated::Refused(refusal))
    }

    /// The form that is tried first: the plain one, or the one that the family is known to need.
    pub(super) fn first_form(&self) -> Form {
        match self.token.profile() {
            Profile::Nethsm => Form::PLAIN.with_id(IdForm::Absent),
            Profile::YubiHsm2 => Form::PLAIN.with_id(IdForm::Short),
            _ => Form::PLAIN,
        }
    }

    /// All forms, without those that say of an RSA key what others say already.
    pub(super) fn forms(&self) -> Vec<Form> {
        let first = self.first_form();
        let has_curve = !matches!(self.algorithm, KeyAlgorithm::Rsa { .. });
        let others = Form::ALL.into_iter().filter(|form| *form != first);
        let others = others.filter(|form| has_curve || !form.curve_in_both);
        std::iter::once(first).chain(others).collect()
    }

    /// `id`: of the pair that is to be kept, where the caller has chosen it.
    fn call(
        &self,
        (label, id): (&str, Option<&[u8]>),
        template: (Form, &[usize]),
        on_token: bool,
    ) -> Result<Attempt<'a>, KeyError> {
        let random_id = match id.filter(|_| template.0.id != IdForm::Short) {
            Some(id) => id.to_vec(),
            None => self.free_id(template.0)?,
        };
        let common = KeyPairTemplate {
            algorithm: self.algorithm,
            parameters: &self.parameters,
            label,
            random_id: &random_id,
        };
        let (token, session) = (self.token, self.session);
        generate_key_pair(token, session, &self.mechanism, &common, template, on_token)
    }

    /// A CKA_ID that no private key has: two bytes are not many, and some tokens refuse a CKA_ID that is in use (AWS
    /// CloudHSM).
    fn free_id(&self, form: Form) -> Result<Vec<u8>, KeyError> {
        let mut id = random_id()?;
        if form.id != IdForm::Short {
            return Ok(id);
        }
        for _ in 0..SHORT_ID_TRIES {
            let uri = Pkcs11Uri {
                id: id.get(..2).map(<[u8]>::to_vec),
                ..Pkcs11Uri::default()
            };
            if find_objects(self.session, &uri, ObjectClass::PRIVATE_KEY)?.is_empty() {
                break;
            }
            id = random_id()?;
        }
        Ok(id)
    }

    /// Makes a probe key. `None`: the token refuses the template.
    fn probe(
        &self,
        form: Form,
        kept: &[usize],
        on_token: bool,
    ) -> Result<Option<NewKeyPair<'a>>, KeyError> {
        self.try_probe(form, kept, on_token).map(Result::ok)
    }

    /// The same, with the token's refusal.
    pub(super) fn try_probe(
        &self,
        form: Form,
        kept: &[usize],
        on_token: bool,
    ) -> Result<Result<NewKeyPair<'a>, Fault>, KeyError> {
        let number: String = random_id()?
            .iter()
            .take(4)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let label = format!("hsm-mtls probe {number}");
        match self.call((&label, None), (form, kept), on_token)? {
            Attempt::Made(pair, operation) => {
                operation.succeed();
                Ok(Ok(pair))
            }
            Attempt::Refused(fault) => Ok(Err(fault)),
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
    ) -> Result<Generated, KeyError> {
        let timeout = self.token.start_timeout();
        let is_found = match pair.wait_until_found(timeout) {
            Ok(is_found) => is_found,
            Err(error) => {
                operation.succeed();
                pair.destroy()?;
                return Err(error);
            }
        };
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
        if !is_found {
            return Err(KeyError::NotFoundYet {
                uri: key.uri().to_string(),
                after: timeout,
            });
        }
        let mut not_restricted: Vec<_> = lacking
            .iter()
            .map(|index| RESTRICTIONS[*index].name)
            .collect();
        not_restricted.sort_unstable();
        Ok(Generated::Made(Box::new(GeneratedKey {
            key,
            mechanism: self.mechanism.name,
            not_restricted,
        })))
    }
}

/// How many CKA_IDs of two bytes are tried.
const SHORT_ID_TRIES: usize = 16;

/// A CKA_ID of 16 random bytes, so that the two keys of a key rollover never share one.
fn random_id() -> Result<Vec<u8>, KeyError> {
    let mut id = [0; 16];
    rand::fill(&mut id)
        .map_err(|_| KeyError::Call(Fault::answer("the system gave no random bytes")))?;
    Ok(id.to_vec())
}
