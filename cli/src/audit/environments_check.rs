//! What several configurations must not share: keys, issuers, tokens, PINs.

use std::collections::BTreeSet;

use super::finding::{Judgement, Judgements, Verdict};
use super::report::Subject;
use super::rule::{Profile, Rule};
use super::rules;

/// Holds each pair of environments against each other.
pub(super) fn judge(subjects: &[Subject], profile: Profile) -> Vec<Judgement> {
    let mut found = Judgements::new(profile);
    if subjects.len() < 2 {
        found.rest(
            rules::environments::RULES.iter().copied(),
            "one configuration was given: name several, as in `hsm-mtls audit preprod.toml production.toml`",
        );
        return found.list;
    }
    let pairs: Vec<_> = subjects
        .iter()
        .enumerate()
        .flat_map(|(number, one)| subjects[number + 1..].iter().map(move |other| (one, other)))
        .filter(|(one, other)| one.environment != other.environment)
        .collect();
    if pairs.is_empty() {
        found.rest(
            rules::environments::RULES.iter().copied(),
            "all configurations are of one environment",
        );
        return found.list;
    }
    keys(&pairs, &mut found);
    let issuer = |subject: &Subject| subject.issuer.clone();
    same(&pairs, &mut found, &rules::environments::ISSUERS, issuer);
    let token = |subject: &Subject| subject.token.clone();
    same(&pairs, &mut found, &rules::environments::TOKENS, token);
    let pin = |subject: &Subject| subject.pin_place.clone();
    same(&pairs, &mut found, &rules::environments::PINS, pin);
    found.list
}

type Pair<'a> = (&'a Subject, &'a Subject);

fn keys(pairs: &[Pair<'_>], found: &mut Judgements) {
    const RULE: &Rule = &rules::environments::KEYS;
    let mut against = Vec::new();
    for (one, other) in pairs {
        for key in &one.keys {
            let twins = other
                .keys
                .iter()
                .filter(|twin| key.public_key.is_some() && twin.public_key == key.public_key);
            against.extend(twins.map(|twin| {
                format!(
                    "{} of {} and {} of {} are one key",
                    key.uri, one.configuration, twin.uri, other.configuration
                )
            }));
        }
    }
    if !against.is_empty() {
        return found.violated_by(RULE, against);
    }
    let of_pairs = pairs.iter().flat_map(|(one, other)| [one, other]);
    let all = of_pairs.clone().flat_map(|subject| &subject.keys);
    let withheld: BTreeSet<_> = all
        .filter(|key| key.public_key.is_none())
        .map(|key| key.uri.as_str())
        .collect();
    if !withheld.is_empty() {
        let withheld: Vec<_> = withheld.into_iter().collect();
        let said = format!("no public key is told of {}", withheld.join(", "));
        return found.open(RULE, said);
    }
    let untold = of_pairs.clone().find(|subject| subject.keys.is_empty());
    match untold {
        Some(subject) => found.open(
            RULE,
            format!("no key of {} can be seen", subject.configuration),
        ),
        None => found.holds(RULE, Verdict::Seen, "no public key is in both"),
    }
}

fn same(
    pairs: &[Pair<'_>],
    found: &mut Judgements,
    rule: &'static Rule,
    of: impl Fn(&Subject) -> Option<String>,
) {
    let (mut against, mut untold) = (Vec::new(), Vec::new());
    for (one, other) in pairs {
        match (of(one), of(other)) {
            (Some(first), Some(second)) if first == second => {
                let (one, other) = (&one.configuration, &other.configuration);
                against.push(format!("{one} and {other}: {first}"));
            }
            (Some(_), Some(_)) => {}
            (None, _) => untold.push(format!("{} does not tell", one.configuration)),
            (_, None) => untold.push(format!("{} does not tell", other.configuration)),
        }
    }
    match (against.is_empty(), untold.is_empty()) {
        (true, false) => found.open(rule, untold.join("; ")),
        _ => found.by(rule, against, Verdict::Seen, "they differ"),
    }
}
