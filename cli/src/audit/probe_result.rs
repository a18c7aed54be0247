//! Judges a rule by the outcomes of probes, and compares them with the module's claim.

use super::finding::{Judgements, Verdict};
use super::rule::Rule;
use hsm_mtls::internal::key::extraction_probes::{Probe, ProbeOutcome};

/// What the module claims about a rule that probes test: that it holds, or not.
#[derive(Clone, Copy)]
pub(super) enum Claim {
    Yes(&'static str),
    No(&'static str),
}

/// Judges a rule: violated where a probe was allowed, tried and refused where one was refused. `no_outcome_reason` says
/// why there may be no outcomes.
pub(super) fn judge_probes(
    judgements: &mut Judgements,
    rule: &'static Rule,
    probes: &[Probe],
    claim: Claim,
    no_outcome_reason: &str,
) {
    let allowed = calls_by_detail(probes, |outcome| match outcome {
        ProbeOutcome::Allowed(detail) => Some(detail),
        _ => None,
    });
    let refused = calls_by_detail(probes, |outcome| match outcome {
        ProbeOutcome::Refused(detail) => Some(detail),
        _ => None,
    });
    let inconclusive = calls_by_detail(probes, |outcome| match outcome {
        ProbeOutcome::Inconclusive(detail) => Some(detail),
        _ => None,
    });
    if !allowed.is_empty() {
        let mut evidence = allowed;
        // A claim that a probe disproves is part of the evidence: the module misreports.
        evidence.push(match claim {
            Claim::Yes(claimed) => format!("{claimed}: claimed yes, tried no"),
            Claim::No(claimed) => claimed.to_owned(),
        });
        return judgements.violated_with(rule, evidence);
    }
    if refused.is_empty() {
        let reason = match inconclusive.is_empty() {
            true => no_outcome_reason.to_owned(),
            false => inconclusive.join("; "),
        };
        return judgements.not_answerable(rule, reason);
    }
    let mut evidence = refused.join("; ");
    if !inconclusive.is_empty() {
        evidence.push_str(&format!(
            "; nothing follows from {}",
            inconclusive.join("; ")
        ));
    }
    judgements.holds(rule, Verdict::TriedAndRefused, evidence);
}

/// The calls with an outcome that `detail_of` selects, grouped by its detail.
fn calls_by_detail(
    probes: &[Probe],
    detail_of: fn(&ProbeOutcome) -> Option<&String>,
) -> Vec<String> {
    let mut groups: Vec<(&String, Vec<&str>)> = Vec::new();
    for probe in probes {
        let Some(detail) = detail_of(&probe.outcome) else {
            continue;
        };
        match groups.iter_mut().find(|(known, _)| *known == detail) {
            Some((_, calls)) => calls.push(&probe.call),
            None => groups.push((detail, vec![&probe.call])),
        }
    }
    groups
        .into_iter()
        .map(|(detail, calls)| format!("{}: {detail}", calls.join(", ")))
        .collect()
}

/// The probes of all wrapping keys as one list. Where a wrapping key refused none of its probes, the refusals of the
/// others do not show that the key cannot be wrapped: they are left out.
pub(super) fn conclusive_wraps(wraps: &[Vec<Probe>]) -> Vec<Probe> {
    let is_refused = |probe: &Probe| matches!(probe.outcome, ProbeOutcome::Refused(_));
    let is_allowed = |probe: &Probe| matches!(probe.outcome, ProbeOutcome::Allowed(_));
    let all = || wraps.iter().flatten().cloned();
    let each_refused = wraps.iter().all(|probes| probes.iter().any(is_refused));
    match each_refused || all().any(|probe| is_allowed(&probe)) {
        true => all().collect(),
        false => all().filter(|probe| !is_refused(probe)).collect(),
    }
}
