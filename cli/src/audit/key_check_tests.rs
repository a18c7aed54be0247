//! What a module that contradicts itself is judged to be: claims beside trials that belie them.

use serde_json::json;

use super::*;
use crate::audit::rule::{Profile, Severity};

/// No token at hand lies about itself in this way: what is judged is what such a module would say.
fn judged(flags: &serde_json::Value, kind: &str, reads: Vec<Probe>) -> Judgements {
    let claims = serde_json::from_value(json!({
        "flags": flags,
        "key_type": "CKK_RSA",
        "key_gen_mechanism": kind,
        "allowed_mechanisms": null,
        "start_date": "",
        "end_date": "",
    }));
    let custody = Custody {
        claims: claims.unwrap(),
        reads,
        wraps: Vec::new(),
        public_key: None,
        keys: Vec::new(),
        twins: Vec::new(),
        other_certificates: Vec::new(),
    };
    let mut found = Judgements::new(Profile::Production);
    custody.judge(WithoutLogin::Hidden, &mut found);
    found
}

fn of<'a>(found: &'a Judgements, rule: &Rule) -> &'a super::super::Judgement {
    let mut all = found.list.iter().filter(|made| made.rule == rule.id);
    all.next().unwrap()
}

#[test]
fn a_module_that_tells_what_it_claims_to_keep_is_caught() {
    let told = Probe {
        call: "the length of CKA_PRIME_1".to_owned(),
        outcome: ProbeOutcome::Allowed("it is 128 bytes long, and would be told".to_owned()),
    };
    let kept = Probe {
        call: "the length of CKA_PRIVATE_EXPONENT".to_owned(),
        outcome: ProbeOutcome::Refused("CKR_ATTRIBUTE_SENSITIVE".to_owned()),
    };
    let flags = json!([["CKA_SENSITIVE", true]]);
    let found = judged(&flags, "CKM_RSA_PKCS_KEY_PAIR_GEN", vec![kept, told]);
    let readable = of(&found, &rules::key::READABLE);
    assert_eq!(readable.severity, Some(Severity::Critical));
    let evidence = [
        "the length of CKA_PRIME_1: it is 128 bytes long, and would be told",
        "the module claims CKA_SENSITIVE true: claimed yes, tried no",
    ];
    assert_eq!(readable.evidence, evidence);
    assert_eq!(of(&found, &rules::key::SENSITIVE).verdict, Verdict::Claimed);
}

#[test]
fn a_module_that_imports_a_key_and_says_that_it_made_it_contradicts_itself() {
    for (local, kind, verdict) in [
        (true, "CKM_RSA_PKCS_KEY_PAIR_GEN", Verdict::Claimed),
        (false, "CKM_RSA_PKCS_KEY_PAIR_GEN", Verdict::Violated),
        (true, "CKM_RSA_PKCS", Verdict::Violated),
    ] {
        let found = judged(&json!([["CKA_LOCAL", local]]), kind, Vec::new());
        assert_eq!(
            of(&found, &rules::key::GENERATED).verdict,
            verdict,
            "{local} {kind}"
        );
    }
}
