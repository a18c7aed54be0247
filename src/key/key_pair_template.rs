//! The templates of C_GenerateKeyPair for a key that only signs and does not leave the token: the attributes that it must
//! have, and the restrictions that some tokens do not know.

use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass};
use der::Encode;
use der::asn1::ObjectIdentifier;

use super::KeyError;
use super::scheme::KeyAlgorithm;
use super::template_search::Form;

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
    pub(super) id: &'a [u8],
}

impl KeyPairTemplate<'_> {
    /// CKA_ID in this form.
    pub(super) fn id(&self, form: Form) -> &[u8] {
        match form {
            Form::IdIsLabel | Form::DefaultUse => self.label.as_bytes(),
            Form::ShortId => self.id.get(..2).unwrap_or(self.id),
            Form::Plain | Form::WithClass | Form::CurveInBoth => self.id,
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
        let id = self.id(form);
        let common = [
            Attribute::Token(on_token),
            Attribute::Label(self.label.as_bytes().to_vec()),
            Attribute::Id(id.to_vec()),
        ];
        let mut public = [self.parameters, &common].concat();
        let mut private = common.to_vec();
        private.extend([
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
        ]);
        if form < Form::DefaultUse {
            public.push(Attribute::Verify(true));
            private.push(Attribute::Sign(true));
        }
        if form >= Form::WithClass {
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
        if form >= Form::CurveInBoth {
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
        (public, private)
    }
}

/// The mechanism of C_GenerateKeyPair for an algorithm, and the public template's attributes for it.
pub(super) fn generation_mechanism(
    algorithm: KeyAlgorithm,
) -> Result<(Mechanism<'static>, Vec<Attribute>), KeyError> {
    let curve = |mechanism, oid: &str| {
        let params = ObjectIdentifier::new(oid)
            .ok()
            .and_then(|oid| oid.to_der().ok())
            .ok_or_else(|| KeyError::CannotGenerate(algorithm.to_string()))?;
        Ok((mechanism, vec![Attribute::EcParams(params)]))
    };
    match algorithm {
        KeyAlgorithm::Rsa { bits } => Ok((
            Mechanism::RsaPkcsKeyPairGen,
            vec![
                Attribute::ModulusBits((bits as u64).into()),
                Attribute::PublicExponent(vec![0x01, 0x00, 0x01]),
            ],
        )),
        KeyAlgorithm::EcP256 => curve(Mechanism::EccKeyPairGen, "1.2.840.10045.3.1.7"),
        KeyAlgorithm::EcP384 => curve(Mechanism::EccKeyPairGen, "1.3.132.0.34"),
        KeyAlgorithm::EcP521 => curve(Mechanism::EccKeyPairGen, "1.3.132.0.35"),
        KeyAlgorithm::Ed25519 => curve(Mechanism::EccEdwardsKeyPairGen, "1.3.101.112"),
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
            id: &[7; 16],
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
            assert_eq!(
                private.contains(&Attribute::Sign(true)),
                form < Form::DefaultUse
            );
        }
        let all: Vec<usize> = (0..RESTRICTIONS.len()).collect();
        let (public, private) = template.build(Form::Plain, &all, true);
        for restriction in &RESTRICTIONS {
            let half = match restriction.half {
                Half::Public => &public,
                Half::Private => &private,
            };
            let attribute = restriction.attribute();
            assert!(attribute.is_some_and(|attribute| half.contains(&attribute)));
        }
    }
}
