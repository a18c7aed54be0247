//! The report of `status`. Its JSON is a contract, described by `docs/status.schema.json`; with several configurations each is reported
//! by a process of its own, and read here.

use hsm_mtls::internal::rfc3339;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::state::{State, Thresholds};

/// One line of the screen: what it is about, its state, and what was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Item {
    /// `c3.certificate`, `token` ...
    pub(super) about: String,
    pub(super) state: State,
    pub(super) text: String,
    /// Of what ends on a date.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) days_left: Option<i64>,
}

/// What to do, and by when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Action {
    /// RFC 3339; `None`: now.
    pub(super) by: Option<String>,
    pub(super) days_left: Option<i64>,
    pub(super) text: String,
    /// The command that does it, or its first step.
    pub(super) command: Option<String>,
}

/// One environment.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct EnvironmentReport {
    pub(super) configuration: String,
    /// `None`: the configuration cannot be used.
    pub(super) environment: Option<String>,
    pub(super) state: State,
    pub(super) items: Vec<Item>,
    pub(super) next: Vec<Action>,
    /// What the items are about, as values: `pairs`, `anchors`, `crls`, `token` and so on.
    #[serde(flatten)]
    pub(super) details: Map<String, Value>,
}

/// What is found out about an environment, item by item.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) items: Vec<Item>,
    pub(super) next: Vec<Action>,
    pub(super) details: Map<String, Value>,
}

impl Found {
    /// Adds a line.
    pub(super) fn item(&mut self, about: impl Into<String>, state: State, text: impl Into<String>) {
        self.items.push(Item {
            about: about.into(),
            state,
            text: text.into(),
            days_left: None,
        });
    }

    /// Adds a line about something that ends on a date.
    pub(super) fn dated(&mut self, about: &str, state: State, text: String, days_left: i64) {
        self.item(about, state, text);
        if let Some(item) = self.items.last_mut() {
            item.days_left = Some(days_left);
        }
    }

    /// Adds what is to be done now.
    pub(super) fn act_now(&mut self, text: impl Into<String>, command: Option<&str>) {
        self.next.push(Action {
            by: None,
            days_left: None,
            text: text.into(),
            command: command.map(str::to_owned),
        });
    }

    /// Adds what is to be done by a date.
    pub(super) fn act_by(&mut self, by: &str, days_left: i64, text: String, command: Option<&str>) {
        self.act_now(text, command);
        if let Some(action) = self.next.last_mut() {
            (action.by, action.days_left) = (Some(by.to_owned()), Some(days_left));
        }
    }

    /// The report: the actions in the order of their dates, those that are due now first.
    pub(super) fn into_report(
        mut self,
        configuration: String,
        environment: Option<&str>,
    ) -> EnvironmentReport {
        self.next.sort_by(|one, other| one.by.cmp(&other.by));
        EnvironmentReport {
            configuration,
            environment: environment.map(str::to_owned),
            state: worst(self.items.iter().map(|item| item.state)),
            items: self.items,
            next: self.next,
            details: self.details,
        }
    }
}

pub(super) fn worst(states: impl Iterator<Item = State>) -> State {
    states.max().unwrap_or(State::Ok)
}

/// The whole report.
pub(super) struct Report {
    pub(super) thresholds: Thresholds,
    pub(super) environments: Vec<EnvironmentReport>,
}

impl Report {
    pub(super) fn state(&self) -> State {
        worst(self.environments.iter().map(|one| one.state))
    }

    /// The worst item first, and how many others are not good; where all are, how long the certificates last.
    pub(super) fn summary(&self) -> String {
        let all = || {
            let environments = self.environments.iter();
            environments.flat_map(|one| one.items.iter().map(move |item| (one.name(), item)))
        };
        let state = self.state();
        let mut wrong = all().filter(|(_, item)| item.state == state && state != State::Ok);
        let text = match wrong.next() {
            Some((environment, item)) => {
                let not_good = all().filter(|(_, item)| item.state != State::Ok).count();
                let others = match not_good - 1 {
                    0 => String::new(),
                    others => format!(" (and {others} more)"),
                };
                format!("{environment}: {}: {}{others}", item.about, item.text)
            }
            None => {
                let certificates = all().filter(|(_, item)| item.about.ends_with(CERTIFICATE));
                let days = certificates.filter_map(|(environment, item)| {
                    let role = item.about.strip_suffix(CERTIFICATE)?;
                    Some(format!(
                        "{environment}: {role} {} days left",
                        item.days_left?
                    ))
                });
                let days: Vec<_> = days.collect();
                days.join(", ")
            }
        };
        // Monitoring takes what follows a bar for figures.
        text.replace('|', "/")
    }

    /// The days that our certificates have left, in the form of monitoring plugins (performance data).
    pub(super) fn figures(&self) -> String {
        let Thresholds { warn, crit } = self.thresholds;
        let figures = self.environments.iter().flat_map(|one| {
            let certificates = one
                .items
                .iter()
                .filter(|item| item.about.ends_with(CERTIFICATE));
            certificates.filter_map(move |item| {
                let (environment, days) = (one.name(), item.days_left?);
                Some(format!(
                    "'{environment}.{}'={days};{warn}:;{crit}:",
                    item.about
                ))
            })
        });
        figures.collect::<Vec<_>>().join(" ")
    }

    pub(super) fn as_json(&self) -> Value {
        json!({
            "schema": 0,
            "kind": "hsm-mtls-status",
            "made": rfc3339::now(),
            "warn_days": self.thresholds.warn,
            "crit_days": self.thresholds.crit,
            "state": self.state(),
            "summary": self.summary(),
            "environments": self.environments,
        })
    }
}

/// The end of the name of an item about a certificate of ours.
const CERTIFICATE: &str = ".certificate";

impl EnvironmentReport {
    /// The environment, or the configuration that cannot be used.
    pub(super) fn name(&self) -> &str {
        self.environment.as_deref().unwrap_or(&self.configuration)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(states: &[(&str, State)]) -> Report {
        let mut found = Found::default();
        for (about, state) in states {
            found.dated(about, *state, "a|b".to_owned(), 7);
        }
        found.act_by("2027-01-02T00:00:00Z", 9, "second".to_owned(), None);
        found.act_by("2027-01-01T00:00:00Z", 8, "first".to_owned(), None);
        found.act_now("now", Some("hsm-mtls verify"));
        Report {
            thresholds: Thresholds { warn: 60, crit: 30 },
            environments: vec![found.into_report("/a.toml".to_owned(), Some("preprod"))],
        }
    }

    #[test]
    fn the_worst_is_said_first_and_the_others_are_counted() {
        use State as S;
        let several = report(&[
            ("token", S::Unknown),
            ("crl", S::Ok),
            ("c3.chain", S::Warning),
        ]);
        assert_eq!(several.state(), S::Warning);
        assert_eq!(several.summary(), "preprod: c3.chain: a/b (and 1 more)");
        let good = report(&[("c3.certificate", S::Ok), ("token", S::Ok)]);
        assert_eq!(good.summary(), "preprod: c3 7 days left");
        assert_eq!(good.figures(), "'preprod.c3.certificate'=7;60:;30:");
    }

    #[test]
    fn what_is_due_first_is_first() {
        let report = report(&[]);
        let texts: Vec<_> = report.environments[0]
            .next
            .iter()
            .map(|next| &next.text)
            .collect();
        assert_eq!(texts, ["now", "first", "second"]);
    }
}
