//! Other objects of the token that hold the same private key (rule `key.twin-held`): the key is extractable where one
//! of them is.

use super::finding::{Judgements, Verdict};
use super::rule::Rule;
use super::rules;
use hsm_mtls::internal::key::custody_attributes::CustodyAttributes;
use hsm_mtls::internal::key::extraction_probes::{Probe, ProbeOutcome};

/// Another object that holds the same private key.
#[derive(Debug)]
pub(super) struct Twin {
    pub(super) uri: String,
    pub(super) claims: CustodyAttributes,
    pub(super) reads: Vec<Probe>,
    pub(super) wraps: Vec<Vec<Probe>>,
}

/// Judges whether the key can be extracted by these objects.
pub(super) fn judge_twins(twins: &[Twin], judgements: &mut Judgements) {
    const RULE: &Rule = &rules::key::TWIN_HELD;
    if twins.is_empty() {
        return judgements.holds(RULE, Verdict::Seen, "there is none");
    }
    let (mut extractable, mut unknown, mut held) = (Vec::new(), Vec::new(), Vec::new());
    for twin in twins {
        let allowed = |probe: &&Probe| matches!(probe.outcome, ProbeOutcome::Allowed(_));
        let mut extractable_by: Vec<_> = twin
            .reads
            .iter()
            .chain(twin.wraps.iter().flatten())
            .filter(allowed)
            .map(|probe| probe.call.clone())
            .collect();
        let claims = ["CKA_SENSITIVE", "CKA_EXTRACTABLE"].map(|name| twin.claims.flag(name));
        match claims {
            [Some(false), _] => extractable_by.push("CKA_SENSITIVE false".to_owned()),
            [_, Some(true)] => extractable_by.push("CKA_EXTRACTABLE true".to_owned()),
            [Some(true), Some(false)] => {}
            _ => unknown.push(format!("{}: the module does not tell", twin.uri)),
        }
        match extractable_by.is_empty() {
            true => held.push(twin.uri.clone()),
            false => extractable.push(format!("{}: {}", twin.uri, extractable_by.join(", "))),
        }
    }
    match (extractable.is_empty(), unknown.is_empty()) {
        (false, _) => judgements.violated_with(RULE, extractable),
        (true, false) => judgements.not_answerable(RULE, unknown.join("; ")),
        (true, true) => judgements.holds(RULE, Verdict::Claimed, held.join(", ")),
    }
}
