//! The limits that a device has: calls in a second, lengths of random numbers, one algorithm for each key.

use cryptoki_sys::*;

use crate::words::{code_named, function_named, mechanism_named, number};

/// A function that the device carries out only so often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Throttle {
    pub(crate) function: String,
    /// Calls in each second.
    pub(crate) per_second: usize,
    pub(crate) code: CK_RV,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DeviceLimits {
    pub(crate) throttles: Vec<Throttle>,
    /// How many bytes C_GenerateRandom gives: the least and the most, and the code for others.
    random_length: Option<(CK_ULONG, CK_ULONG, CK_RV)>,
    /// The only mechanism of keys, and the hash that it must have.
    signs_only: Option<(CK_MECHANISM_TYPE, CK_MECHANISM_TYPE)>,
}

impl DeviceLimits {
    /// Parses a line about limits; `false`: it is about something else.
    pub(crate) fn parse_line(&mut self, words: &[&str]) -> Result<bool, String> {
        match words {
            ["throttle", function, per_second, code] => self.throttles.push(Throttle {
                function: function_named(function)?,
                per_second: number(per_second)?,
                code: code_named(code)?,
            }),
            ["random-length", least, most, code] => {
                self.random_length = Some((number(least)?, number(most)?, code_named(code)?));
            }
            ["signs-only", mechanism, hash] => {
                self.signs_only = Some((mechanism_named(mechanism)?, mechanism_named(hash)?));
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The return value of C_GenerateRandom for so many bytes.
    pub(crate) fn refusal_of_random(&self, length: CK_ULONG) -> Option<CK_RV> {
        let (least, most, code) = self.random_length?;
        (!(least..=most).contains(&length)).then_some(code)
    }

    /// The return value of C_SignInit for a mechanism and its hash that are not the keys' (libkmsp11: CheckKeyPreconditions).
    pub(crate) fn refusal_of_mechanism(
        &self,
        mechanism: CK_MECHANISM_TYPE,
        hash: Option<CK_MECHANISM_TYPE>,
    ) -> Option<CK_RV> {
        match self.signs_only? {
            (only, _) if only != mechanism => Some(CKR_KEY_FUNCTION_NOT_PERMITTED),
            (_, only) if hash.is_some_and(|hash| hash != only) => Some(CKR_MECHANISM_PARAM_INVALID),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_about_the_device() {
        let mut rules = DeviceLimits::default();
        for line in [
            "random-length 8 1024 CKR_ARGUMENTS_BAD",
            "signs-only CKM_RSA_PKCS_PSS CKM_SHA256",
        ] {
            let words: Vec<_> = line.split_whitespace().collect();
            assert_eq!(rules.parse_line(&words), Ok(true), "{line}");
        }
        assert_eq!(rules.refusal_of_random(4), Some(CKR_ARGUMENTS_BAD));
        assert_eq!(rules.refusal_of_random(8), None);
        let pss = |hash| rules.refusal_of_mechanism(CKM_RSA_PKCS_PSS, Some(hash));
        assert_eq!(pss(CKM_SHA256), None);
        assert_eq!(pss(CKM_SHA512), Some(CKR_MECHANISM_PARAM_INVALID));
        let pkcs1 = rules.refusal_of_mechanism(CKM_RSA_PKCS, None);
        assert_eq!(pkcs1, Some(CKR_KEY_FUNCTION_NOT_PERMITTED));
        assert!(
            rules
                .parse_line(&["throttle", "C_Sign", "x", "CKR_OK"])
                .is_err()
        );
    }
}
