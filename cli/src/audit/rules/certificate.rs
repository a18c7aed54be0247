//! Rules of the category `certificate`: dates, chain, purpose, subject, revocation.

use crate::audit::rule::{Rule, Severity::*};

pub(crate) const RULES: &[&Rule] = &[
    &PAIR, &CHAIN, &DATES, &RENEWAL, &LIFETIME, &PURPOSE, &SUBJECT, &REVOKED,
];

pub(crate) static PAIR: Rule = Rule {
    id: "certificate.pair",
    holds: "The certificate is of this key.",
    looks_at: "the public keys, and the signature of the challenge",
    reason: "Otherwise the hub refuses us, or knows somebody else by our name.",
    source: "RFC 8446, section 4.4.3",
    severity: [High, High, High],
    mend: "install the certificate that was issued for this key: `hsm-mtls cert install`",
};

pub(crate) static CHAIN: Rule = Rule {
    id: "certificate.chain",
    holds: "It chains to the Trust Framework of its environment.",
    looks_at: "each signature up to a root of `anchors`, and the names of the CAs",
    reason: "A certificate of the sandbox is not valid in production, nor the other way round.",
    source: "UAE Open Finance, Trust Framework PKI",
    severity: [High, High, Medium],
    mend: "ask for a certificate in the right Trust Framework, with a key of that environment",
};

pub(crate) static DATES: Rule = Rule {
    id: "certificate.dates",
    holds: "It is in its time.",
    looks_at: "notBefore and notAfter",
    reason: "The hub refuses it otherwise.",
    source: "RFC 5280, section 4.1.2.5",
    severity: [High, High, Low],
    mend: "install a certificate that is valid now",
};

pub(crate) static RENEWAL: Rule = Rule {
    id: "certificate.renewal",
    holds: "More than 60 days are left.",
    looks_at: "notAfter: low from 60 days on, medium from 30, high from 14, critical from 7",
    reason: "A new one takes a request, an approval, and a change on a day that can be chosen.",
    source: "Scheme policy: rotation within 13 months; operators monitor expiry themselves",
    severity: [Critical, Critical, Note],
    mend: "make a new key, ask for its certificate, and change over while both are valid",
};

pub(crate) static LIFETIME: Rule = Rule {
    id: "certificate.lifetime",
    holds: "It is valid for 13 months at the most.",
    looks_at: "the days from notBefore to notAfter: 398",
    reason: "A key is to be rotated within 13 months.",
    source: "Scheme policy: rotation within 13 months",
    severity: [Medium, Medium, Note],
    mend: "ask the Trust Framework why it is valid for so long, and rotate in time",
};

pub(crate) static PURPOSE: Rule = Rule {
    id: "certificate.purpose",
    holds: "It is for clients, and of no CA.",
    looks_at: "basicConstraints, keyUsage digitalSignature, extendedKeyUsage clientAuth",
    reason: "A server that checks refuses it; a CA's could make us anybody.",
    source: "RFC 5280, sections 4.2.1.3, 4.2.1.9 and 4.2.1.12",
    severity: [High, High, Medium],
    mend: "ask for a C3 certificate",
};

pub(crate) static SUBJECT: Rule = Rule {
    id: "certificate.subject",
    holds: "The subject is C, O, OU, CN, with the ids of the Trust Framework in OU and CN.",
    looks_at: "the subject: C of two letters, UUIDs in OU and CN",
    reason: "The hub knows us by it.",
    source: "UAE Open Finance, the C3 certificate",
    severity: [Medium, Medium, Note],
    mend: "ask for a certificate with the subject that `hsm-mtls csr` writes",
};

pub(crate) static REVOKED: Rule = Rule {
    id: "certificate.revoked",
    holds: "It is on no revocation list of its issuer's.",
    looks_at: "the lists in `crls` of [trust]",
    reason: "The hub refuses a certificate that was revoked, and somebody had a reason to.",
    source: "RFC 5280, section 5",
    severity: [Critical, Critical, Medium],
    mend: "find out who revoked it and why; make a new key and ask for its certificate",
};
