//! Finds out how a token makes key pairs, without keeping one: session keys show which attributes it accepts, and what it says
//! of such a key. For the report of `token check`; a token without session objects is not tried.

use serde::Serialize;

use super::KeyError;
use super::attributes::KeyAttributes;
use super::generate::{Claims, KeyPairRequest};
use super::key_pair_generator::Generator;
use super::key_pair_template::RESTRICTIONS;
use super::new_key_pair::NewKeyPair;
use super::scheme::KeyAlgorithm;
use super::template_search::{Accepted, Form, search};
use crate::token::fault::Fault;
use crate::token::session::Session;
use crate::token::{Role, Token};

/// How the token makes a session key pair.
#[derive(Clone, Debug, Serialize)]
pub struct GenerationTrial {
    /// Kind and size.
    pub algorithm: String,
    /// The CKM_ name of the mechanism.
    pub mechanism: &'static str,
    /// In which ways the template has to differ from the plain one.
    pub template: Vec<&'static str>,
    /// The CKA_ names of restrictions (each requested to be false) that the token takes.
    pub accepted: Vec<&'static str>,
    /// The CKA_ names of restrictions that it refuses.
    pub refused: Vec<&'static str>,
    /// What it says of the private key.
    pub claims: KeyAttributes,
    /// It made a token object although a session object was asked for. That was destroyed, and nothing else tried.
    pub makes_token_objects: bool,
}

/// What came of a trial.
#[derive(Debug)]
pub enum TrialOutcome {
    /// The token makes such session keys.
    Made(Box<GenerationTrial>),
    /// It makes none, or nothing that can be compared; with its last refusal. `None`: it lists no mechanism for them.
    Refused(Option<Fault>),
}

/// Makes session key pairs of this kind until it is known what the token accepts. Each is destroyed at once and on record.
///
/// # Errors
/// The family's keys are made with a vendor's tool, the token failed, or a key could not be destroyed.
pub fn generation_trial(
    token: &Token,
    session: &Session,
    algorithm: KeyAlgorithm,
    role: Role,
) -> Result<TrialOutcome, KeyError> {
    let request = KeyPairRequest {
        algorithm,
        label: "",
        id: None,
        claims: Claims::AnyUse,
        role,
    };
    request.check_family(token)?;
    let mut refusal = None;
    for generator in Generator::of_each_mechanism(token, session, algorithm, Claims::AnyUse)? {
        match try_templates(&generator) {
            Err(KeyError::Call(fault)) if fault.is_mechanism_invalid() => refusal = Some(fault),
            Ok(TrialOutcome::Refused(fault)) => refusal = fault,
            done => return done,
        }
    }
    Ok(TrialOutcome::Refused(refusal))
}

fn try_templates(generator: &Generator<'_>) -> Result<TrialOutcome, KeyError> {
    let all: Vec<usize> = (0..RESTRICTIONS.len()).collect();
    let plain = generator.first_form();
    let mut refusal = match generator.try_probe(plain, &all, false)? {
        Ok(pair) => {
            let accepted = Accepted {
                form: plain,
                refused: Vec::new(),
            };
            return made(generator, pair, &accepted);
        }
        Err(fault) => fault,
    };
    let mut on_token = None;
    let accepted = search(&generator.forms(), RESTRICTIONS.len(), |form, kept| {
        // What was made and cannot be compared may be a token object each time.
        if on_token.is_some() || !refusal.is_return_value() {
            return Ok(false);
        }
        let pair = match generator.try_probe(form, kept, false)? {
            Ok(pair) => pair,
            Err(fault) => {
                refusal = fault;
                return Ok(false);
            }
        };
        if pair.is_on_token() {
            let refused = all.iter().copied().filter(|index| !kept.contains(index));
            let accepted = Accepted {
                form,
                refused: refused.collect(),
            };
            on_token = Some(made(generator, pair, &accepted)?);
            return Ok(false);
        }
        pair.destroy().map(|()| true)
    })?;
    match (on_token, accepted) {
        (Some(seen), _) => Ok(seen),
        (None, Some(accepted)) => {
            match generator.try_probe(accepted.form, &kept(&accepted), false)? {
                Ok(pair) => made(generator, pair, &accepted),
                Err(fault) => Ok(TrialOutcome::Refused(Some(fault))),
            }
        }
        (None, None) => Ok(TrialOutcome::Refused(Some(refusal))),
    }
}

fn made(
    generator: &Generator<'_>,
    pair: NewKeyPair<'_>,
    accepted: &Accepted,
) -> Result<TrialOutcome, KeyError> {
    let trial = conclude(generator, pair, accepted)?;
    Ok(TrialOutcome::Made(Box::new(trial)))
}

fn conclude(
    generator: &Generator<'_>,
    pair: NewKeyPair<'_>,
    accepted: &Accepted,
) -> Result<GenerationTrial, KeyError> {
    let name = |index: usize| RESTRICTIONS[index].name;
    let trial = GenerationTrial {
        algorithm: generator.algorithm.to_string(),
        mechanism: generator.mechanism.name,
        template: Form::differences(accepted.form),
        accepted: kept(accepted).into_iter().map(name).collect(),
        refused: match pair.is_on_token() {
            // Not refused: not tried.
            true => Vec::new(),
            false => accepted.refused.iter().copied().map(name).collect(),
        },
        claims: KeyAttributes::read(generator.session, pair.private),
        makes_token_objects: pair.is_on_token(),
    };
    pair.destroy()?;
    Ok(trial)
}

/// The restrictions that are not refused.
fn kept(accepted: &Accepted) -> Vec<usize> {
    (0..RESTRICTIONS.len())
        .filter(|index| !accepted.refused.contains(index))
        .collect()
}
