//! All rules of the audit, room by room: the one place where a reviewer reads what is asked and why.
//! `docs/audit-rules.md` is this, written out.

mod certificate;
mod host;
mod key;
mod ledger;
mod token;

use super::rule::Rule;

/// Rules about one thing.
#[derive(Debug)]
pub struct Room {
    /// What the names of its rules begin with.
    pub name: &'static str,
    /// As a heading.
    pub title: &'static str,
    /// In the order of reports.
    pub rules: &'static [Rule],
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
        rules: token::TOKEN,
    },
    Room {
        name: "module",
        title: "The PKCS#11 module",
        rules: token::MODULE,
    },
    Room {
        name: "certificate",
        title: "The certificate",
        rules: certificate::CERTIFICATE,
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
        rules: certificate::ENVIRONMENTS,
    },
];

/// Every rule.
pub fn all() -> impl Iterator<Item = &'static Rule> {
    ROOMS.into_iter().flat_map(|room| room.rules)
}

/// The rules of a room.
pub fn of(room: &str) -> impl Iterator<Item = &'static Rule> {
    all().filter(move |rule| rule.room() == room)
}
