//! The words of a plan's lines: numbers, times, and names of the standard. An error says which word was not understood.

use std::time::Duration;

use cryptoki_sys::*;

use crate::names;

/// A line without its comment, which begins with `#` at the start of a word.
pub(crate) fn without_comment(line: &str) -> &str {
    let starts_word = |at: usize| line[..at].chars().last().is_none_or(char::is_whitespace);
    let mut marks = line.match_indices('#').map(|(at, _)| at);
    marks
        .find(|at| starts_word(*at))
        .map_or(line, |at| &line[..at])
}

pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let millis = text.strip_suffix("ms").ok_or("a time is written as 25ms")?;
    number(millis).map(Duration::from_millis)
}

pub(crate) fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text} is no number"))
}

pub(crate) fn boolean(text: &str) -> Result<bool, String> {
    text.parse()
        .map_err(|_| format!("{text} is neither true nor false"))
}

/// A role: `CKU_SO`, `CKU_USER`, or a vendor's as `0x80000001`.
pub(crate) fn user_type(text: &str) -> Result<CK_USER_TYPE, String> {
    match text {
        "CKU_SO" => return Ok(CKU_SO),
        "CKU_USER" => return Ok(CKU_USER),
        _ => {}
    }
    let digits = text
        .strip_prefix("0x")
        .ok_or("a role is written as CKU_SO, CKU_USER or 0x80000001")?;
    CK_USER_TYPE::from_str_radix(digits, 16).map_err(|_| format!("{digits} is no number"))
}

/// Which of the two templates of C_GenerateKeyPair is meant: whether it is the public one.
pub(crate) fn is_public_half(text: &str) -> Result<bool, String> {
    match text {
        "public" => Ok(true),
        "private" => Ok(false),
        other => Err(format!("{other} is neither public nor private")),
    }
}

pub(crate) fn function_named(name: &str) -> Result<String, String> {
    match names::FUNCTIONS.contains(&name) || name == names::LOGIN_USER {
        true => Ok(name.to_owned()),
        false => Err(format!("{name} is no function of PKCS#11")),
    }
}

pub(crate) fn code_named(name: &str) -> Result<CK_RV, String> {
    names::return_value(name).ok_or_else(|| format!("{name} is no CKR_ value"))
}

pub(crate) fn attribute_named(name: &str) -> Result<CK_ATTRIBUTE_TYPE, String> {
    names::attribute(name).ok_or_else(|| format!("{name} is no attribute that this module knows"))
}

pub(crate) fn key_type_named(name: &str) -> Result<CK_KEY_TYPE, String> {
    match name {
        "CKK_RSA" => Ok(CKK_RSA),
        "CKK_EC" => Ok(CKK_EC),
        other => Err(format!("{other} is no key type that this module knows")),
    }
}

pub(crate) fn flag_named(name: &str) -> Result<CK_FLAGS, String> {
    names::token_flag(name).ok_or_else(|| format!("{name} is no token flag"))
}

pub(crate) fn mechanism_named(name: &str) -> Result<CK_MECHANISM_TYPE, String> {
    names::mechanism(name).ok_or_else(|| format!("{name} is no mechanism that this module knows"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_begins_a_word() {
        assert_eq!(without_comment("a # b"), "a ");
        assert_eq!(without_comment("# b"), "");
        assert_eq!(without_comment("PKCS#11 # b # c"), "PKCS#11 ");
    }

    #[test]
    fn a_role_has_a_name_or_a_number() {
        assert_eq!(user_type("CKU_SO"), Ok(CKU_SO));
        assert_eq!(user_type("0x80000001"), Ok(0x8000_0001));
        assert!(user_type("1").is_err() && user_type("0xx").is_err());
    }
}
