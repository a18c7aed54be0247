//! What trials say, beside the claim that they put to the test.

use super::finding::{Judgements, Verdict};
use super::rule::Rule;
use hsm_mtls::internal::key::extraction_probes::{Probe, ProbeOutcome};

/// What the module claims of what a trial puts to the test: that it holds, or not so.
#[derive(Clone, Copy)]
pub(super) enum Claim {
    Yes(&'static str),
    No(&'static str),
}

/// What trials say, beside the claim that they put to the test.
pub(super) fn judge_probes(
    found: &mut Judgements,
    rule: &'static Rule,
    trials: &[Probe],
    claim: Claim,
    none: &str,
) {
    let done = of(trials, |answer| match answer {
        ProbeOutcome::Allowed(said) => Some(said),
        _ => None,
    });
    let refused = of(trials, |answer| match answer {
        ProbeOutcome::Refused(said) => Some(said),
        _ => None,
    });
    let open = of(trials, |answer| match answer {
        ProbeOutcome::Inconclusive(said) => Some(said),
        _ => None,
    });
    if !done.is_empty() {
        let mut evidence = done;
        // The contradiction is a finding of its own: a module that misreports.
        evidence.push(match claim {
            Claim::Yes(claimed) => format!("{claimed}: claimed yes, tried no"),
            Claim::No(claimed) => claimed.to_owned(),
        });
        return found.violated_by(rule, evidence);
    }
    if refused.is_empty() {
        let why = match open.is_empty() {
            true => none.to_owned(),
            false => open.join("; "),
        };
        return found.open(rule, why);
    }
    let mut said = refused.join("; ");
    if !open.is_empty() {
        said.push_str(&format!("; nothing follows from {}", open.join("; ")));
    }
    found.holds(rule, Verdict::TriedAndRefused, said);
}

/// Trials with such an answer; those with the same one together.
fn of(trials: &[Probe], wanted: fn(&ProbeOutcome) -> Option<&String>) -> Vec<String> {
    let mut together: Vec<(&String, Vec<&str>)> = Vec::new();
    for trial in trials {
        let Some(said) = wanted(&trial.outcome) else {
            continue;
        };
        match together.iter_mut().find(|(known, _)| *known == said) {
            Some((_, asked)) => asked.push(&trial.call),
            None => together.push((said, vec![&trial.call])),
        }
    }
    together
        .into_iter()
        .map(|(said, asked)| format!("{}: {said}", asked.join(", ")))
        .collect()
}

/// One list: where a wrapping key has refused in no way, nothing follows for all.
pub(super) fn together(wraps: &[Vec<Probe>]) -> Vec<Probe> {
    let refused = |trial: &Probe| matches!(trial.outcome, ProbeOutcome::Refused(_));
    let done = |trial: &Probe| matches!(trial.outcome, ProbeOutcome::Allowed(_));
    let all = || wraps.iter().flatten().cloned();
    match wraps.iter().all(|trials| trials.iter().any(refused)) || all().any(|trial| done(&trial)) {
        true => all().collect(),
        false => all().filter(|trial| !refused(trial)).collect(),
    }
}
