//! Rules of the category `environments`: what two environments must not share.

use crate::audit::rule::{Rule, Severity::*};

pub(crate) const RULES: &[&Rule] = &[&KEYS, &ISSUERS, &TOKENS, &PINS];

pub(crate) static KEYS: Rule = Rule {
    id: "environments.keys",
    holds: "No key is in two environments.",
    looks_at: "the public keys of all private keys that each user can see",
    reason: "Whoever has the weaker environment has the other.",
    source: "UAE Open Finance: key material must not be shared between environments",
    severity: [Critical, Critical, Medium],
    mend: "make a key for each environment, and ask for new certificates",
};

pub(crate) static ISSUERS: Rule = Rule {
    id: "environments.issuers",
    holds: "The certificates of two environments have different issuers.",
    looks_at: "the issuers",
    reason: "Each environment has a Trust Framework of its own.",
    source: "UAE Open Finance, environments",
    severity: [High, High, Low],
    mend: "ask for each certificate in the Trust Framework of its environment",
};

pub(crate) static TOKENS: Rule = Rule {
    id: "environments.tokens",
    holds: "The keys of two environments are in different tokens.",
    looks_at: "label and serial number of the tokens",
    reason: "One PIN would open both.",
    source: "Scheme policy: keys of environments kept apart",
    severity: [Medium, Medium, Note],
    mend: "use a partition or token for each environment",
};

pub(crate) static PINS: Rule = Rule {
    id: "environments.pins",
    holds: "The PINs of two environments come from different places.",
    looks_at: "`pin` of [[token]]",
    reason: "Whoever reads the one has the other.",
    source: "Scheme policy: keys of environments kept apart",
    severity: [Medium, Medium, Note],
    mend: "give each environment a PIN and a source of its own",
};
