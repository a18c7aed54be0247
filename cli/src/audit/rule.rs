//! The type of an audit rule: a requirement with its reason, its source, and the severity of a violation in each profile.

use std::fmt::{self, Display};

use serde::{Deserialize, Serialize};

use super::rules;

/// A requirement on key, token, module, certificate, host, ledger or environments.
#[derive(Debug, Serialize)]
pub struct Rule {
    /// Its id in reports; the same in all versions.
    pub id: &'static str,
    /// The requirement, as a sentence.
    pub holds: &'static str,
    /// The attribute, flag or fact that is examined.
    pub looks_at: &'static str,
    /// Why it is required.
    pub reason: &'static str,
    /// The document that requires it.
    pub source: &'static str,
    /// The severity of a violation in production, preprod and development.
    pub severity: [Severity; 3],
    /// How to correct a violation.
    pub mend: &'static str,
}

/// The severity of a violation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing; no finding.
    Note,
    /// A finding that can wait.
    Low,
    /// A finding.
    Medium,
    /// A finding that weakens the custody of the key.
    High,
    /// The key can leave, or has left, or somebody else can use it.
    Critical,
}

impl Severity {
    /// The severity in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

impl Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The kind of environment that severities depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// The real hub.
    Production,
    /// The hub's pre-production.
    Preprod,
    /// A developer's machine, or CI.
    Development,
}

impl Profile {
    /// The value of `--profile`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Production => "production",
            Self::Preprod => "preprod",
            Self::Development => "development",
        }
    }
}

impl Rule {
    /// The severity of a violation in a profile.
    pub fn severity_in(&self, profile: Profile) -> Severity {
        let [production, preprod, development] = self.severity;
        match profile {
            Profile::Production => production,
            Profile::Preprod => preprod,
            Profile::Development => development,
        }
    }

    /// The category: the part of the id before the dot.
    pub fn category(&self) -> &'static str {
        self.id
            .split_once('.')
            .map_or(self.id, |(category, _)| category)
    }
}

/// The rule with this id. Judgements have the id only.
pub fn rule(id: &str) -> Option<&'static Rule> {
    rules::all().find(|rule| rule.id == id)
}

/// All rules as Markdown tables: the content of `docs/audit-rules.md`.
pub fn table() -> String {
    let mut text = String::new();
    for category in rules::CATEGORIES {
        text.push_str(&format!(
            "## {}\n\n| rule | has to hold | looked at | why | says who | production | preprod | development | where it does not hold |\n\
             |---|---|---|---|---|---|---|---|---|\n",
            category.title
        ));
        for rule in category.rules {
            let [production, preprod, development] = rule.severity;
            let cells = [
                &format!("`{}`", rule.id),
                rule.holds,
                rule.looks_at,
                rule.reason,
                rule.source,
                production.name(),
                preprod.name(),
                development.name(),
                rule.mend,
            ];
            let cells = cells.map(|cell| cell.replace('|', "\\|"));
            text.push_str(&format!("| {} |\n", cells.join(" | ")));
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_rule_has_a_unique_id_a_reason_and_a_source() {
        let mut ids = BTreeSet::new();
        for category in rules::CATEGORIES {
            for rule in category.rules {
                assert!(ids.insert(rule.id), "{} is there twice", rule.id);
                assert_eq!(rule.category(), category.name, "{}", rule.id);
                for text in [
                    rule.holds,
                    rule.looks_at,
                    rule.reason,
                    rule.source,
                    rule.mend,
                ] {
                    assert!(text.len() >= 3, "{}", rule.id);
                }
                // A violation is at least as severe in production as in development.
                let [production, preprod, development] = rule.severity;
                assert!(
                    production >= preprod && preprod >= development,
                    "{}",
                    rule.id
                );
            }
        }
    }
}
