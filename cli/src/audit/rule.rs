//! What a rule of the audit is: something that has to hold, why, who says so, and how grave it is where it
//! does not.

use std::fmt::{self, Display};

use serde::{Deserialize, Serialize};

use super::rules;

/// Something that has to hold.
#[derive(Debug, Serialize)]
pub struct Rule {
    /// Its name in reports; stays the same from version to version.
    pub id: &'static str,
    /// What has to hold, as a sentence.
    pub holds: &'static str,
    /// The attribute, flag or fact that is looked at.
    pub looks_at: &'static str,
    /// Why it has to.
    pub reason: &'static str,
    /// Who says so.
    pub source: &'static str,
    /// How grave it is where it does not hold: in production, in preprod, in development.
    pub severity: [Severity; 3],
    /// What to do where it does not hold.
    pub mend: &'static str,
}

/// How grave it is that a rule does not hold.
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
    /// The word of reports.
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

/// What a place is held to.
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
    /// The word of the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Production => "production",
            Self::Preprod => "preprod",
            Self::Development => "development",
        }
    }
}

impl Rule {
    /// How grave it is here that it does not hold.
    pub fn severity_in(&self, profile: Profile) -> Severity {
        let [production, preprod, development] = self.severity;
        match profile {
            Profile::Production => production,
            Profile::Preprod => preprod,
            Profile::Development => development,
        }
    }

    /// What the rule is about: what stands before the dot of its name.
    pub fn category(&self) -> &'static str {
        self.id
            .split_once('.')
            .map_or(self.id, |(category, _)| category)
    }
}

/// The rule with this id, for judgements read from a report: they carry the id only.
pub fn rule(id: &str) -> Option<&'static Rule> {
    rules::all().find(|rule| rule.id == id)
}

/// The rules as a table of Markdown: what `docs/audit-rules.md` holds.
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
    fn each_rule_has_a_name_of_its_own_and_gives_reason_and_source() {
        let mut names = BTreeSet::new();
        for category in rules::CATEGORIES {
            for rule in category.rules {
                assert!(names.insert(rule.id), "{} is there twice", rule.id);
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
                // What is grave in development is no less so in production.
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
