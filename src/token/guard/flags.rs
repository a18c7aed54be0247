//! What the token says before a login: where its flags warn, nothing is sent, and a person may answer
//! for it at the most.

use cryptoki::session::UserType;
use cryptoki::slot::TokenInfo;
use secrecy::ExposeSecret;

use super::{Attendance, PinError, PinGuard};

impl PinGuard {
    /// Reads the token's flags as they bear on a login of `user`.
    pub(super) fn check_flags(&self, user: UserType, info: &TokenInfo) -> Result<(), PinError> {
        let so = matches!(user, UserType::So);
        let flag = |user_flag: (bool, &'static str), so_flag: (bool, &'static str)| {
            let (set, name) = if so { so_flag } else { user_flag };
            set.then_some(name)
        };
        let locked = flag(
            (info.user_pin_locked(), "CKF_USER_PIN_LOCKED"),
            (info.so_pin_locked(), "CKF_SO_PIN_LOCKED"),
        );
        let last = flag(
            (info.user_pin_final_try(), "CKF_USER_PIN_FINAL_TRY"),
            (info.so_pin_final_try(), "CKF_SO_PIN_FINAL_TRY"),
        );
        let change = flag(
            (info.user_pin_to_be_changed(), "CKF_USER_PIN_TO_BE_CHANGED"),
            (info.so_pin_to_be_changed(), "CKF_SO_PIN_TO_BE_CHANGED"),
        );
        let low = flag(
            (info.user_pin_count_low(), "CKF_USER_PIN_COUNT_LOW"),
            (info.so_pin_count_low(), "CKF_SO_PIN_COUNT_LOW"),
        );
        let found = [
            (locked, "the PIN is locked"),
            (last, "one more wrong PIN locks it"),
            (change, "the PIN is to be changed first"),
            (
                low,
                "a wrong PIN was tried lately, and nobody said that it may be tried again",
            ),
        ]
        .into_iter()
        .find_map(|(flag, meaning)| Some((flag?, meaning)));
        match found {
            None => Ok(()),
            Some((flag, meaning))
                if Some(flag) == low && self.person_agrees(&format!("{flag}: {meaning}")) =>
            {
                Ok(())
            }
            Some((flag, meaning)) => Err(PinError::Guarded { flag, meaning }),
        }
    }

    /// A terminal is no person: a container with a pty has one too. So somebody is asked.
    pub(super) fn person_agrees(&self, what: &str) -> bool {
        let Attendance::Attended(ask) = &self.attendance else {
            return false;
        };
        let question = format!(
            "{what}. A few wrong PINs lock the token. Shall the PIN from {} be tried all the \
             same? Type yes to try it",
            self.source
        );
        ask(&question).is_ok_and(|answer| answer.expose_secret().trim() == "yes")
    }

    pub(super) fn check_keypad(&self, info: &TokenInfo) -> Result<(), PinError> {
        if !info.protected_authentication_path() {
            return Err(PinError::Source {
                pin_source: self.source.clone(),
                why: "the token has none: CKF_PROTECTED_AUTHENTICATION_PATH is not set".to_owned(),
            });
        }
        // The module would wait at the keypad for as long as nobody comes.
        match self.attendance {
            Attendance::Attended(_) => Ok(()),
            Attendance::Unattended => Err(PinError::NobodyThere(self.source.clone())),
        }
    }
}
