//! The PIN flags of CK_TOKEN_INFO. No PIN is sent while one of them is set, unless it is CKF_USER_PIN_COUNT_LOW or
//! CKF_SO_PIN_COUNT_LOW and an operator accepts the risk.

use cryptoki::session::UserType;

use super::acceptance::{self, Acceptance, CountLow};
use super::attempt_file::{AttemptFile, AttemptScope};
use super::attendance::needs_operator;
use super::{Attendance, PinError};
use crate::rfc3339;
use crate::token::info::*;

/// A flag that is set.
struct FlagWarning {
    /// The flag's CKF_ name.
    flag: &'static str,
    meaning: &'static str,
    /// It is CKF_USER_PIN_COUNT_LOW or CKF_SO_PIN_COUNT_LOW, which an operator may accept.
    is_count_low: bool,
}

/// The most severe flag that is set for the PIN of `user`.
fn warning(user: UserType, info: &TokenInfo) -> Option<FlagWarning> {
    let so = matches!(user, UserType::So);
    let flag = |user_flag: (bool, &'static str), so_flag: (bool, &'static str)| {
        let (set, name) = if so { so_flag } else { user_flag };
        set.then_some(name)
    };
    let locked = flag(
        (info.has(CKF_USER_PIN_LOCKED), "CKF_USER_PIN_LOCKED"),
        (info.has(CKF_SO_PIN_LOCKED), "CKF_SO_PIN_LOCKED"),
    );
    let final_try = flag(
        (info.has(CKF_USER_PIN_FINAL_TRY), "CKF_USER_PIN_FINAL_TRY"),
        (info.has(CKF_SO_PIN_FINAL_TRY), "CKF_SO_PIN_FINAL_TRY"),
    );
    let to_be_changed = flag(
        (
            info.has(CKF_USER_PIN_TO_BE_CHANGED),
            "CKF_USER_PIN_TO_BE_CHANGED",
        ),
        (
            info.has(CKF_SO_PIN_TO_BE_CHANGED),
            "CKF_SO_PIN_TO_BE_CHANGED",
        ),
    );
    let count_low = flag(
        (info.has(CKF_USER_PIN_COUNT_LOW), "CKF_USER_PIN_COUNT_LOW"),
        (info.has(CKF_SO_PIN_COUNT_LOW), "CKF_SO_PIN_COUNT_LOW"),
    );
    let all = [
        (locked, "the PIN is locked"),
        (final_try, "one more wrong PIN locks it"),
        (to_be_changed, "the PIN is to be changed first"),
        (
            count_low,
            "a wrong PIN was tried lately, and nobody said that it may be tried again",
        ),
    ];
    all.into_iter().find_map(|(flag, meaning)| {
        let flag = flag?;
        let is_count_low = Some(flag) == count_low;
        Some(FlagWarning {
            flag,
            meaning,
            is_count_low,
        })
    })
}

/// Checks the token's flags before a login of `user`. If CKF_USER_PIN_COUNT_LOW is the only one, the attempt is allowed by
/// the confirmation of an operator at the terminal, or by an acceptance that was written beforehand. The acceptance is
/// returned, and has to be used up before the attempt.
pub(super) fn check(
    user: UserType,
    info: &TokenInfo,
    attendance: &Attendance,
    scope: AttemptScope<'_>,
) -> Result<Option<Acceptance>, PinError> {
    let Some(FlagWarning {
        flag,
        meaning,
        is_count_low,
    }) = warning(user, info)
    else {
        return Ok(None);
    };
    let guarded = |acceptance| PinError::Guarded {
        flag,
        meaning,
        acceptance,
        state_folder: scope.folder.map(Into::into),
    };
    match attendance {
        _ if !is_count_low => Err(guarded(None)),
        Attendance::Attended(_) => {
            match attendance.confirms(&format!("{flag}: {meaning}"), scope.source) {
                true => Ok(None),
                false => Err(guarded(None)),
            }
        }
        Attendance::Unattended if needs_operator(scope.source) => Err(guarded(None)),
        Attendance::Unattended => match scope.acceptance(flag, rfc3339::unix_now()) {
            Ok(Some(acceptance)) => Ok(Some(acceptance)),
            Ok(None) => Err(guarded(None)),
            Err(invalid) => Err(guarded(Some(invalid))),
        },
    }
}

/// Writes the operator's acceptance for one attempt, if the token's flag is set now and the retry policy allows an attempt.
pub(super) fn accept(
    user: UserType,
    info: &TokenInfo,
    scope: AttemptScope<'_>,
    file: &AttemptFile,
    version: &str,
) -> Result<CountLow, PinError> {
    let Some(FlagWarning {
        flag,
        meaning,
        is_count_low,
    }) = warning(user, info)
    else {
        return Ok(CountLow::NotSet);
    };
    if !is_count_low {
        return Err(PinError::Guarded {
            flag,
            meaning,
            acceptance: None,
            state_folder: scope.folder.map(Into::into),
        });
    }
    match file.allows(version) {
        Ok(()) | Err(PinError::TooSoon { .. }) => acceptance::write(flag, scope),
        Err(denied) => Err(denied),
    }
}
