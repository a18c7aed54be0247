//! Judges the rules of the category `environments`: what configurations of different environments must not share.

use std::collections::BTreeSet;

use super::finding::{Judgement, Judgements, Verdict};
use super::report::Subject;
use super::rule::{Profile, Rule};
use super::rules;

/// Compares each pair of configurations of different environments.
pub(super) fn judge(subjects: &[Subject], profile: Profile) -> Vec<Judgement> {
    let mut judgements = Judgements::new(profile);
    if !are_several(subjects) {
        judgements.rest_not_answerable(
            rules::environments::RULES.iter().copied(),
            "one configuration was given: name several, as in `hsm-mtls audit preprod.toml production.toml`",
        );
        return judgements.list;
    }
    let pairs: Vec<_> = subjects
        .iter()
        .enumerate()
        .flat_map(|(number, one)| subjects[number + 1..].iter().map(move |other| (one, other)))
        .filter(|(one, other)| one.environment != other.environment)
        .collect();
    if pairs.is_empty() {
        judgements.rest_not_answerable(
            rules::environments::RULES.iter().copied(),
            "all configurations are of one environment",
        );
        return judgements.list;
    }
    judge_keys(&pairs, &mut judgements);
    let issuer = |subject: &Subject| subject.issuer.clone();
    judge_equality(
        &pairs,
        &mut judgements,
        &rules::environments::ISSUERS,
        issuer,
    );
    let token = |subject: &Subject| subject.token.clone();
    judge_equality(&pairs, &mut judgements, &rules::environments::TOKENS, token);
    let pin = |subject: &Subject| subject.pin_place.clone();
    judge_equality(&pairs, &mut judgements, &rules::environments::PINS, pin);
    judgements.list
}

/// Whether the results are of several configurations: one may have a result for each of its two keys.
pub(super) fn are_several(subjects: &[Subject]) -> bool {
    let keys_of_one = |pair: &[Subject]| {
        pair[0].configuration == pair[1].configuration && pair[0].role != pair[1].role
    };
    !(subjects.len() < 2 || subjects.len() == 2 && keys_of_one(subjects))
}

/// Adds a text that is not in the list yet: two keys of one configuration give it twice.
fn add(list: &mut Vec<String>, text: String) {
    if !list.contains(&text) {
        list.push(text);
    }
}

type Pair<'a> = (&'a Subject, &'a Subject);

fn judge_keys(pairs: &[Pair<'_>], judgements: &mut Judgements) {
    const RULE: &Rule = &rules::environments::KEYS;
    let mut violations = Vec::new();
    for (one, other) in pairs {
        for key in &one.keys {
            let same_keys = other.keys.iter().filter(|other_key| {
                key.public_key.is_some() && other_key.public_key == key.public_key
            });
            let texts = same_keys.map(|same_key| {
                format!(
                    "{} of {} and {} of {} are one key",
                    key.uri, one.configuration, same_key.uri, other.configuration
                )
            });
            texts.for_each(|text| add(&mut violations, text));
        }
    }
    if !violations.is_empty() {
        return judgements.violated_with(RULE, violations);
    }
    let of_pairs = pairs.iter().flat_map(|(one, other)| [one, other]);
    let all = of_pairs.clone().flat_map(|subject| &subject.keys);
    let withheld: BTreeSet<_> = all
        .filter(|key| key.public_key.is_none())
        .map(|key| key.uri.as_str())
        .collect();
    if !withheld.is_empty() {
        let withheld: Vec<_> = withheld.into_iter().collect();
        let reason = format!("no public key is told of {}", withheld.join(", "));
        return judgements.not_answerable(RULE, reason);
    }
    let without_keys = of_pairs.clone().find(|subject| subject.keys.is_empty());
    match without_keys {
        Some(subject) => judgements.not_answerable(
            RULE,
            format!("no key of {} can be seen", subject.configuration),
        ),
        None => judgements.holds(RULE, Verdict::Seen, "no public key is in both"),
    }
}

/// Judges a rule that a value differs between two environments.
fn judge_equality(
    pairs: &[Pair<'_>],
    judgements: &mut Judgements,
    rule: &'static Rule,
    value_of: impl Fn(&Subject) -> Option<String>,
) {
    let (mut violations, mut unknown) = (Vec::new(), Vec::new());
    for (one, other) in pairs {
        match (value_of(one), value_of(other)) {
            (Some(first), Some(second)) if first == second => {
                let (one, other) = (&one.configuration, &other.configuration);
                add(&mut violations, format!("{one} and {other}: {first}"));
            }
            (Some(_), Some(_)) => {}
            (None, _) => add(&mut unknown, format!("{} does not tell", one.configuration)),
            (_, None) => add(
                &mut unknown,
                format!("{} does not tell", other.configuration),
            ),
        }
    }
    match (violations.is_empty(), unknown.is_empty()) {
        (true, false) => judgements.not_answerable(rule, unknown.join("; ")),
        _ => judgements.holds_unless(rule, violations, Verdict::Seen, "they differ"),
    }
}
