//! All rules of the audit, by category, with texts, sources and severities. `docs/audit-rules.md` is generated from them.
//! Each rule is a constant, named after its id: `host.key-files` is `host::KEY_FILES`.

pub(crate) mod certificate;
pub(crate) mod environments;
pub(crate) mod host;
pub(crate) mod key;
pub(crate) mod ledger;
pub(crate) mod module;
pub(crate) mod token;

use super::rule::Rule;

/// A group of rules.
#[derive(Debug)]
pub struct Category {
    /// The part of the rules' ids before the dot.
    pub name: &'static str,
    /// The heading in reports.
    pub title: &'static str,
    /// The rules, in the order of reports.
    pub rules: &'static [&'static Rule],
}

/// Every category, in the order of reports.
pub const CATEGORIES: [Category; 7] = [
    Category {
        name: "key",
        title: "The key",
        rules: key::RULES,
    },
    Category {
        name: "token",
        title: "The token",
        rules: token::RULES,
    },
    Category {
        name: "module",
        title: "The PKCS#11 module",
        rules: module::RULES,
    },
    Category {
        name: "certificate",
        title: "The certificate",
        rules: certificate::RULES,
    },
    Category {
        name: "host",
        title: "This machine",
        rules: host::RULES,
    },
    Category {
        name: "ledger",
        title: "The record of uses",
        rules: ledger::RULES,
    },
    Category {
        name: "environments",
        title: "Several environments",
        rules: environments::RULES,
    },
];

/// Every rule.
pub fn all() -> impl Iterator<Item = &'static Rule> {
    CATEGORIES
        .into_iter()
        .flat_map(|category| category.rules)
        .copied()
}
