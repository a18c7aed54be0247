//! What a token makes of the two templates of C_GenerateKeyPair: attributes that it does not know at all, values that it adds,
//! and a CKA_ID that no two keys may have.

use cryptoki_sys::*;

use crate::words::{attribute_named, boolean, code_named, is_public_half};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TemplateRules {
    /// Attributes that are added where the template has not got them.
    pub(crate) defaults: Vec<(bool, CK_ATTRIBUTE_TYPE, bool)>,
    /// Attributes that no template may have, and of which C_GetAttributeValue says CKR_ATTRIBUTE_TYPE_INVALID.
    unsupported: Vec<(CK_ATTRIBUTE_TYPE, CK_RV)>,
    /// The code for a CKA_ID that another key has.
    pub(crate) unique_id: Option<CK_RV>,
}

impl TemplateRules {
    /// Parses a line about templates; `false`: it is about something else.
    pub(crate) fn parse_line(&mut self, words: &[&str]) -> Result<bool, String> {
        match words {
            ["default-attribute", half, attribute, value] => {
                let rule = (is_public_half(half)?, attribute_named(attribute)?);
                self.defaults.push((rule.0, rule.1, boolean(value)?));
            }
            ["unsupported", attribute, code] => {
                let rule = (attribute_named(attribute)?, code_named(code)?);
                self.unsupported.push(rule);
            }
            ["unique-id", code] => self.unique_id = Some(code_named(code)?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The code for an attribute that the token does not support.
    pub(crate) fn refusal_of(&self, attribute: CK_ATTRIBUTE_TYPE) -> Option<CK_RV> {
        let mut rules = self.unsupported.iter();
        rules.find_map(|(named, code)| (*named == attribute).then_some(*code))
    }

    /// Whether C_GetAttributeValue knows all attributes.
    pub(crate) fn supports_all(&self) -> bool {
        self.unsupported.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_about_templates() {
        let mut rules = TemplateRules::default();
        for line in [
            "unsupported CKA_COPYABLE CKR_TEMPLATE_INCONSISTENT",
            "default-attribute public CKA_PRIVATE true",
            "unique-id CKR_ATTRIBUTE_VALUE_INVALID",
        ] {
            let words: Vec<_> = line.split_whitespace().collect();
            assert_eq!(rules.parse_line(&words), Ok(true), "{line}");
        }
        assert_eq!(
            rules.refusal_of(CKA_COPYABLE),
            Some(CKR_TEMPLATE_INCONSISTENT)
        );
        assert_eq!(rules.refusal_of(CKA_SIGN), None);
        assert_eq!(rules.defaults, [(true, CKA_PRIVATE, true)]);
        assert!(!rules.supports_all());
        assert!(
            rules
                .parse_line(&["unsupported", "CKA_NOTHING", "CKR_CANCEL"])
                .is_err()
        );
        assert_eq!(rules.parse_line(&["idle", "3ms"]), Ok(false));
    }
}
