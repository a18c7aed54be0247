//! `[c3.subject]`: the subject of a certificate request, and the form that the regime gives it. Legal names contain commas, so
//! no field is split at one.

use serde::{Deserialize, Deserializer};
use thiserror::Error;

use crate::regime::{Regime, SubjectAttribute};

/// The fields of `[c3.subject]` and of `csr` that have an attribute of their own, in the order in which they are written
/// where the regime prescribes none.
pub(super) const NAMED_ATTRIBUTES: [(&str, &str); 4] = [
    ("country", "C"),
    ("organization", "O"),
    ("organizational_unit", "OU"),
    ("common_name", "CN"),
];

/// Attributes and their values, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubjectConfig {
    rdns: Vec<(String, String)>,
}

/// Why a subject is none that the regime accepts.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum SubjectError {
    /// An attribute is missing.
    #[error("the subject of the request is not known: {0} is missing")]
    Missing(String),
    /// A value does not have the form that the regime requires.
    #[error("the subject's {attribute} {value:?} is not {expected}")]
    Form {
        /// The attribute: C, O, OU or CN.
        attribute: String,
        /// Its value.
        value: String,
        /// The expected form.
        expected: String,
    },
}

impl SubjectConfig {
    /// The subject of the four fields that have an attribute of their own: country, organization, organizational unit and
    /// common name. One that is given replaces the value that was there.
    pub fn with_named(mut self, values: [Option<String>; 4]) -> Self {
        for ((_, attribute), value) in NAMED_ATTRIBUTES.iter().zip(values) {
            if let Some(value) = value {
                self.set(attribute, value);
            }
        }
        self
    }

    /// Sets the value of an attribute, which comes last if it is new.
    fn set(&mut self, attribute: &str, value: String) {
        let known = self
            .rdns
            .iter_mut()
            .find(|(name, _)| name.eq_ignore_ascii_case(attribute));
        match known {
            Some((_, known)) => *known = value,
            None => self.rdns.push((attribute.to_owned(), value)),
        }
    }

    /// The value of an attribute.
    pub fn value(&self, attribute: &str) -> Option<&str> {
        let mut all = self.rdns.iter();
        let (_, value) = all.find(|(name, _)| name.eq_ignore_ascii_case(attribute))?;
        Some(value)
    }

    /// Attributes and values as the regime wants them: each of its attributes once and in its order. Where it prescribes
    /// none, those that are written, in the order in which they are.
    ///
    /// # Errors
    /// One is missing, is none of them, or has a value of another form.
    pub fn checked(&self, regime: &Regime) -> Result<Vec<(String, String)>, SubjectError> {
        if regime.subject.is_empty() {
            let empty = self.rdns.iter().find(|(_, value)| value.trim().is_empty());
            return match (empty, self.rdns.is_empty()) {
                (Some((attribute, value)), _) => Err(SubjectError::Form {
                    attribute: attribute.clone(),
                    value: value.clone(),
                    expected: "a text".to_owned(),
                }),
                (None, true) => Err(SubjectError::Missing("each attribute".to_owned())),
                (None, false) => Ok(self.rdns.clone()),
            };
        }
        let is_prescribed = |name: &str| {
            let mut all = regime.subject.iter();
            all.any(|one| one.attribute.eq_ignore_ascii_case(name))
        };
        if let Some((attribute, value)) = self.rdns.iter().find(|(name, _)| !is_prescribed(name)) {
            let all = regime.subject.iter().map(|one| one.attribute.as_str());
            return Err(SubjectError::Form {
                attribute: attribute.clone(),
                value: value.clone(),
                expected: format!(
                    "part of it: regime {:?} has {}",
                    regime.name,
                    all.collect::<Vec<_>>().join(", ")
                ),
            });
        }
        let checked = regime.subject.iter().map(|prescribed| {
            let SubjectAttribute {
                attribute,
                form,
                default,
            } = prescribed;
            let value = self.value(attribute).or(default.as_deref());
            let value = value.ok_or_else(|| SubjectError::Missing(attribute.clone()))?;
            match form.is_met_by(value) {
                true => Ok((attribute.clone(), value.to_owned())),
                false => Err(SubjectError::Form {
                    attribute: attribute.clone(),
                    value: value.to_owned(),
                    expected: form.expected().to_owned(),
                }),
            }
        });
        checked.collect()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SubjectFile {
    country: Option<String>,
    organization: Option<String>,
    organizational_unit: Option<String>,
    common_name: Option<String>,
    rdns: Option<Vec<String>>,
}

impl<'de> Deserialize<'de> for SubjectConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let file = SubjectFile::deserialize(deserializer)?;
        let named = [
            file.country,
            file.organization,
            file.organizational_unit,
            file.common_name,
        ];
        let named = NAMED_ATTRIBUTES.iter().zip(named);
        let mut subject = Self::default();
        let Some(rdns) = file.rdns else {
            for ((field, attribute), value) in named {
                match value {
                    Some(value) => subject.set(attribute, value),
                    // The regime has the country of its participants.
                    None if *field == "country" => {}
                    None => return Err(Error::missing_field(field)),
                }
            }
            return Ok(subject);
        };
        if named.into_iter().any(|(_, value)| value.is_some()) {
            return Err(Error::custom(
                "`rdns` has the whole subject: no other field stands beside it",
            ));
        }
        for rdn in &rdns {
            let parts = rdn.split_once('=');
            let parts = parts.map(|(attribute, value)| (attribute.trim(), value.trim()));
            match parts.filter(|(attribute, value)| !attribute.is_empty() && !value.is_empty()) {
                Some((attribute, _)) if subject.value(attribute).is_some() => {
                    return Err(Error::custom(format!("`rdns` has {attribute} twice")));
                }
                Some((attribute, value)) => subject.set(attribute, value.to_owned()),
                None => {
                    return Err(Error::custom(
                        "`rdns` is a list such as [\"C=DE\", \"O=My Bank, Inc.\", \"CN=client\"]: the value is what follows the first =",
                    ));
                }
            }
        }
        Ok(subject)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "3f1c9d2e-5a64-4b7e-9f8d-0c2b7a6e1d35";

    fn read(text: &str, regime: &str) -> Result<String, String> {
        let subject: SubjectConfig =
            toml::from_str(text).map_err(|error| error.message().to_owned())?;
        let checked = subject.checked(Regime::named(regime).unwrap());
        let checked = checked.map_err(|error| error.to_string())?;
        let rdns = checked
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        Ok(rdns.collect::<Vec<_>>().join("|"))
    }

    #[test]
    fn a_scheme_has_an_order_and_a_plain_one_that_of_the_file() {
        let named = format!(
            "common_name = '{ID}'\norganization = 'Bank, P.J.S.C.'\norganizational_unit = '{ID}'"
        );
        let expected = format!("C=AE|O=Bank, P.J.S.C.|OU={ID}|CN={ID}");
        assert_eq!(read(&named, "uae"), Ok(expected.clone()));
        let rdns = format!("rdns = ['CN={ID}', 'O=Bank, P.J.S.C.', 'OU={ID}']");
        assert_eq!(read(&rdns, "uae"), Ok(expected));
        let own = "rdns = ['CN=client', 'O = A=B, Inc.', '2.5.4.97=PSDDE-1']";
        let expected = "CN=client|O=A=B, Inc.|2.5.4.97=PSDDE-1";
        assert_eq!(read(own, "plain"), Ok(expected.to_owned()));
    }

    #[test]
    fn what_the_regime_does_not_have_is_refused() {
        for (text, regime, expected) in [
            ("rdns = []", "plain", "each attribute is missing"),
            ("rdns = ['CN']", "plain", "`rdns` is a list"),
            ("rdns = ['CN=a', 'cn=b']", "plain", "cn twice"),
            ("rdns = ['CN=a']\ncountry = 'AE'", "plain", "no other field"),
            ("country = 'AE'", "uae", "missing field `organization`"),
            ("rdns = ['O=a']", "uae", "OU is missing"),
            (
                "rdns = ['O=a', 'L=b']",
                "uae",
                "L \"b\" is not part of it: regime \"uae\" has C, O, OU, CN",
            ),
            ("rdns = ['O=a', 'OU=b']", "uae", "OU \"b\" is not a UUID"),
        ] {
            let message = read(text, regime).unwrap_err();
            assert!(message.contains(expected), "{text}: {message}");
        }
    }
}
