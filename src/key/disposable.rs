//! What a token lets happen to a key like the real one: tried on a session key of the same template,
//! made for this and gone after it, never on the key itself.
//!
//! These calls change something in the token for a moment, and an HSM may raise an alarm for them.

use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, ObjectHandle};

use super::attributes::attribute;
use super::claims::Claims;
use super::generate::mechanism_and_parameters;
use super::scheme::KeyAlgorithm;
use super::trials::{Answer, CHANGE, Trial, of_fault, wrap};
use crate::ledger::{Entry, KeyDestruction, KeyGeneration, Process};
use crate::token::Token;
use crate::token::fault::Fault;
use crate::token::session::Session;

/// How the ledger names what is made here.
const LABEL: &str = "session key of an audit";

/// A pair of session objects (CKA_TOKEN false), destroyed when dropped.
struct Disposable<'a> {
    session: &'a Session,
    token: &'a Token,
    objects: Vec<ObjectHandle>,
    private: ObjectHandle,
}

/// What was tried on a disposable key, and whether all that was made is gone.
#[derive(Debug)]
pub struct Tried {
    /// C_CopyObject towards a key that can leave.
    pub copies: Vec<Trial>,
    /// C_SetAttributeValue towards a key that can leave.
    pub changes: Vec<Trial>,
    /// C_WrapKey, with no place for its output.
    pub wraps: Vec<Trial>,
    /// Why objects that were made may be there still.
    pub left_behind: Vec<String>,
}

/// Makes a key of this algorithm with the restrictions that `claims` tell of, and tries what must
/// not be possible.
///
/// # Errors
/// The token makes no such session key.
pub fn try_on_disposable(
    session: &Session,
    token: &Token,
    algorithm: KeyAlgorithm,
    claims: &Claims,
) -> Result<Tried, Fault> {
    let mut disposable = Disposable::make(session, token, algorithm, claims)?;
    let towards = [
        ("CKA_EXTRACTABLE true", Attribute::Extractable(true)),
        ("CKA_SENSITIVE false", Attribute::Sensitive(false)),
    ];
    let mut copies = Vec::new();
    for (name, attribute) in &towards {
        let template = [Attribute::Token(false), attribute.clone()];
        let asked = format!("C_CopyObject with {name}");
        copies.push(Trial::new(asked, disposable.copy(&template)?));
    }
    let mut changes = Vec::new();
    for (name, attribute) in &towards {
        let changed = session
            .pkcs11()?
            .update_attributes(disposable.private, std::slice::from_ref(attribute));
        let answer = match changed {
            Ok(()) => can_leave(session, disposable.private),
            Err(error) => of_fault(&Fault::of(error), &CHANGE),
        };
        changes.push(Trial::new(format!("C_SetAttributeValue {name}"), answer));
    }
    // What a change has opened would be found again here.
    let wraps = match changes
        .iter()
        .all(|trial| !matches!(trial.answer, Answer::Done(_)))
    {
        true => disposable.wrap()?,
        false => Vec::new(),
    };
    Ok(Tried {
        copies,
        changes,
        wraps,
        left_behind: disposable.destroy(),
    })
}

impl<'a> Disposable<'a> {
    fn make(
        session: &'a Session,
        token: &'a Token,
        algorithm: KeyAlgorithm,
        claims: &Claims,
    ) -> Result<Self, Fault> {
        let unable = |_| Fault::answer("no mechanism makes such a key");
        let (mechanism, mut public) = mechanism_and_parameters(algorithm).map_err(unable)?;
        public.extend([Attribute::Token(false), Attribute::Private(false)]);
        let mut private = vec![Attribute::Token(false)];
        let said = |name| claims.flag(name);
        private.extend(
            [
                said("CKA_PRIVATE").map(Attribute::Private),
                said("CKA_SENSITIVE").map(Attribute::Sensitive),
                said("CKA_EXTRACTABLE").map(Attribute::Extractable),
                said("CKA_SIGN").map(Attribute::Sign),
                said("CKA_DECRYPT").map(Attribute::Decrypt),
                said("CKA_UNWRAP").map(Attribute::Unwrap),
                said("CKA_DERIVE").map(Attribute::Derive),
                said("CKA_MODIFIABLE").map(Attribute::Modifiable),
                said("CKA_COPYABLE").map(Attribute::Copyable),
                said("CKA_WRAP_WITH_TRUSTED").map(Attribute::WrapWithTrusted),
                said("CKA_SIGN_RECOVER").map(Attribute::SignRecover),
            ]
            .into_iter()
            .flatten(),
        );
        let begun = token.recorder().begin(&Entry::KeyGeneration(KeyGeneration {
            token: &token.description().uri().to_string(),
            label: LABEL,
            algorithm: &algorithm.to_string(),
            process: Process::current(),
        }));
        let begun = begun.map_err(|error| Fault::answer(error.to_string()))?;
        let made = session.pkcs11()?;
        let made = made.generate_key_pair(&mechanism, &public, &private);
        let (public, private) = match made.map_err(Fault::of) {
            Ok(made) => made,
            Err(fault) => {
                begun.fail(fault.failure());
                return Err(fault);
            }
        };
        begun.succeed();
        Ok(Self {
            session,
            token,
            objects: vec![public, private],
            private,
        })
    }

    fn copy(&mut self, template: &[Attribute]) -> Result<Answer, Fault> {
        let copied = self.session.pkcs11()?.copy_object(self.private, template);
        Ok(match copied {
            Ok(copy) => {
                self.objects.push(copy);
                can_leave(self.session, copy)
            }
            Err(error) => of_fault(&Fault::of(error), &CHANGE),
        })
    }

    /// Wrapped by a session key that is made for it.
    fn wrap(&mut self) -> Result<Vec<Trial>, Fault> {
        let template = [
            Attribute::Token(false),
            Attribute::Wrap(true),
            Attribute::ValueLen(32.into()),
        ];
        let made = self
            .session
            .pkcs11()?
            .generate_key(&Mechanism::AesKeyGen, &template);
        Ok(match made {
            Ok(wrapping_key) => {
                self.objects.push(wrapping_key);
                wrap(self.session, self.token, wrapping_key, self.private)
            }
            Err(error) => {
                let asked = "C_GenerateKey for a wrapping key";
                let said = Fault::of(error);
                let said = said.failure().ckr.unwrap_or_else(|| said.to_string());
                vec![Trial::new(asked, Answer::NothingFollows(said))]
            }
        })
    }
}

impl Disposable<'_> {
    /// Destroys all that was made, and says what would not go.
    fn destroy(&mut self) -> Vec<String> {
        if self.objects.is_empty() {
            return Vec::new();
        }
        let begun = self
            .token
            .recorder()
            .begin(&Entry::KeyDestruction(KeyDestruction {
                key: LABEL,
                process: Process::current(),
            }));
        let mut failed = Vec::new();
        for object in self.objects.drain(..) {
            let destroyed = self
                .session
                .pkcs11()
                .and_then(|session| session.destroy_object(object).map_err(Fault::of));
            failed.extend(destroyed.err());
        }
        match (begun, failed.first()) {
            (Ok(begun), None) => begun.succeed(),
            (Ok(begun), Some(fault)) => begun.fail(fault.failure()),
            (Err(error), _) => {
                tracing::error!(%error, "the end of a session key is not on record");
            }
        }
        failed.iter().map(Fault::to_string).collect()
    }
}

impl Drop for Disposable<'_> {
    fn drop(&mut self) {
        for why in self.destroy() {
            // A session object is gone with its session at the latest.
            tracing::warn!(why, "a session object of the audit was not destroyed");
        }
    }
}

/// CKR_OK alone shows little: a module may have left out what it was told.
fn can_leave(session: &Session, object: ObjectHandle) -> Answer {
    let extractable = attribute(session, object, AttributeType::Extractable);
    let sensitive = attribute(session, object, AttributeType::Sensitive);
    match (extractable, sensitive) {
        (Some(Attribute::Extractable(true)), _) => {
            Answer::Done("CKR_OK, and it says CKA_EXTRACTABLE true".to_owned())
        }
        (_, Some(Attribute::Sensitive(false))) => {
            Answer::Done("CKR_OK, and it says CKA_SENSITIVE false".to_owned())
        }
        (Some(Attribute::Extractable(false)), Some(Attribute::Sensitive(true))) => {
            Answer::Refused("CKR_OK, and nothing was changed".to_owned())
        }
        _ => Answer::NothingFollows("CKR_OK, and it does not tell what it is now".to_owned()),
    }
}
