//! Judges the rules that `--active` tries on disposable session keys: copies, changes and wraps of a key like the audited one.

use super::finding::{Judgements, Verdict};
use super::probe_result::{Claim, judge_probes};
use super::rule::Rule;
use super::rules;
use super::token_probe::TokenProbe;

/// Judges the rules that `--active` tries with disposable keys.
pub(super) fn judge(probe: &TokenProbe, active: bool, judgements: &mut Judgements) {
    const RULES: [&Rule; 3] = [
        &rules::key::COPY_TRIED,
        &rules::key::CHANGE_TRIED,
        &rules::key::WRAP_TRIED,
    ];
    let claim = match probe.key_evidence.claims.flag("CKA_EXTRACTABLE") {
        Some(false) => Claim::Yes("the module claims CKA_EXTRACTABLE false"),
        _ => Claim::No("the module does not claim CKA_EXTRACTABLE false"),
    };
    let reason = match &probe.active {
        Some(Ok(report)) => {
            let reason = "nothing was tried, because a change was possible already";
            let probes = [&report.copies, &report.changes, &report.wraps];
            for (rule, probes) in RULES.iter().zip(probes) {
                judge_probes(judgements, rule, probes, claim, reason);
            }
            let left_behind = report.left_behind.clone();
            judgements.holds_unless(
                &rules::key::TRIALS_GONE,
                left_behind,
                Verdict::Seen,
                "each was destroyed",
            );
            return;
        }
        Some(Err(fault)) => format!("no disposable key can be made: {fault}"),
        None if active && probe.key.unsupported().is_some() => {
            "the key is of a kind that is not supported, so no key like it can be made".to_owned()
        }
        None if active => "the token tells no public key, so no key like it can be made".to_owned(),
        None => "not tried: --active was not given".to_owned(),
    };
    for rule in RULES.into_iter().chain([&rules::key::TRIALS_GONE]) {
        judgements.not_answerable(rule, reason.clone());
    }
}
