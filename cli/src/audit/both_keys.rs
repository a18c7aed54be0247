//! The audit of a configuration with two keys: each has a result of its own, in which the rules are judged that concern the key.
//! What both have in common, the machine and the ledger's file, is judged once, with C3.

use super::conclusion::Conclusion;
use super::finding::{Judgements, Verdict};
use super::report::Subject;
use super::rule::Rule;
use super::rules;
use super::run::{AuditOptions, Audited, audit_key};
use hsm_mtls::internal::config::{Config, KeyRole};
use hsm_mtls::internal::token::guard::Attendance;

/// Why a rule is left to the result of C3.
pub(super) const WITH_C3: &str = "judged with C3, with which Sig4 has it in common";

/// Audits the keys of one configuration: C3's, and that of `[sig4]` where there is one.
pub fn audit(config: &Config, options: &AuditOptions<'_>, attendance: Attendance) -> Vec<Subject> {
    let mut c3 = audit_key(config, options, attendance.clone(), None);
    let Some(view) = config.for_sig4() else {
        return vec![c3.subject];
    };
    c3.subject.role = Some(KeyRole::C3.name().to_owned());
    let mut sig4 = audit_key(&view, options, attendance, Some(config));
    sig4.subject.role = Some(KeyRole::Sig4.name().to_owned());
    judge_apart(&c3, &mut sig4, options);
    sig4.subject.answer = conclusion(&c3.subject, &sig4.subject, config);
    vec![c3.subject, sig4.subject]
}

/// The rules that are judged for a key of this role, without those between environments.
pub(super) fn rules_of(role: KeyRole) -> impl Iterator<Item = &'static Rule> {
    rules::all().filter(move |rule| {
        rule.category() != "environments"
            && (role == KeyRole::Sig4 || rule.id != rules::key::APART.id)
    })
}

/// Whether the rule is judged once for both keys, with C3. `has_own_token`: Sig4 is in another token.
pub(super) fn is_in_common(rule: &Rule, has_own_token: bool) -> bool {
    match rule.category() {
        "token" | "module" => !has_own_token,
        "host" => rule.id != rules::host::KEY_FILES.id,
        "ledger" => rule.id != rules::ledger::PURPOSES.id,
        _ => false,
    }
}

/// The conclusion about Sig4: what is judged once is judged for it too, but that the PIN of another token is not C3's.
fn conclusion(c3: &Subject, sig4: &Subject, config: &Config) -> Conclusion {
    let has_own_token = config.sig4_token.is_some();
    let is_of_c3 = |rule: &Rule| {
        is_in_common(rule, has_own_token) && !(has_own_token && rule.id == rules::host::PIN.id)
    };
    let judgements = rules_of(KeyRole::Sig4).filter_map(|rule| {
        let subject = if is_of_c3(rule) { c3 } else { sig4 };
        subject.judgement_of(rule.id).cloned()
    });
    Conclusion::of(&judgements.collect::<Vec<_>>())
}

/// Judges whether C3 and Sig4 are two keys, by their public keys.
fn judge_apart(c3: &Audited, sig4: &mut Audited, options: &AuditOptions<'_>) {
    const RULE: &Rule = &rules::key::APART;
    let mut judgements = Judgements::new(options.profile);
    match (&c3.public_key, &sig4.public_key) {
        (Some(one), Some(other)) if one == other => judgements.violated(
            RULE,
            format!("both have the public key with the SHA-256 {one}"),
        ),
        (Some(_), Some(_)) => {
            judgements.holds(RULE, Verdict::Seen, "their public keys differ");
        }
        (None, _) => judgements.not_answerable(RULE, "the public key of C3 is not known"),
        (_, None) => judgements.not_answerable(RULE, "the public key of Sig4 is not known"),
    }
    let judged = sig4.subject.judgements.iter_mut();
    let place = judged.into_iter().find(|judged| judged.rule == RULE.id);
    if let (Some(place), Some(judgement)) = (place, judgements.list.pop()) {
        *place = judgement;
    }
}
