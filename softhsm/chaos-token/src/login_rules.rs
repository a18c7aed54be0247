//! Who may log in and do what: roles of the vendor's, the form of a PIN, and what a refused one is called.

use cryptoki_sys::*;

use crate::words::{code_named, user_type};

/// A role beside or instead of the standard's user. For the wrapped module each of them is its user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Role {
    user: CK_USER_TYPE,
    scope: Scope,
    /// The return value of what the role may not do.
    code: CK_RV,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    /// It uses keys, and neither makes nor destroys or changes any.
    UsesKeys,
    /// It makes and destroys keys, and uses none.
    MakesKeys,
    /// It may do both.
    All,
}

/// The form of a PIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PinForm {
    /// `user:password`
    UserAndPassword,
    /// Four hexadecimal digits, the number of the device's authentication key, and a password.
    KeyNumberAndPassword,
}

const KEY_MANAGEMENT: [&str; 7] = [
    "C_GenerateKeyPair",
    "C_GenerateKey",
    "C_CreateObject",
    "C_CopyObject",
    "C_DestroyObject",
    "C_SetAttributeValue",
    "C_UnwrapKey",
];

const KEY_USE: [&str; 3] = ["C_SignInit", "C_DecryptInit", "C_GenerateRandom"];

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LoginRules {
    roles: Vec<Role>,
    /// What C_Login returns for a wrong PIN.
    pub(crate) wrong_pin: Option<CK_RV>,
    pin_form: Option<(PinForm, CK_RV)>,
    /// Any PIN is right.
    pub(crate) pin_ignored: bool,
}

impl LoginRules {
    /// Parses a line about logins; `false`: it is about something else.
    pub(crate) fn parse_line(&mut self, words: &[&str]) -> Result<bool, String> {
        match words {
            ["role", user, "all"] => self.roles.push(Role {
                user: user_type(user)?,
                scope: Scope::All,
                code: CKR_OK,
            }),
            ["role", user, scope, code] => self.roles.push(Role {
                user: user_type(user)?,
                scope: match *scope {
                    "uses-keys" => Scope::UsesKeys,
                    "makes-keys" => Scope::MakesKeys,
                    other => return Err(format!("{other} is no scope of a role")),
                },
                code: code_named(code)?,
            }),
            ["wrong-pin", code] => self.wrong_pin = Some(code_named(code)?),
            ["pin-form", form, code] => {
                let form = match *form {
                    "user:password" => PinForm::UserAndPassword,
                    "0001password" => PinForm::KeyNumberAndPassword,
                    other => return Err(format!("{other} is no form of a PIN")),
                };
                self.pin_form = Some((form, code_named(code)?));
            }
            ["pin-ignored"] => self.pin_ignored = true,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The return value of C_Login for a PIN that has not got the form.
    pub(crate) fn refusal_of_form(&self, pin: &[u8]) -> Option<CK_RV> {
        let (form, code) = self.pin_form?;
        let has_form = match form {
            PinForm::UserAndPassword => pin.iter().position(|byte| *byte == b':') > Some(0),
            PinForm::KeyNumberAndPassword => {
                let number = pin.get(..4);
                number.is_some_and(|number| number.iter().all(u8::is_ascii_hexdigit))
            }
        };
        (!has_form).then_some(code)
    }

    /// Whether this is a role that the wrapped module knows as its user.
    pub(crate) fn is_role(&self, user: CK_USER_TYPE) -> bool {
        self.roles.iter().any(|role| role.user == user)
    }

    /// The return value of a function that this role may not call.
    pub(crate) fn refusal(&self, user: CK_USER_TYPE, function: &str) -> Option<CK_RV> {
        let role = self.roles.iter().find(|role| role.user == user)?;
        let forbidden = match role.scope {
            Scope::UsesKeys => &KEY_MANAGEMENT[..],
            Scope::MakesKeys => &KEY_USE[..],
            Scope::All => &[],
        };
        forbidden.contains(&function).then_some(role.code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(lines: &[&str]) -> LoginRules {
        let mut rules = LoginRules::default();
        for line in lines {
            let words: Vec<_> = line.split_whitespace().collect();
            assert_eq!(rules.parse_line(&words), Ok(true), "{line}");
        }
        rules
    }

    #[test]
    fn each_role_has_its_scope() {
        let rules = rules(&[
            "role CKU_SO makes-keys CKR_USER_NOT_LOGGED_IN",
            "role 0x80000001 uses-keys CKR_ACTION_PROHIBITED",
        ]);
        let no = Some(CKR_USER_NOT_LOGGED_IN);
        assert_eq!(rules.refusal(CKU_SO, "C_SignInit"), no);
        assert_eq!(rules.refusal(CKU_SO, "C_GenerateKeyPair"), None);
        assert_eq!(rules.refusal(0x8000_0001, "C_SignInit"), None);
        let no_keys = rules.refusal(0x8000_0001, "C_DestroyObject");
        assert_eq!(no_keys, Some(CKR_ACTION_PROHIBITED));
    }

    #[test]
    fn a_pin_has_a_form() {
        let cloud = rules(&["pin-form user:password CKR_ARGUMENTS_BAD"]);
        assert_eq!(cloud.refusal_of_form(b"cu:secret"), None);
        assert_eq!(cloud.refusal_of_form(b":secret"), Some(CKR_ARGUMENTS_BAD));
        assert_eq!(cloud.refusal_of_form(b"secret"), Some(CKR_ARGUMENTS_BAD));
        let yubihsm = rules(&["pin-form 0001password CKR_PIN_INCORRECT"]);
        assert_eq!(yubihsm.refusal_of_form(b"00f1password"), None);
        assert_eq!(
            yubihsm.refusal_of_form(b"password"),
            Some(CKR_PIN_INCORRECT)
        );
    }
}
