//! Judges the rules of the category `certificate`: chain, dates, purpose, subject, revocation. `run` judges the rule that
//! certificate and key are a pair.

use std::time::{Duration, SystemTime};

use super::finding::{Judgements, Verdict};
use super::rule::{Rule, Severity};
use super::rules;
use hsm_mtls::internal::certificate::anchors::{Anchors, Chain};
use hsm_mtls::internal::certificate::name::attribute_type;
use hsm_mtls::internal::certificate::revocation::RevocationStatus;
use hsm_mtls::internal::certificate::{Certificate, CertificateError};
use hsm_mtls::internal::config::{Config, KeyRole};

/// The severity of the days left: that of the first entry whose days are not exceeded.
const RENEWAL_SEVERITY: [(i64, Severity); 4] = [
    (7, Severity::Critical),
    (14, Severity::High),
    (30, Severity::Medium),
    (60, Severity::Low),
];

/// Judges all rules but the pair. `certificates` are the installed ones, leaf first.
pub(super) fn judge(config: &Config, certificates: &[Certificate], judgements: &mut Judgements) {
    let Some(leaf) = certificates.first() else {
        return;
    };
    let now = SystemTime::now();
    let chain = Anchors::load(config)
        .and_then(|anchors| Chain::complete(certificates, &anchors, config.environment));
    match &chain {
        Ok(_) => judgements.holds(
            &rules::certificate::CHAIN,
            Verdict::Seen,
            format!("issued by {}", leaf.issuer()),
        ),
        Err(error) => judgements.violated(&rules::certificate::CHAIN, error.to_string()),
    }
    judge_dates(config, leaf, now, judgements);
    // The purpose is checked at a time when the certificate is valid: an expired one would fail for its dates.
    let while_valid = leaf.not_before_time() + Duration::from_secs(1);
    match leaf.check_role(config.c3.role, while_valid) {
        Err(
            error @ (CertificateError::NotForClients { .. }
            | CertificateError::NotForSignatures { .. }),
        ) => {
            judgements.violated(&rules::certificate::PURPOSE, error.to_string());
        }
        _ => judgements.holds(
            &rules::certificate::PURPOSE,
            Verdict::Seen,
            match config.c3.role {
                KeyRole::C3 => "clientAuth, and no CA",
                KeyRole::Sig4 => "digitalSignature or no keyUsage, and no CA",
            },
        ),
    }
    judge_subject(config, leaf, judgements);
    judge_revocation(config, chain.as_ref().ok(), now, judgements);
}

fn judge_dates(config: &Config, leaf: &Certificate, now: SystemTime, judgements: &mut Judgements) {
    let validity = format!("from {} to {}", leaf.not_before(), leaf.not_after());
    let days = leaf.days_left(now);
    match leaf.check_client(now) {
        Err(CertificateError::Expired { .. }) => {
            judgements.violated(
                &rules::certificate::DATES,
                format!("{validity}: it has expired"),
            );
        }
        Err(CertificateError::NotYetValid { .. }) => {
            judgements.violated(
                &rules::certificate::DATES,
                format!("{validity}: it is not valid yet"),
            );
        }
        _ => judgements.holds(&rules::certificate::DATES, Verdict::Seen, validity),
    }
    let days_left = format!("{days} days are left");
    let severity = RENEWAL_SEVERITY.iter().find(|(max, _)| days <= *max);
    match severity {
        _ if days < 0 => {
            judgements.not_answerable(&rules::certificate::RENEWAL, "it has expired already")
        }
        Some((_, severity)) => {
            judgements.violated_with_severity(&rules::certificate::RENEWAL, *severity, days_left)
        }
        None => judgements.holds(&rules::certificate::RENEWAL, Verdict::Seen, days_left),
    }
    let lifetime = leaf.lifetime_days();
    let evidence = format!("{lifetime} days");
    let regime = config.environment.regime();
    match regime.keys.max_lifetime_days {
        Some(max) if lifetime > max => judgements.violated(&rules::certificate::LIFETIME, evidence),
        Some(_) => judgements.holds(&rules::certificate::LIFETIME, Verdict::Seen, evidence),
        None => {
            let reason = format!("{evidence}; regime {:?} sets no limit", regime.name);
            judgements.not_answerable(&rules::certificate::LIFETIME, reason);
        }
    }
}

fn judge_subject(config: &Config, leaf: &Certificate, judgements: &mut Judgements) {
    let subject = leaf.subject();
    let regime = config.environment.regime();
    if regime.subject.is_empty() {
        let reason = format!("{subject}; regime {:?} prescribes no subject", regime.name);
        return judgements.not_answerable(&rules::certificate::SUBJECT, reason);
    }
    let mut violations = Vec::new();
    for prescribed in &regime.subject {
        let name = &prescribed.attribute;
        let value = attribute_type(name).and_then(|oid| subject.first(oid));
        match value {
            None => violations.push(format!("{name} is missing")),
            Some(value) if prescribed.form.is_met_by(&value) => {}
            Some(_) => violations.push(format!("{name} is not {}", prescribed.form.expected())),
        }
    }
    let evidence = subject.to_string();
    if !violations.is_empty() {
        violations.push(evidence.clone());
    }
    judgements.holds_unless(
        &rules::certificate::SUBJECT,
        violations,
        Verdict::Seen,
        evidence,
    );
}

fn judge_revocation(
    config: &Config,
    chain: Option<&Chain>,
    now: SystemTime,
    judgements: &mut Judgements,
) {
    const RULE: &Rule = &rules::certificate::REVOKED;
    if config.trust.crls.is_empty() {
        return judgements.not_answerable(RULE, "[trust] names no `crls`");
    }
    let Some(chain) = chain else {
        return judgements.not_answerable(RULE, "its issuer is not known");
    };
    let Ok(anchors) = Anchors::load(config) else {
        return judgements.not_answerable(RULE, "the anchors cannot be read");
    };
    match RevocationStatus::of(chain, &anchors, &config.trust, now) {
        RevocationStatus::Revoked { list, .. } => {
            let evidence = format!("{}: it is on this list", list.display());
            judgements.violated(RULE, evidence);
        }
        RevocationStatus::NotListed(lists) => {
            let lists = lists.iter().map(ToString::to_string);
            let evidence: Vec<_> = lists.collect();
            judgements.holds(RULE, Verdict::Seen, evidence.join("; "));
        }
        RevocationStatus::Unknown(why) => judgements.not_answerable(RULE, why.join("; ")),
    }
}
