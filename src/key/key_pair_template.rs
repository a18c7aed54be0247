//! The templates of C_GenerateKeyPair for a key that only signs and does not leave the token: the attributes that it must
//! have, and the restrictions that some tokens do not know.

use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass};

use super::scheme::KeyAlgorithm;
use super::template_search::{Form, IdForm};

/// Which of the two templates an attribute belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Half {
    Public,
    Private,
}

/// An attribute that takes something away from the key, and without which the key can still be used.
#[derive(Debug)]
pub(super) struct Restriction {
    /// Its CKA_ name, with the half where that is the public one.
    pub(super) name: &'static str,
    pub(super) half: Half,
    pub(super) kind: AttributeType,
    /// How bad a key is that lacks it, beside others that lack something else.
    pub(super) weight: u32,
}

const fn restriction(
    name: &'static str,
    half: Half,
    kind: AttributeType,
    weight: u32,
) -> Restriction {
    Restriction {
        name,
        half,
        kind,
        weight,
    }
}

/// All are requested to be false. Those that tokens refuse most are at the end: AWS, openCryptoki and NSS refuse
/// CKA_COPYABLE, TPM2 and NSS CKA_ENCRYPT, TPM2 CKA_DECRYPT. CKA_PRIVATE of the public key is refused where public keys are
/// private objects too (AWS).
pub(super) const RESTRICTIONS: [Restriction; 9] = [
    restriction("CKA_DERIVE", Half::Private, AttributeType::Derive, 50),
    restriction("CKA_UNWRAP", Half::Private, AttributeType::Unwrap, 200),
    restriction(
        "CKA_WRAP of the public key",
        Half::Public,
        AttributeType::Wrap,
        2,
    ),
    restriction(
        "CKA_MODIFIABLE",
        Half::Private,
        AttributeType::Modifiable,
        10,
    ),
    restriction(
        "CKA_SIGN_RECOVER",
        Half::Private,
        AttributeType::SignRecover,
        5,
    ),
    restriction(
        "CKA_PRIVATE of the public key",
        Half::Public,
        AttributeType::Private,
        1,
    ),
    restriction("CKA_DECRYPT", Half::Private, AttributeType::Decrypt, 200),
    restriction(
        "CKA_ENCRYPT of the public key",
        Half::Public,
        AttributeType::Encrypt,
        1,
    ),
    restriction("CKA_COPYABLE", Half::Private, AttributeType::Copyable, 20),
];

impl Restriction {
    /// The attribute with the value false.
    pub(super) fn attribute(&self) -> Option<Attribute> {
        Some(match self.kind {
            AttributeType::Derive => Attribute::Derive(false),
            AttributeType::Unwrap => Attribute::Unwrap(false),
            AttributeType::Wrap => Attribute::Wrap(false),
            AttributeType::Modifiable => Attribute::Modifiable(false),
            AttributeType::SignRecover => Attribute::SignRecover(false),
            AttributeType::Private => Attribute::Private(false),
            AttributeType::Decrypt => Attribute::Decrypt(false),
            AttributeType::Encrypt => Attribute::Encrypt(false),
            AttributeType::Copyable => Attribute::Copyable(false),
            _ => return None,
        })
    }
}

/// What the templates of one key pair have in common.
#[derive(Debug)]
pub(super) struct KeyPairTemplate<'a> {
    pub(super) algorithm: KeyAlgorithm,
    /// Size and exponent, or the curve.
    pub(super) parameters: &'a [Attribute],
    pub(super) label: &'a str,
    /// 16 random bytes.
    pub(super) random_id: &'a [u8],
}

impl KeyPairTemplate<'_> {
    /// CKA_ID in this form; `None` where the token chooses it.
    pub(super) fn id(&self, form: Form) -> Option<&[u8]> {
        match form.id {
            IdForm::Random => Some(self.random_id),
            IdForm::Short => Some(self.random_id.get(..2).unwrap_or(self.random_id)),
            IdForm::Label => Some(self.label.as_bytes()),
            IdForm::Absent => None,
        }
    }

    /// The public and the private template in this form, with these restrictions. `on_token`: CKA_TOKEN; a session object
    /// otherwise.
    pub(super) fn build(
        &self,
        form: Form,
        restrictions: &[usize],
        on_token: bool,
    ) -> (Vec<Attribute>, Vec<Attribute>) {
        let mut common = vec![
            Attribute::Token(on_token),
            Attribute::Label(self.label.as_bytes().to_vec()),
        ];
        common.extend(self.id(form).map(|id| Attribute::Id(id.to_vec())));
        let mut public = [self.parameters, &common].concat();
        let mut private = common;
        private.extend([
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
        ]);
        if !form.default_use {
            public.push(Attribute::Verify(true));
            private.push(Attribute::Sign(true));
        }
        if form.class {
            let kind = key_type(self.algorithm);
            public.extend([
                Attribute::Class(ObjectClass::PUBLIC_KEY),
                Attribute::KeyType(kind),
            ]);
            private.extend([
                Attribute::Class(ObjectClass::PRIVATE_KEY),
                Attribute::KeyType(kind),
            ]);
        }
        if form.curve_in_both {
            let curve = |attribute: &&Attribute| matches!(attribute, Attribute::EcParams(_));
            private.extend(self.parameters.iter().filter(curve).cloned());
        }
        let kept = RESTRICTIONS.iter().enumerate();
        for (_, restriction) in kept.filter(|(index, _)| restrictions.contains(index)) {
            match restriction.half {
                Half::Public => public.extend(restriction.attribute()),
                Half::Private => private.extend(restriction.attribute()),
            }
        }
        if form.private_in_both && !public.contains(&Attribute::Private(false)) {
            public.push(Attribute::Private(true));
        }
        (public, private)
    }
}

fn key_type(algorithm: KeyAlgorithm) -> KeyType {
    match algorithm {
        KeyAlgorithm::Rsa { .. } => KeyType::RSA,
        KeyAlgorithm::EcP256 | KeyAlgorithm::EcP384 | KeyAlgorithm::EcP521 => KeyType::EC,
        KeyAlgorithm::Ed25519 => KeyType::EC_EDWARDS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_form_gives_up_that_the_key_stays_in_the_token() {
        let template = KeyPairTemplate {
            algorithm: KeyAlgorithm::EcP256,
            parameters: &[Attribute::EcParams(vec![6])],
            label: "c3",
            random_id: &[7; 16],
        };
        for form in Form::ALL {
            let (public, private) = template.build(form, &[], true);
            for required in [
                Attribute::Token(true),
                Attribute::Private(true),
                Attribute::Sensitive(true),
                Attribute::Extractable(false),
            ] {
                assert!(private.contains(&required), "{form:?}: {required:?}");
            }
            assert!(public.contains(&Attribute::Token(true)));
            assert_eq!(private.contains(&Attribute::Sign(true)), !form.default_use);
        }
        let all: Vec<usize> = (0..RESTRICTIONS.len()).collect();
        let (public, private) = template.build(Form::PLAIN, &all, true);
        for restriction in &RESTRICTIONS {
            let half = match restriction.half {
                Half::Public => &public,
                Half::Private => &private,
            };
            let attribute = restriction.attribute();
            assert!(attribute.is_some_and(|attribute| half.contains(&attribute)));
        }
    }

    /// A template that has an attribute twice is refused by every token.
    #[test]
    fn no_attribute_is_in_a_template_twice() {
        let template = KeyPairTemplate {
            algorithm: KeyAlgorithm::EcP256,
            parameters: &[Attribute::EcParams(vec![6])],
            label: "c3",
            random_id: &[7; 16],
        };
        let all: Vec<usize> = (0..RESTRICTIONS.len()).collect();
        for form in Form::ALL {
            for kept in [&[][..], &all] {
                let (public, private) = template.build(form, kept, true);
                for half in [public, private] {
                    let mut types: Vec<String> = half
                        .iter()
                        .map(|attribute| attribute.attribute_type().to_string())
                        .collect();
                    let count = types.len();
                    types.sort_unstable();
                    types.dedup();
                    assert_eq!(types.len(), count, "{form:?}: {types:?}");
                }
            }
        }
    }
}
