//! Rules of the category `token`: the device that has the key, and its flags.

use crate::audit::rule::{Rule, Severity::*};

pub(crate) const RULES: &[&Rule] = &[
    &HARDWARE,
    &FIPS,
    &BACKUP,
    &ATTESTATION,
    &LOGIN,
    &USER_PIN,
    &SO_PIN,
    &PROTECTED_PATH,
];

pub(crate) static HARDWARE: Rule = Rule {
    id: "token.hardware",
    holds: "The token is a device, not a program.",
    looks_at: "manufacturer, model and library of programs that are known; CKF_HW_SLOT",
    reason: "A software token keeps the key in a file: whoever reads the file and the PIN has the key, whatever its attributes claim.",
    source: "Scheme policy: FIPS 140-3 certified HSMs for generation, signing and storage",
    severity: [High, Medium, Note],
    mend: "use an HSM; a software token is for development and CI",
};

pub(crate) static FIPS: Rule = Rule {
    id: "token.fips",
    holds: "The device is certified to FIPS 140-3, and runs in that mode.",
    looks_at: "`fips_certificate` of [audit]",
    reason: "No call of PKCS#11 before 3.2 tells it: it is the operator's word.",
    source: "Scheme policy; FIPS 140-3",
    severity: [High, Low, Note],
    mend: "write the number of the certificate into [audit], and have the vendor's tool show the mode",
};

pub(crate) static BACKUP: Rule = Rule {
    id: "token.backup",
    holds: "It is laid down who backs the key up, and how.",
    looks_at: "`backup` of [audit]",
    reason: "A backup or a clone is a second place where the key is. No call tells of it.",
    source: "NIST SP 800-57 Part 1, section 8.2.2; PCI PIN 2",
    severity: [Low, Note, Note],
    mend: "write the policy, or where it stands, into [audit]",
};

pub(crate) static ATTESTATION: Rule = Rule {
    id: "token.attestation",
    holds: "The maker of the device attests that the key was made in it.",
    looks_at: "`attestation` of [audit]: a file of the vendor's",
    reason: "It is the only proof of CKA_LOCAL that does not rest on the module's word.",
    source: "Vendors' key attestation",
    severity: [Note, Note, Note],
    mend: "fetch the attestation with the vendor's tool, and name its file in [audit]",
};

pub(crate) static LOGIN: Rule = Rule {
    id: "token.login",
    holds: "The token wants a login.",
    looks_at: "CKF_LOGIN_REQUIRED",
    reason: "Without a login whoever runs a program on this machine can use its keys.",
    source: "PKCS#11 3.1, section 3.2",
    severity: [Critical, High, Low],
    mend: "initialise the token with a user PIN",
};

pub(crate) static USER_PIN: Rule = Rule {
    id: "token.user-pin",
    holds: "The user's PIN is in order.",
    looks_at: "CKF_USER_PIN_INITIALIZED; CKF_USER_PIN_COUNT_LOW, _FINAL_TRY, _LOCKED, _TO_BE_CHANGED",
    reason: "Tries that are missing were somebody's; a PIN that is to be changed is known to who set it.",
    source: "PKCS#11 3.1, section 3.2",
    severity: [Medium, Medium, Low],
    mend: "find out who tried, and set the PIN anew",
};

pub(crate) static SO_PIN: Rule = Rule {
    id: "token.so-pin",
    holds: "The security officer's PIN is in order.",
    looks_at: "CKF_SO_PIN_COUNT_LOW, _FINAL_TRY, _LOCKED, _TO_BE_CHANGED",
    reason: "Whoever tries the security officer's PIN wants to set the user's. Many tokens never tell.",
    source: "PKCS#11 3.1, section 3.2",
    severity: [Medium, Medium, Low],
    mend: "find out who tried; change a PIN that is still the one of the delivery",
};

pub(crate) static PROTECTED_PATH: Rule = Rule {
    id: "token.protected-path",
    holds: "It is known how the PIN gets to the token.",
    looks_at: "CKF_PROTECTED_AUTHENTICATION_PATH",
    reason: "A PIN that is typed at the device never comes near this machine.",
    source: "PKCS#11 3.1, section 3.2",
    severity: [Note, Note, Note],
    mend: "nothing: it is told for the reader",
};
