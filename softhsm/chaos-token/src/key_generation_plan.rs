//! The part of the plan that is about C_GenerateKeyPair: which templates and mechanisms it takes, and what becomes of the key.

use cryptoki_sys::*;

use crate::names;

/// An attribute in one of the two templates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TemplateRule {
    /// In the public key's template.
    pub(crate) public: bool,
    pub(crate) attribute: CK_ATTRIBUTE_TYPE,
    pub(crate) condition: Condition,
    pub(crate) code: CK_RV,
}

/// When a template is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// It has the attribute.
    Present,
    /// It lacks the attribute.
    Absent,
    /// It has the attribute with this value of one byte.
    Value(bool),
    /// It has the attribute, and its length in bytes is another.
    LengthIsNot(CK_ULONG),
}

/// A mechanism that the wrapped module does not know, carried out by one that it knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SubstituteMechanism {
    pub(crate) listed: CK_MECHANISM_TYPE,
    pub(crate) wrapped: CK_MECHANISM_TYPE,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeyGenerationPlan {
    pub(crate) rules: Vec<TemplateRule>,
    /// The code for session objects.
    pub(crate) no_session_keys: Option<CK_RV>,
    /// Mechanisms that are listed beside the wrapped module's.
    pub(crate) substitutes: Vec<SubstituteMechanism>,
    /// CKA_LABEL of a new key is its CKA_ID, and CKA_ID is the label where the template has none.
    pub(crate) label_is_id: bool,
    /// How many searches do not find a new key.
    pub(crate) late_searches: u64,
}

/// Parses one line of the plan.
pub(crate) fn parse_line(plan: &mut KeyGenerationPlan, words: &[&str]) -> Result<(), String> {
    let mut rule = |half: &str, attribute: &str, condition, code: &str| {
        let public = match half {
            "public" => true,
            "private" => false,
            other => return Err(format!("{other} is neither public nor private")),
        };
        plan.rules.push(TemplateRule {
            public,
            attribute: names::attribute(attribute)
                .ok_or_else(|| format!("{attribute} is no attribute that this module knows"))?,
            condition,
            code: code_named(code)?,
        });
        Ok(())
    };
    match words {
        ["refuse-attribute", half, attribute, code] => {
            rule(half, attribute, Condition::Present, code)
        }
        ["require-attribute", half, attribute, code] => {
            rule(half, attribute, Condition::Absent, code)
        }
        [
            "refuse-value",
            half,
            attribute,
            value @ ("true" | "false"),
            code,
        ] => rule(half, attribute, Condition::Value(*value == "true"), code),
        ["require-length", half, attribute, length, code] => {
            let length = length.parse();
            let length = length.map_err(|_| "a length is a number of bytes")?;
            rule(half, attribute, Condition::LengthIsNot(length), code)
        }
        ["no-session-keys", code] => {
            plan.no_session_keys = Some(code_named(code)?);
            Ok(())
        }
        ["mechanism", listed, "as", wrapped] => {
            plan.substitutes.push(SubstituteMechanism {
                listed: mechanism_named(listed)?,
                wrapped: mechanism_named(wrapped)?,
            });
            Ok(())
        }
        ["label-is-id"] => {
            plan.label_is_id = true;
            Ok(())
        }
        ["late-keys", searches] => {
            let searches = searches.parse();
            plan.late_searches = searches.map_err(|_| "searches are counted by a number")?;
            Ok(())
        }
        other => Err(format!("{} is not understood", other.join(" "))),
    }
}

fn code_named(name: &str) -> Result<CK_RV, String> {
    names::return_value(name).ok_or_else(|| format!("{name} is no CKR_ value"))
}

/// A CKM_ name, or a vendor's number.
fn mechanism_named(name: &str) -> Result<CK_MECHANISM_TYPE, String> {
    let number = name.strip_prefix("0x");
    number
        .and_then(|digits| CK_MECHANISM_TYPE::from_str_radix(digits, 16).ok())
        .or_else(|| names::mechanism(name))
        .ok_or_else(|| format!("{name} is no mechanism that this module knows"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_parsed() {
        let mut plan = KeyGenerationPlan::default();
        for line in [
            "refuse-attribute public CKA_ENCRYPT CKR_GENERAL_ERROR",
            "require-attribute private CKA_CLASS CKR_TEMPLATE_INCOMPLETE",
            "refuse-value public CKA_PRIVATE false CKR_TEMPLATE_INCONSISTENT",
            "require-length private CKA_ID 2 CKR_ATTRIBUTE_VALUE_INVALID",
            "no-session-keys CKR_FUNCTION_FAILED",
            "mechanism 0x80000143 as CKM_RSA_PKCS_KEY_PAIR_GEN",
            "label-is-id",
            "late-keys 3",
        ] {
            let words: Vec<_> = line.split_whitespace().collect();
            assert_eq!(parse_line(&mut plan, &words), Ok(()), "{line}");
        }
        let conditions: Vec<_> = plan.rules.iter().map(|rule| rule.condition).collect();
        assert_eq!(
            conditions,
            [
                Condition::Present,
                Condition::Absent,
                Condition::Value(false),
                Condition::LengthIsNot(2)
            ]
        );
        assert_eq!(plan.substitutes[0].listed, 0x8000_0143);
        assert!(plan.label_is_id && plan.late_searches == 3);
        for bad in ["refuse-attribute both CKA_ID CKR_OK", "late-keys soon"] {
            let words: Vec<_> = bad.split_whitespace().collect();
            assert!(parse_line(&mut plan, &words).is_err(), "{bad}");
        }
    }
}
