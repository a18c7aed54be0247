//! Rules of the category `ledger`: the record of the key's uses.

use crate::audit::rule::{Rule, Severity::*};

pub(crate) const RULES: &[&Rule] = &[&KEPT, &CHAIN, &HEAD, &PURPOSES, &REFUSALS, &OUTCOMES];

pub(crate) static KEPT: Rule = Rule {
    id: "ledger.kept",
    holds: "Each use of the key is recorded.",
    looks_at: "[ledger]",
    reason: "Nobody can say later what the key signed, or that it did not.",
    source: "Scheme policy: audit logs of all key usage",
    severity: [High, Low, Note],
    mend: "write `file` and `fsync` into [ledger]",
};

pub(crate) static CHAIN: Rule = Rule {
    id: "ledger.chain",
    holds: "The record is as it was written.",
    looks_at: "the chain of hashes over all its files",
    reason: "A record that was changed, removed or put in breaks it.",
    source: "hsm-mtls, docs/ledger.md",
    severity: [Critical, Critical, Medium],
    mend: "keep the files as they are: they are evidence; `hsm-mtls ledger verify` says where it breaks",
};

pub(crate) static HEAD: Rule = Rule {
    id: "ledger.head",
    holds: "Somebody else is told where the record ends.",
    looks_at: "`head` of [ledger]",
    reason: "Otherwise nothing shows that its end was cut off.",
    source: "hsm-mtls, docs/ledger.md",
    severity: [Low, Note, Note],
    mend: "set `head` of [ledger] to \"syslog\", or to a program that keeps it elsewhere",
};

pub(crate) static PURPOSES: Rule = Rule {
    id: "ledger.purposes",
    holds: "The key was used for what it is for.",
    looks_at: "purpose and peer of each signature: TLS with the configured hosts, requests, proofs and measurements",
    reason: "A signature for anything else is somebody else's.",
    source: "Scheme policy: one key per purpose",
    severity: [High, High, Low],
    mend: "find out who asked for it: `hsm-mtls ledger show` tells time, process and peer",
};

pub(crate) static REFUSALS: Rule = Rule {
    id: "ledger.refusals",
    holds: "Nobody asked for a signature that is not made.",
    looks_at: "records of kind `refused`",
    reason: "A front end asks for nothing else unless it was taken over, or is wrong.",
    source: "hsm-mtls, docs/signer.md",
    severity: [High, Medium, Low],
    mend: "keep ledger and logs, and look at what the front end did at that time",
};

pub(crate) static OUTCOMES: Rule = Rule {
    id: "ledger.outcomes",
    holds: "Each use that was begun has an end.",
    looks_at: "attempts without an outcome",
    reason: "A process that is killed leaves one, and one that is at it: the signature may have been made.",
    source: "hsm-mtls, docs/ledger.md",
    severity: [Note, Note, Note],
    mend: "compare the times with those at which the service was stopped or crashed",
};
