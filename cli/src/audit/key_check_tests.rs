//! Judgements of a module that contradicts itself: its claims beside results of probes that disprove them.

use serde_json::json;

use hsm_mtls::internal::regime::Regime;

use super::*;
use crate::audit::rule::{Profile, Severity};
use hsm_mtls::internal::key::extraction_probes::ProbeOutcome;

/// Judges a key with these claims and probe results: no token of the tests contradicts itself in this way.
fn judged(flags: &serde_json::Value, key_gen_mechanism: &str, reads: Vec<Probe>) -> Judgements {
    judged_beside(None, flags, json!(key_gen_mechanism), reads)
}

/// The same where a key that was just made has this CKA_LOCAL.
fn judged_beside(
    local_of_new_key: Option<bool>,
    flags: &serde_json::Value,
    key_gen_mechanism: serde_json::Value,
    reads: Vec<Probe>,
) -> Judgements {
    let claims = serde_json::from_value(json!({
        "flags": flags,
        "key_type": "CKK_RSA",
        "key_gen_mechanism": key_gen_mechanism,
        "allowed_mechanisms": null,
        "start_date": "",
        "end_date": "",
    }));
    let key_evidence = KeyEvidence {
        claims: claims.unwrap(),
        local_of_new_key,
        reads,
        wraps: Vec::new(),
        public_key: None,
        keys: Vec::new(),
        twins: Vec::new(),
        other_certificates: Vec::new(),
    };
    let mut judgements = Judgements::new(Profile::Production);
    let regime = Regime::named("uae").unwrap();
    key_evidence.judge(regime, WithoutLogin::Hidden, &mut judgements);
    judgements
}

fn judgement_of<'a>(judgements: &'a Judgements, rule: &Rule) -> &'a super::super::Judgement {
    let mut all = judgements
        .list
        .iter()
        .filter(|judgement| judgement.rule == rule.id);
    all.next().unwrap()
}

#[test]
fn a_module_that_tells_what_it_claims_to_keep_is_caught() {
    let allowed = Probe {
        call: "the length of CKA_PRIME_1".to_owned(),
        outcome: ProbeOutcome::Allowed("it is 128 bytes long, and would be told".to_owned()),
    };
    let refused = Probe {
        call: "the length of CKA_PRIVATE_EXPONENT".to_owned(),
        outcome: ProbeOutcome::Refused("CKR_ATTRIBUTE_SENSITIVE".to_owned()),
    };
    let flags = json!([["CKA_SENSITIVE", true]]);
    let judgements = judged(&flags, "CKM_RSA_PKCS_KEY_PAIR_GEN", vec![refused, allowed]);
    let readable = judgement_of(&judgements, &rules::key::READABLE);
    assert_eq!(readable.severity, Some(Severity::Critical));
    let evidence = [
        "the length of CKA_PRIME_1: it is 128 bytes long, and would be told",
        "the module claims CKA_SENSITIVE true: claimed yes, tried no",
    ];
    assert_eq!(readable.evidence, evidence);
    assert_eq!(
        judgement_of(&judgements, &rules::key::SENSITIVE).verdict,
        Verdict::Claimed
    );
}

#[test]
fn a_module_that_imports_a_key_and_says_that_it_made_it_contradicts_itself() {
    for (local, key_gen_mechanism, verdict) in [
        (true, "CKM_RSA_PKCS_KEY_PAIR_GEN", Verdict::Claimed),
        (false, "CKM_RSA_PKCS_KEY_PAIR_GEN", Verdict::Violated),
        (true, "CKM_RSA_PKCS", Verdict::Violated),
    ] {
        let flags = json!([["CKA_LOCAL", local]]);
        let judgements = judged(&flags, key_gen_mechanism, Vec::new());
        assert_eq!(
            judgement_of(&judgements, &rules::key::GENERATED).verdict,
            verdict,
            "{local} {key_gen_mechanism}"
        );
    }
}

/// NSS softokn 3.87 does.
#[test]
fn a_module_that_says_of_a_new_key_that_it_is_not_local_says_nothing_of_others() {
    for (local_of_new_key, verdict) in [
        (None, Verdict::Violated),
        (Some(true), Verdict::Violated),
        (Some(false), Verdict::NotAnswerable),
    ] {
        let flags = json!([["CKA_LOCAL", false]]);
        let judgements = judged_beside(local_of_new_key, &flags, json!(null), Vec::new());
        let local = judgement_of(&judgements, &rules::key::LOCAL);
        assert_eq!(local.verdict, verdict, "{local_of_new_key:?}");
    }
}
