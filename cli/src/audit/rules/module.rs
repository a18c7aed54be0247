//! Rules of the category `module`: the PKCS#11 module and the libraries that it loads.

use crate::audit::rule::{Rule, Severity::*};

pub(crate) const RULES: &[&Rule] = &[&FILE, &LIBRARIES, &PINNED];

pub(crate) static FILE: Rule = Rule {
    id: "module.file",
    holds: "Nobody but root or this user can change the module.",
    looks_at: "owner and mode of the file and of every folder above it",
    reason: "The module is given the PIN, and runs with all rights of the process.",
    source: "hsm-mtls, audit-sources.md: the module is native code",
    severity: [Critical, High, Medium],
    mend: "let the file and its folders belong to root, writable by nobody else",
};

pub(crate) static LIBRARIES: Rule = Rule {
    id: "module.libraries",
    holds: "Nobody but root or this user can change a library that the module pulls in.",
    looks_at: "owner and mode of every file that is mapped with it",
    reason: "Such a library sees all that the module sees.",
    source: "hsm-mtls",
    severity: [Critical, High, Medium],
    mend: "let the file and its folders belong to root, writable by nobody else",
};

pub(crate) static PINNED: Rule = Rule {
    id: "module.pinned",
    holds: "The module is the file that was reviewed.",
    looks_at: "`module_sha256` of [[token]]",
    reason: "With it another file under the same name is not loaded.",
    source: "hsm-mtls",
    severity: [Note, Note, Note],
    mend: "write the SHA-256 that this report shows into `module_sha256`, after checking it with the vendor's",
};
