//! The CKF_ names of the flags in CK_TOKEN_INFO and CK_MECHANISM_INFO (PKCS#11 3.1, sections 3.2 and 3.5).

/// Flags of CK_TOKEN_INFO.
const OF_TOKEN: [(u64, &str); 20] = [
    (1 << 0, "CKF_RNG"),
    (1 << 1, "CKF_WRITE_PROTECTED"),
    (1 << 2, "CKF_LOGIN_REQUIRED"),
    (1 << 3, "CKF_USER_PIN_INITIALIZED"),
    (1 << 5, "CKF_RESTORE_KEY_NOT_NEEDED"),
    (1 << 6, "CKF_CLOCK_ON_TOKEN"),
    (1 << 8, "CKF_PROTECTED_AUTHENTICATION_PATH"),
    (1 << 9, "CKF_DUAL_CRYPTO_OPERATIONS"),
    (1 << 10, "CKF_TOKEN_INITIALIZED"),
    (1 << 11, "CKF_SECONDARY_AUTHENTICATION"),
    (1 << 16, "CKF_USER_PIN_COUNT_LOW"),
    (1 << 17, "CKF_USER_PIN_FINAL_TRY"),
    (1 << 18, "CKF_USER_PIN_LOCKED"),
    (1 << 19, "CKF_USER_PIN_TO_BE_CHANGED"),
    (1 << 20, "CKF_SO_PIN_COUNT_LOW"),
    (1 << 21, "CKF_SO_PIN_FINAL_TRY"),
    (1 << 22, "CKF_SO_PIN_LOCKED"),
    (1 << 23, "CKF_SO_PIN_TO_BE_CHANGED"),
    (1 << 24, "CKF_ERROR_STATE"),
    (1 << 25, "CKF_SEED_RANDOM_REQUIRED"),
];

/// Flags of CK_MECHANISM_INFO.
const OF_MECHANISM: [(u64, &str); 21] = [
    (1 << 0, "CKF_HW"),
    (1 << 8, "CKF_ENCRYPT"),
    (1 << 9, "CKF_DECRYPT"),
    (1 << 10, "CKF_DIGEST"),
    (1 << 11, "CKF_SIGN"),
    (1 << 12, "CKF_SIGN_RECOVER"),
    (1 << 13, "CKF_VERIFY"),
    (1 << 14, "CKF_VERIFY_RECOVER"),
    (1 << 15, "CKF_GENERATE"),
    (1 << 16, "CKF_GENERATE_KEY_PAIR"),
    (1 << 17, "CKF_WRAP"),
    (1 << 18, "CKF_UNWRAP"),
    (1 << 19, "CKF_DERIVE"),
    (1 << 20, "CKF_EC_F_P"),
    (1 << 21, "CKF_EC_F_2M"),
    (1 << 22, "CKF_EC_ECPARAMETERS"),
    (1 << 23, "CKF_EC_OID"),
    (1 << 24, "CKF_EC_UNCOMPRESS"),
    (1 << 25, "CKF_EC_COMPRESS"),
    (1 << 26, "CKF_EC_CURVENAME"),
    (1 << 31, "CKF_EXTENSION"),
];

/// The names of the flags of a CK_TOKEN_INFO, lowest first.
pub(super) fn of_token(flags: u64) -> Vec<String> {
    names(&OF_TOKEN, flags)
}

/// The names of the flags of a CK_MECHANISM_INFO, lowest first.
pub(super) fn of_mechanism(flags: u64) -> Vec<String> {
    names(&OF_MECHANISM, flags)
}

/// What has no name is one number at the end.
fn names(known: &[(u64, &str)], flags: u64) -> Vec<String> {
    let mut rest = flags;
    let mut names = Vec::new();
    for (flag, name) in known {
        if flags & flag != 0 {
            names.push((*name).to_owned());
            rest &= !flag;
        }
    }
    if rest != 0 {
        names.push(format!("{rest:#x}"));
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bit_is_told_once() {
        assert_eq!(of_token(0), Vec::<String>::new());
        let named = ["CKF_RNG", "CKF_LOGIN_REQUIRED", "0x8000000000000010"];
        assert_eq!(of_token(0x8000_0000_0000_0015), named);
        assert_eq!(of_mechanism(0x0001_0801).len(), 3);
        let all = of_mechanism(u64::MAX);
        assert_eq!(all.len(), OF_MECHANISM.len() + 1);
    }
}
