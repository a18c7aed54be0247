//! Rules of the category `key`: extraction now and in the past, access, usage.

use crate::audit::rule::{Rule, Severity::*};

pub(crate) const RULES: &[&Rule] = &[
    &READABLE,
    &WRAPPABLE,
    &SENSITIVE,
    &EXTRACTABLE,
    &ALWAYS_SENSITIVE,
    &NEVER_EXTRACTABLE,
    &LOCAL,
    &GENERATED,
    &PRIVATE,
    &HIDDEN,
    &USAGE,
    &SIGN_RECOVER,
    &MODIFIABLE,
    &COPYABLE,
    &DESTROYABLE,
    &WRAP_WITH_TRUSTED,
    &ALLOWED_MECHANISMS,
    &ALWAYS_AUTHENTICATE,
    &DATES,
    &TYPE,
    &TWIN,
    &TWIN_HELD,
    &PURPOSE,
    &APART,
    &SIGNS,
    &COPY_TRIED,
    &CHANGE_TRIED,
    &WRAP_TRIED,
    &TRIALS_GONE,
];

pub(crate) static READABLE: Rule = Rule {
    id: "key.readable",
    holds: "No private component of the key is told.",
    looks_at: "C_GetAttributeValue on CKA_PRIVATE_EXPONENT, the primes or CKA_VALUE, asked for their length only",
    reason: "What the module claims is one thing; a length that it answers shows that the key can be read.",
    source: "PKCS#11 3.1, section 5.7.5",
    severity: [Critical, Critical, High],
    mend: "replace the key: make a new one with `hsm-mtls key generate`, and treat this one as exposed",
};

pub(crate) static WRAPPABLE: Rule = Rule {
    id: "key.wrappable",
    holds: "No wrapping key that is there can take the key out.",
    looks_at: "C_WrapKey with each wrapping key that can be seen, with no place for its output",
    reason: "A key that can be wrapped leaves the token encrypted under a key that may be known elsewhere.",
    source: "PKCS#11 3.1, section 5.18.3",
    severity: [Critical, Critical, High],
    mend: "replace the key by one with CKA_EXTRACTABLE false, and ask what the wrapping key is for",
};

pub(crate) static SENSITIVE: Rule = Rule {
    id: "key.sensitive",
    holds: "The key is never told in plain text.",
    looks_at: "CKA_SENSITIVE true",
    reason: "A key that is not sensitive is read by a single call.",
    source: "PKCS#11 3.1, section 4.9; our reading of the scheme's custody rules",
    severity: [Critical, Critical, High],
    mend: "replace the key: make a new one with `hsm-mtls key generate`, and treat this one as exposed",
};

pub(crate) static EXTRACTABLE: Rule = Rule {
    id: "key.extractable",
    holds: "The key cannot be taken out of the token.",
    looks_at: "CKA_EXTRACTABLE false",
    reason: "An extractable key leaves the token wrapped.",
    source: "PKCS#11 3.1, section 4.9; our reading of the scheme's custody rules",
    severity: [Critical, Critical, High],
    mend: "replace the key: make a new one with `hsm-mtls key generate`, and treat this one as exposed",
};

pub(crate) static ALWAYS_SENSITIVE: Rule = Rule {
    id: "key.always-sensitive",
    holds: "The key has been sensitive since it was made.",
    looks_at: "CKA_ALWAYS_SENSITIVE true",
    reason: "A key that was once readable may have been read.",
    source: "PKCS#11 3.1, section 4.9",
    severity: [High, High, Low],
    mend: "replace the key by one that is made in the token as sensitive",
};

pub(crate) static NEVER_EXTRACTABLE: Rule = Rule {
    id: "key.never-extractable",
    holds: "The key could never be taken out.",
    looks_at: "CKA_NEVER_EXTRACTABLE true",
    reason: "A key that was once extractable may have been taken out.",
    source: "PKCS#11 3.1, section 4.9",
    severity: [High, High, Low],
    mend: "replace the key by one that is made in the token as not extractable",
};

pub(crate) static LOCAL: Rule = Rule {
    id: "key.local",
    holds: "The key was made in this token.",
    looks_at: "CKA_LOCAL true",
    reason: "An imported key existed outside before, and nobody can show that no copy was kept.",
    source: "PKCS#11 3.1, section 4.7; scheme policy: generation in the HSM",
    severity: [High, High, Low],
    mend: "replace the key by one that is made with `hsm-mtls key generate` or in the vendor's ceremony",
};

pub(crate) static GENERATED: Rule = Rule {
    id: "key.generated",
    holds: "The mechanism that made the key is told, and makes key pairs.",
    looks_at: "CKA_KEY_GEN_MECHANISM",
    reason: "It has to agree with CKA_LOCAL; a module that says one and not the other is not to be believed in either.",
    source: "PKCS#11 3.1, section 4.7",
    severity: [Low, Low, Note],
    mend: "ask the vendor what the module tells of imported keys",
};

pub(crate) static PRIVATE: Rule = Rule {
    id: "key.private",
    holds: "The key is shown only after a login.",
    looks_at: "CKA_PRIVATE true",
    reason: "Whoever opens a session could use it without a PIN.",
    source: "PKCS#11 3.1, section 4.4",
    severity: [Critical, High, Low],
    mend: "replace the key by one with CKA_PRIVATE true",
};

pub(crate) static HIDDEN: Rule = Rule {
    id: "key.hidden",
    holds: "Before the login the key is not to be found.",
    looks_at: "C_FindObjects in a session without a login",
    reason: "The claim of CKA_PRIVATE, tried.",
    source: "PKCS#11 3.1, section 4.4",
    severity: [Critical, High, Low],
    mend: "replace the key by one with CKA_PRIVATE true; if it has that, the token does not keep to it: ask the vendor",
};

pub(crate) static USAGE: Rule = Rule {
    id: "key.usage",
    holds: "The key can sign, and nothing else.",
    looks_at: "CKA_SIGN true; CKA_DECRYPT, CKA_UNWRAP and CKA_DERIVE false",
    reason: "A key for several uses can be turned against itself: what it decrypts may be what it should have signed.",
    source: "NIST SP 800-57 Part 1, section 5.2; PCI PIN 2, key usage",
    severity: [High, High, Low],
    mend: "replace the key by one that can only sign",
};

pub(crate) static SIGN_RECOVER: Rule = Rule {
    id: "key.sign-recover",
    holds: "The key makes no signatures that hold their own message.",
    looks_at: "CKA_SIGN_RECOVER false",
    reason: "TLS has no use for them, and many tokens allow them unless they are told not to.",
    source: "PKCS#11 3.1, section 5.13.6",
    severity: [Low, Low, Note],
    mend: "replace the key at the next rotation: `hsm-mtls key generate` says CKA_SIGN_RECOVER false where the token can do that",
};

pub(crate) static MODIFIABLE: Rule = Rule {
    id: "key.modifiable",
    holds: "The attributes of the key cannot be changed.",
    looks_at: "CKA_MODIFIABLE false",
    reason: "Label, id and usages of a modifiable key can be changed by whoever has the PIN.",
    source: "PKCS#11 3.1, section 4.4",
    severity: [Low, Low, Note],
    mend: "replace the key by one with CKA_MODIFIABLE false, where the token can do that",
};

pub(crate) static COPYABLE: Rule = Rule {
    id: "key.copyable",
    holds: "The key cannot be copied within the token.",
    looks_at: "CKA_COPYABLE false",
    reason: "A copy may be given other attributes, and outlives the key.",
    source: "PKCS#11 3.1, section 4.4",
    severity: [Low, Low, Note],
    mend: "replace the key by one with CKA_COPYABLE false, where the token can do that",
};

pub(crate) static DESTROYABLE: Rule = Rule {
    id: "key.destroyable",
    holds: "The key cannot be destroyed by whoever signs with it.",
    looks_at: "CKA_DESTROYABLE false",
    reason: "Whoever has the PIN can end the bank's connection to the hub for as long as a new certificate takes.",
    source: "PKCS#11 3.1, section 4.4",
    severity: [Note, Note, Note],
    mend: "where the HSM knows roles, let the signing role not destroy; keep a second key and certificate ready",
};

pub(crate) static WRAP_WITH_TRUSTED: Rule = Rule {
    id: "key.wrap-with-trusted",
    holds: "If the key can be wrapped at all, then only by a wrapping key that the security officer trusts.",
    looks_at: "CKA_WRAP_WITH_TRUSTED, where CKA_EXTRACTABLE is true",
    reason: "Otherwise any wrapping key of the user's takes it out.",
    source: "PKCS#11 3.1, section 4.9",
    severity: [High, High, Low],
    mend: "replace the key by one with CKA_EXTRACTABLE false",
};

pub(crate) static ALLOWED_MECHANISMS: Rule = Rule {
    id: "key.allowed-mechanisms",
    holds: "The mechanisms of the key are limited to signatures.",
    looks_at: "CKA_ALLOWED_MECHANISMS",
    reason: "A limit that names anything but signatures is a mistake; none at all leaves it to the usages.",
    source: "PKCS#11 3.1, section 4.7",
    severity: [Low, Low, Note],
    mend: "replace the key by one whose mechanisms are signatures of TLS",
};

pub(crate) static ALWAYS_AUTHENTICATE: Rule = Rule {
    id: "key.always-authenticate",
    holds: "It is known whether each signature wants a PIN of its own.",
    looks_at: "CKA_ALWAYS_AUTHENTICATE",
    reason: "It decides what a stolen session is worth.",
    source: "PKCS#11 3.1, section 4.9",
    severity: [Note, Note, Note],
    mend: "ask the vendor",
};

pub(crate) static DATES: Rule = Rule {
    id: "key.dates",
    holds: "The key is in its time.",
    looks_at: "CKA_START_DATE and CKA_END_DATE, where they are set",
    reason: "A token may stop signing after it, or not; both are a surprise.",
    source: "PKCS#11 3.1, section 4.7; scheme policy: rotation within 13 months",
    severity: [Medium, Medium, Note],
    mend: "rotate to a new key",
};

pub(crate) static TYPE: Rule = Rule {
    id: "key.type",
    holds: "Type and size are those that the scheme accepts.",
    looks_at: "CKA_KEY_TYPE and the size of the public key: RSA, 2048 bits",
    reason: "The Trust Framework certifies RSA keys of 2048 bits only.",
    source: "UAE Open Finance, Trust Framework PKI (audit-sources.md: the only type that its current pages accept)",
    severity: [High, High, Note],
    mend: "make an RSA key of 2048 bits: `hsm-mtls key generate`",
};

pub(crate) static TWIN: Rule = Rule {
    id: "key.twin",
    holds: "No second private key in the token has the same public key.",
    looks_at: "all private keys that the user can see",
    reason: "A second object may have other attributes: what the one refuses the other may do.",
    source: "hsm-mtls",
    severity: [High, High, Low],
    mend: "look at both with `hsm-mtls key list`, and let the security officer remove the one that nobody uses",
};

pub(crate) static TWIN_HELD: Rule = Rule {
    id: "key.twin-held",
    holds: "Such a second object cannot be read or taken out either.",
    looks_at: "claims and trials of every private key with the same public key",
    reason: "It is the same key: what leaves there has left.",
    source: "hsm-mtls",
    severity: [Critical, Critical, High],
    mend: "replace the key, and treat this one as exposed",
};

pub(crate) static PURPOSE: Rule = Rule {
    id: "key.purpose",
    holds: "The key has one certificate, and so one purpose.",
    looks_at: "certificates in the token with the same public key and another subject",
    reason: "One key for two purposes lets what is signed for the one be used for the other.",
    source: "NIST SP 800-57 Part 1, section 5.2; scheme policy: C3 and Sig4 apart",
    severity: [High, High, Low],
    mend: "make a key of its own for each purpose",
};

pub(crate) static APART: Rule = Rule {
    id: "key.apart",
    holds: "C3 and Sig4 have a key each.",
    looks_at: "the public keys of both, where there is [sig4]; judged with Sig4",
    reason: "One key for handshakes and tokens lets what is signed for the one be used for the other.",
    source: "NIST SP 800-57 Part 1, section 5.2; scheme policy: C3 and Sig4 apart",
    severity: [Critical, High, Low],
    mend: "make a key of its own with `hsm-mtls key generate --sig4`, and have its certificate issued",
};

pub(crate) static SIGNS: Rule = Rule {
    id: "key.signs",
    holds: "The key signs a fresh challenge, and the signature verifies.",
    looks_at: "C_Sign over 32 random bytes with a prefix, verified with the certificate's public key, or the token's where there is none",
    reason: "Shows that the key is there and can be used by this user: not only that an object has its name.",
    source: "hsm-mtls, audit-sources.md: prove the pair",
    severity: [High, High, High],
    mend: "run `hsm-mtls token check`",
};

pub(crate) static COPY_TRIED: Rule = Rule {
    id: "key.copy-tried",
    holds: "A copy of a key like this cannot be made extractable or readable.",
    looks_at: "C_CopyObject on a disposable session key of the same template (with --active)",
    reason: "Some tokens let a copy have what the original refuses.",
    source: "PKCS#11 3.1, sections 4.1.3 and 4.9",
    severity: [Critical, High, Low],
    mend: "ask the vendor for a firmware that keeps copies to the rules, and use CKA_COPYABLE false",
};

pub(crate) static CHANGE_TRIED: Rule = Rule {
    id: "key.change-tried",
    holds: "A key like this cannot be made extractable or readable.",
    looks_at: "C_SetAttributeValue on a disposable session key of the same template (with --active)",
    reason: "CKA_SENSITIVE may only be set, CKA_EXTRACTABLE only be cleared.",
    source: "PKCS#11 3.1, section 4.9",
    severity: [Critical, High, Low],
    mend: "ask the vendor for a firmware that keeps to the rules",
};

pub(crate) static WRAP_TRIED: Rule = Rule {
    id: "key.wrap-tried",
    holds: "A key like this cannot be wrapped by a wrapping key of the user's own.",
    looks_at: "C_WrapKey with no place for its output, on a disposable session key of the same template (with --active)",
    reason: "Whoever has the PIN can make a wrapping key.",
    source: "PKCS#11 3.1, section 5.18.3",
    severity: [Critical, High, Low],
    mend: "replace the key by one with CKA_EXTRACTABLE false; if it has that, ask the vendor",
};

pub(crate) static TRIALS_GONE: Rule = Rule {
    id: "key.trials-gone",
    holds: "What the trials made is gone.",
    looks_at: "C_DestroyObject of each disposable object (with --active)",
    reason: "An audit leaves nothing behind.",
    source: "hsm-mtls",
    severity: [High, Medium, Low],
    mend: "look at the token with `hsm-mtls key list`; session objects go with their session at the latest",
};
