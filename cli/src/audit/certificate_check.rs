//! The certificate: whose it is, who issued it, for how long, and whether it was revoked.

use std::time::{Duration, SystemTime};

use super::finding::{Judgements, Verdict};
use super::rule::{Rule, Severity};
use super::rules;
use hsm_mtls::internal::certificate::anchors::{Anchors, Chain};
use hsm_mtls::internal::certificate::crl::RevocationList;
use hsm_mtls::internal::certificate::name::{
    COMMON_NAME, COUNTRY, ORGANIZATION, ORGANIZATIONAL_UNIT,
};
use hsm_mtls::internal::certificate::{Certificate, CertificateError, SignatureError};
use hsm_mtls::internal::config::Config;
use hsm_mtls::internal::uuid_format::is_uuid;

/// 13 months, in the longest case.
const LONGEST_LIFE: i64 = 398;

/// From so many days left on it is as grave as this.
const RENEWAL: [(i64, Severity); 4] = [
    (7, Severity::Critical),
    (14, Severity::High),
    (30, Severity::Medium),
    (60, Severity::Low),
];

/// All but whether it is of the key.
pub(super) fn judge(config: &Config, given: &[Certificate], found: &mut Judgements) {
    let Some(leaf) = given.first() else {
        return;
    };
    let now = SystemTime::now();
    let chain = Anchors::load(config)
        .and_then(|anchors| Chain::complete(given, &anchors, config.environment));
    match &chain {
        Ok(_) => found.holds(
            &rules::certificate::CHAIN,
            Verdict::Seen,
            format!("issued by {}", leaf.issuer()),
        ),
        Err(error) => found.violated(&rules::certificate::CHAIN, error.to_string()),
    }
    dates(leaf, now, found);
    // As if now were within its time: what it is for does not depend on that.
    match leaf.check_client(leaf.not_before_time() + Duration::from_secs(1)) {
        Err(error @ CertificateError::NotForClients { .. }) => {
            found.violated(&rules::certificate::PURPOSE, error.to_string());
        }
        _ => found.holds(
            &rules::certificate::PURPOSE,
            Verdict::Seen,
            "clientAuth, and no CA",
        ),
    }
    subject(leaf, found);
    revoked(config, leaf, chain.as_ref().ok(), now, found);
}

fn dates(leaf: &Certificate, now: SystemTime, found: &mut Judgements) {
    let span = format!("from {} to {}", leaf.not_before(), leaf.not_after());
    let days = leaf.days_left(now);
    match leaf.check_client(now) {
        Err(CertificateError::Expired { .. }) => {
            found.violated(
                &rules::certificate::DATES,
                format!("{span}: it has expired"),
            );
        }
        Err(CertificateError::NotYetValid { .. }) => {
            found.violated(
                &rules::certificate::DATES,
                format!("{span}: it is not valid yet"),
            );
        }
        _ => found.holds(&rules::certificate::DATES, Verdict::Seen, span),
    }
    let left = format!("{days} days are left");
    let grave = RENEWAL.iter().find(|(most, _)| days <= *most);
    match grave {
        _ if days < 0 => found.open(&rules::certificate::RENEWAL, "it has expired already"),
        Some((_, severity)) => found.violated_at(&rules::certificate::RENEWAL, *severity, left),
        None => found.holds(&rules::certificate::RENEWAL, Verdict::Seen, left),
    }
    let life = leaf.lifetime_days();
    let said = format!("{life} days");
    match life <= LONGEST_LIFE {
        true => found.holds(&rules::certificate::LIFETIME, Verdict::Seen, said),
        false => found.violated(&rules::certificate::LIFETIME, said),
    }
}

fn subject(leaf: &Certificate, found: &mut Judgements) {
    let subject = leaf.subject();
    let uuid = |part| {
        let value = subject.first(part);
        value.is_some_and(|value| is_uuid(value.as_bytes()))
    };
    let mut against = Vec::new();
    let country = subject.first(COUNTRY);
    if country.is_none_or(|country| country.len() != 2) {
        against.push("C is not two letters".to_owned());
    }
    if subject.first(ORGANIZATION).is_none() {
        against.push("O is missing".to_owned());
    }
    for (name, part) in [("OU", ORGANIZATIONAL_UNIT), ("CN", COMMON_NAME)] {
        if !uuid(part) {
            against.push(format!("{name} is no UUID"));
        }
    }
    let said = subject.to_string();
    if !against.is_empty() {
        against.push(said.clone());
    }
    found.by(&rules::certificate::SUBJECT, against, Verdict::Seen, said);
}

fn revoked(
    config: &Config,
    leaf: &Certificate,
    chain: Option<&Chain>,
    now: SystemTime,
    found: &mut Judgements,
) {
    const RULE: &Rule = &rules::certificate::REVOKED;
    if config.trust.crls.is_empty() {
        return found.open(RULE, "[trust] names no `crls`");
    }
    let Some(chain) = chain else {
        return found.open(RULE, "its issuer is not known");
    };
    let Ok(anchors) = Anchors::load(config) else {
        return found.open(RULE, "the anchors cannot be read");
    };
    let mut all = chain.certificates().skip(1).chain(anchors.roots());
    let issuer = all.find(|issuer| leaf.is_issued_by(issuer));
    let (mut current, mut open) = (Vec::new(), Vec::new());
    for path in &config.trust.crls {
        let said = |what: &str| format!("{}: {what}", path.display());
        let lists = match RevocationList::read(path) {
            Ok(lists) => lists,
            Err(error) => {
                open.push(said(&error.to_string()));
                continue;
            }
        };
        for list in lists {
            let named = issuer.filter(|issuer| list.names_as_issuer(issuer));
            let signed = named.map(|issuer| list.check_signature(issuer));
            if let Some(Err(fault @ (SignatureError::Unsupported(_) | SignatureError::Weak(_)))) =
                signed
            {
                open.push(said(&format!("its signature cannot be checked: {fault}")));
            } else if signed != Some(Ok(())) {
                open.push(said("it is not of its issuer"));
            } else if list.lists(leaf) {
                // Whatever other lists say, and however old this one is.
                return found.violated(RULE, said("it is on this list"));
            } else if list.is_partial() {
                open.push(said("it is a list of a part, and does not name it"));
            } else if list.is_outdated(now) {
                open.push(said("a newer list is due"));
            } else {
                let next = list.next_update();
                let until = next.map_or(String::new(), |next| format!(", good until {next}"));
                current.push(said(&format!("not on this list{until}")));
            }
        }
    }
    match current.is_empty() {
        true => found.open(RULE, open.join("; ")),
        false => found.holds(RULE, Verdict::Seen, current.join("; ")),
    }
}
