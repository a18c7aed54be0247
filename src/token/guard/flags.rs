//! What the token says before a login: where its flags warn, nothing is sent, and a person may answer
//! for it at the most.

use cryptoki::session::UserType;
use cryptoki::slot::TokenInfo;
use secrecy::ExposeSecret;

use super::acceptance::Acceptance;
use super::record::Role;
use super::{Attendance, PinError, PinGuard};
use crate::rfc3339;
use crate::token::pin::SourceFault;

/// What the token warns of.
pub(super) struct Warning {
    pub(super) flag: &'static str,
    pub(super) meaning: &'static str,
    /// It is the one that somebody may answer for.
    pub(super) low: bool,
}

/// The gravest warning of the token about the PIN of `user`.
pub(super) fn warning(user: UserType, info: &TokenInfo) -> Option<Warning> {
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
    let all = [
        (locked, "the PIN is locked"),
        (last, "one more wrong PIN locks it"),
        (change, "the PIN is to be changed first"),
        (
            low,
            "a wrong PIN was tried lately, and nobody said that it may be tried again",
        ),
    ];
    all.into_iter().find_map(|(flag, meaning)| {
        let flag = flag?;
        let low = Some(flag) == low;
        Some(Warning { flag, meaning, low })
    })
}

/// Whose PIN a login of `user` takes.
pub(super) fn role(user: UserType) -> Role {
    match user {
        UserType::So => Role::SecurityOfficer,
        UserType::ContextSpecific => Role::PerSignature,
        _ => Role::User,
    }
}

impl PinGuard {
    /// Reads the token's flags as they bear on a login of `user`. Where only CKF_USER_PIN_COUNT_LOW
    /// warns, somebody may answer for a try: a person now, or the operator with an acceptance, which is
    /// given back and is to be used up before the try.
    pub(super) fn check_flags(
        &self,
        user: UserType,
        info: &TokenInfo,
    ) -> Result<Option<Acceptance>, PinError> {
        let Some(Warning { flag, meaning, low }) = warning(user, info) else {
            return Ok(None);
        };
        let guarded = |acceptance| PinError::Guarded {
            flag,
            meaning,
            acceptance,
            state_folder: self.state_folder.clone(),
        };
        match &self.attendance {
            _ if !low => Err(guarded(None)),
            Attendance::Attended(_) => match self.person_agrees(&format!("{flag}: {meaning}")) {
                true => Ok(None),
                false => Err(guarded(None)),
            },
            Attendance::Unattended if self.typed() => Err(guarded(None)),
            Attendance::Unattended => {
                match self
                    .subject(role(user))
                    .acceptance(flag, rfc3339::unix_now())
                {
                    Ok(Some(acceptance)) => Ok(Some(acceptance)),
                    Ok(None) => Err(guarded(None)),
                    Err(unfit) => Err(guarded(Some(unfit))),
                }
            }
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
                why: SourceFault::NoKeypad,
            });
        }
        // The module would wait at the keypad for as long as nobody comes.
        match self.attendance {
            Attendance::Attended(_) => Ok(()),
            Attendance::Unattended => Err(PinError::NobodyThere(self.source.clone())),
        }
    }
}
