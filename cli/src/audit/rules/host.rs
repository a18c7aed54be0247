//! Rules of the category `host`: the machine on which the key is used, its files, the PIN's source, callers of the proxy.

use crate::audit::rule::{Rule, Severity::*};

pub(crate) const RULES: &[&Rule] = &[
    &CONFIGURATION,
    &PIN,
    &TRUST_ANCHORS,
    &LEDGER,
    &STATE,
    &KEY_FILES,
    &CALLERS,
    &HARDENING,
    &LISTENS,
];

pub(crate) static CONFIGURATION: Rule = Rule {
    id: "host.configuration",
    holds: "Nobody but root or this user can change the configuration, or what the module reads by it.",
    looks_at: "owner and mode of the file and of every folder and link on the way to it; `working_dir`, `env`, `landlock`, access log and `attestation` too",
    reason: "It says which module is loaded, which programs are run, and where the certificate is shown.",
    source: "hsm-mtls",
    severity: [High, High, Medium],
    mend: "let the file and its folders belong to root or the service's user, writable by nobody else",
};

pub(crate) static PIN: Rule = Rule {
    id: "host.pin",
    holds: "Nobody else can read the PIN.",
    looks_at: "owner and mode of the file, credential or program that gives it",
    reason: "Whoever has the PIN can use the key as long as the token is reachable.",
    source: "Scheme policy; PCI PIN 2",
    severity: [Critical, Critical, Medium],
    mend: "let the PIN come from a systemd credential, or from a file that only its owner can read (0400)",
};

pub(crate) static TRUST_ANCHORS: Rule = Rule {
    id: "host.trust-anchors",
    holds: "Nobody but root or this user can change certificate and trust anchors.",
    looks_at: "owner and mode of the files and of every folder above them",
    reason: "Whoever puts a root there is the hub for us.",
    source: "hsm-mtls",
    severity: [High, High, Low],
    mend: "let the files and their folders belong to root or the service's user, writable by nobody else",
};

pub(crate) static LEDGER: Rule = Rule {
    id: "host.ledger",
    holds: "Nobody else can write to the record of uses, and not everybody can read it.",
    looks_at: "owner and mode of the ledger, of the program of `head`, and of every folder and link on the way to them",
    reason: "What others can change proves nothing.",
    source: "Scheme policy: audit logs of all key usage",
    severity: [High, Medium, Low],
    mend: "let file and folder belong to the service's user, with 0640 and 0750 at the most",
};

pub(crate) static STATE: Rule = Rule {
    id: "host.state",
    holds: "Nobody else can change what is remembered of refused PINs.",
    looks_at: "owner and mode of `state_dir` and of every folder and link on the way to it",
    reason: "Whoever clears it lets a wrong PIN be tried until the token is locked.",
    source: "hsm-mtls, audit-sources.md: a PIN is tried once",
    severity: [Medium, Medium, Low],
    mend: "let the folder belong to the service's user, with 0700",
};

pub(crate) static KEY_FILES: Rule = Rule {
    id: "host.key-files",
    holds: "No file holds the key.",
    looks_at: "files in the folders of --search, by their public key",
    reason: "A copy in a file is the key outside of the token.",
    source: "Scheme policy: generation, signing and storage in the HSM",
    severity: [Critical, Critical, High],
    mend: "treat the key as exposed: make a new one in the token, have the certificate revoked, and remove the file",
};

pub(crate) static CALLERS: Rule = Rule {
    id: "host.callers",
    holds: "Only named callers can use the proxy, and nobody can put another socket in its place.",
    looks_at: "`callers` and `mode` of each [[proxy.listener]], who can write to the folder of its socket, and who can read a caller token",
    reason: "Whoever may call is the bank for the hub.",
    source: "hsm-mtls, audit-sources.md: confused deputy",
    severity: [High, Medium, Note],
    mend: "name users or groups in `callers` of a Unix socket, or give TCP a caller token",
};

pub(crate) static HARDENING: Rule = Rule {
    id: "host.hardening",
    holds: "The process that has module and PIN is hardened.",
    looks_at: "a signer process, started for this: not dumpable, no core files, no new privileges, few descriptors, locked memory where there is swap",
    reason: "It keeps others of the same user from the PIN in its memory.",
    source: "hsm-mtls, docs/signer.md",
    severity: [Medium, Low, Note],
    mend: "see what stands in the way: `hsm-mtls token check` says it too",
};

pub(crate) static LISTENS: Rule = Rule {
    id: "host.listens",
    holds: "It is known where the proxy listens.",
    looks_at: "[[proxy.listener]] and [proxy.operations]",
    reason: "For the reader: who could call at all.",
    source: "hsm-mtls",
    severity: [Note, Note, Note],
    mend: "nothing: it is told for the reader",
};
