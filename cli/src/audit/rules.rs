//! All rules of the audit, room by room: the one place where a reviewer reads what is asked and why.
//! `docs/audit-rules.md` is this, written out. Each rule is a constant, named after its id:
//! `host.key-files` is `host::KEY_FILES`.

pub(crate) mod certificate;
pub(crate) mod environments;
pub(crate) mod host;
pub(crate) mod key;
pub(crate) mod ledger;
pub(crate) mod module;
pub(crate) mod token;

use super::rule::Rule;

/// Rules about one thing.
#[derive(Debug)]
pub struct Room {
    /// What the names of its rules begin with.
    pub name: &'static str,
    /// As a heading.
    pub title: &'static str,
    /// In the order of reports.
    pub rules: &'static [&'static Rule],
}

/// Every room, in the order of reports.
pub const ROOMS: [Room; 7] = [
    Room {
        name: "key",
        title: "The key",
        rules: key::RULES,
    },
    Room {
        name: "token",
        title: "The token",
        rules: token::RULES,
    },
    Room {
        name: "module",
        title: "The PKCS#11 module",
        rules: module::RULES,
    },
    Room {
        name: "certificate",
        title: "The certificate",
        rules: certificate::RULES,
    },
    Room {
        name: "host",
        title: "This machine",
        rules: host::RULES,
    },
    Room {
        name: "ledger",
        title: "The record of uses",
        rules: ledger::RULES,
    },
    Room {
        name: "environments",
        title: "Several environments",
        rules: environments::RULES,
    },
];

/// Every rule.
pub fn all() -> impl Iterator<Item = &'static Rule> {
    ROOMS.into_iter().flat_map(|room| room.rules).copied()
}
