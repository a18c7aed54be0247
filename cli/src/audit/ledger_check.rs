//! Judges the rules of the category `ledger`: the hash chain, the purposes and peers of the key's uses, refused requests. It
//! also counts the uses by day and purpose.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::finding::{Judgements, Verdict};
use super::rules;
use hsm_mtls::internal::config::ledger::LedgerConfig;
use hsm_mtls::internal::config::{Config, KeyRole};
use hsm_mtls::internal::engine::Purpose;
use hsm_mtls::internal::ledger::record_reader::{LedgerLine, RecordReader};
use hsm_mtls::internal::ledger::verify::{self, VerifyError};

/// How often a key was used for one purpose on one day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyUsage {
    /// YYYY-MM-DD, UTC.
    pub day: String,
    /// The purpose, as the ledger has it.
    pub purpose: String,
    /// How many attempts.
    pub count: u64,
}

/// Counts over the records of a ledger.
#[derive(Debug, Default)]
struct RecordCounts {
    /// Uses, by day and purpose.
    uses: BTreeMap<(String, String), u64>,
    /// Uses that the key is not for, by reason.
    unexpected: BTreeMap<String, u64>,
    /// Requests that the signing policy refused, by reason.
    refusals: BTreeMap<String, u64>,
    /// Records of a form that this version does not know.
    unknown_forms: u64,
    /// Uses of other keys.
    other_keys: u64,
    /// TLS uses without a peer.
    without_peer: u64,
}

/// Judges the configured ledger, and counts the uses of the key.
///
/// `key` is the SHA-256 of its public key; `None` counts the uses of all keys.
pub(super) fn judge(
    config: &Config,
    key: Option<&str>,
    judgements: &mut Judgements,
) -> Vec<KeyUsage> {
    let Some(ledger) = &config.ledger else {
        judgements.violated(&rules::ledger::KEPT, "there is no [ledger]");
        judgements
            .rest_not_answerable(rules::ledger::RULES.iter().copied(), "there is no [ledger]");
        judgements.not_answerable(&rules::host::LEDGER, "there is no [ledger]");
        return Vec::new();
    };
    let file = ledger.file.display();
    judgements.holds(&rules::ledger::KEPT, Verdict::Seen, format!("in {file}"));
    match &ledger.head {
        Some(_) => judgements.holds(
            &rules::ledger::HEAD,
            Verdict::Seen,
            "`head` of [ledger] is set",
        ),
        None => judgements.violated(&rules::ledger::HEAD, "`head` of [ledger] is not set"),
    }
    let chain = verify::verify(&ledger.file, None);
    super::host_check::judge_ledger(config, ledger, &chain, judgements);
    let chain = match chain {
        Ok(chain) => chain,
        Err(VerifyError::Unreadable(error)) => {
            judgements
                .rest_not_answerable(rules::ledger::RULES.iter().copied(), &error.to_string());
            return Vec::new();
        }
        Err(flaw) => {
            judgements.violated(&rules::ledger::CHAIN, flaw.to_string());
            judgements.rest_not_answerable(
                rules::ledger::RULES.iter().copied(),
                "the chain does not hold",
            );
            return Vec::new();
        }
    };
    let mut evidence = format!(
        "records {} to {} in {} files; head {}",
        chain.first,
        chain.last,
        chain.files.len(),
        chain.head
    );
    if chain.first > 1 {
        evidence.push_str(&format!("; records before {} are not here", chain.first));
    }
    if chain.repairs > 0 {
        evidence.push_str(&format!("; {} lines that a crash tore", chain.repairs));
    }
    judgements.holds(&rules::ledger::CHAIN, Verdict::Seen, evidence);
    match chain.unfinished.len() {
        0 => judgements.holds(&rules::ledger::OUTCOMES, Verdict::Seen, "all have one"),
        count => judgements.violated(
            &rules::ledger::OUTCOMES,
            format!(
                "{count} have none, the first is record {}",
                chain.unfinished[0]
            ),
        ),
    }
    match count_records(config, ledger, key) {
        Ok(counts) => {
            counts.judge_purposes(judgements);
            judgements.holds_unless(
                &rules::ledger::REFUSALS,
                with_counts(&counts.refusals),
                Verdict::Seen,
                "nobody did",
            );
            counts.usage()
        }
        Err(reason) => {
            judgements.rest_not_answerable(rules::ledger::RULES.iter().copied(), &reason);
            Vec::new()
        }
    }
}

/// Judges the purposes of a second key's uses, and counts them: the rest of the ledger is judged with the first.
pub(super) fn judge_uses(
    config: &Config,
    key: Option<&str>,
    judgements: &mut Judgements,
) -> Vec<KeyUsage> {
    let counted = match (&config.ledger, key) {
        (None, _) => Err("there is no [ledger]".to_owned()),
        // Without its public key its uses are not told from those of the other key.
        (_, None) => Err("its public key is not known".to_owned()),
        (Some(ledger), Some(_)) => count_records(config, ledger, key),
    };
    match counted {
        Ok(counts) => {
            counts.judge_purposes(judgements);
            counts.usage()
        }
        Err(reason) => {
            judgements.not_answerable(&rules::ledger::PURPOSES, reason);
            Vec::new()
        }
    }
}

fn count_records(
    config: &Config,
    ledger: &LedgerConfig,
    key: Option<&str>,
) -> Result<RecordCounts, String> {
    let hosts: Vec<_> = config
        .hub
        .origins()
        .iter()
        .map(|origin| origin.host.clone())
        .collect();
    let role = config.c3.role;
    let mut counts = RecordCounts::default();
    let mut reader = RecordReader::open(&ledger.file).map_err(|error| error.to_string())?;
    let read = reader.read(|line| counts.add(line, key, role, &hosts));
    read.map_err(|flaw| flaw.to_string())?;
    Ok(counts)
}

impl RecordCounts {
    fn add(&mut self, line: LedgerLine<'_>, key: Option<&str>, role: KeyRole, hosts: &[String]) {
        let record = match line {
            LedgerLine::Record(record, _) => record,
            LedgerLine::UnknownForm(_) => return self.unknown_forms += 1,
        };
        match record.kind.as_str() {
            "refused" => {
                let reason = record.why.unwrap_or_default();
                *self.refusals.entry(reason).or_default() += 1;
            }
            // Other environments and older keys may share the ledger.
            "attempt" if key.is_some() && record.spki.as_deref() != key => self.other_keys += 1,
            "attempt" => {
                let purpose = record.purpose.unwrap_or_default();
                let day = record.time.chars().take(10).collect();
                *self.uses.entry((day, purpose.clone())).or_default() += 1;
                self.without_peer += u64::from(record.peer.is_none() && purpose.starts_with("tls"));
                if let Some(reason) = unexpected_use(role, &purpose, record.peer.as_deref(), hosts)
                {
                    *self.unexpected.entry(reason).or_default() += 1;
                }
            }
            _ => {}
        }
    }

    /// Judges the purposes of the uses.
    fn judge_purposes(&self, judgements: &mut Judgements) {
        let mut by_purpose: BTreeMap<&str, u64> = BTreeMap::new();
        for ((_, purpose), count) in &self.uses {
            *by_purpose.entry(purpose).or_default() += count;
        }
        let counts: Vec<_> = by_purpose
            .iter()
            .map(|(purpose, count)| format!("{purpose} {count}"))
            .collect();
        let mut evidence = match counts.is_empty() {
            true => "not used yet".to_owned(),
            false => counts.join(", "),
        };
        if self.other_keys > 0 {
            evidence.push_str(&format!("; {} uses of other keys", self.other_keys));
        }
        if self.without_peer > 0 {
            evidence.push_str(&format!(
                "; {} for a peer that is not told",
                self.without_peer
            ));
        }
        if self.unknown_forms > 0 {
            evidence.push_str(&format!(
                "; {} records of a form that this version does not know",
                self.unknown_forms
            ));
        }
        judgements.holds_unless(
            &rules::ledger::PURPOSES,
            with_counts(&self.unexpected),
            Verdict::Seen,
            evidence,
        );
    }

    /// The uses by day and purpose.
    fn usage(self) -> Vec<KeyUsage> {
        let uses = self.uses.into_iter();
        uses.map(|((day, purpose), count)| KeyUsage {
            day,
            purpose,
            count,
        })
        .collect()
    }
}

/// Each reason, with how often it occurred.
fn with_counts(counts: &BTreeMap<String, u64>) -> Vec<String> {
    let times = |count: &u64| match count {
        1 => "once".to_owned(),
        count => format!("{count} times"),
    };
    let counts = counts.iter();
    let texts = counts.map(|(reason, count)| format!("{}: {reason}", times(count)));
    texts.collect()
}

/// Why the key of this role is not for this use; `None` where it is.
fn unexpected_use(
    role: KeyRole,
    purpose: &str,
    peer: Option<&str>,
    hosts: &[String],
) -> Option<String> {
    let tls = [Purpose::Tls13ClientAuth, Purpose::Tls12ClientAuth].map(Purpose::name);
    let without_peer = [Purpose::Csr, Purpose::Proof, Purpose::SelfTest].map(Purpose::name);
    if without_peer.contains(&purpose) {
        return None;
    }
    if role == KeyRole::Sig4 {
        return (purpose != Purpose::Jwt.name()).then(|| format!("for {purpose}"));
    }
    if !tls.contains(&purpose) {
        return Some(format!("for {purpose}"));
    }
    let host = peer?;
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let configured = hosts
        .iter()
        .any(|known| known.trim_start_matches('[').trim_end_matches(']') == host);
    (!configured).then(|| format!("{purpose} to {host}, which is no configured host"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_is_for_its_own_purposes() {
        let hosts = ["hub.example".to_owned()];
        let peer = Some("hub.example:443");
        let is_unexpected =
            |role, purpose, peer| unexpected_use(role, purpose, peer, &hosts).is_some();
        for role in [KeyRole::C3, KeyRole::Sig4] {
            for purpose in ["csr", "proof", "self-test"] {
                assert!(!is_unexpected(role, purpose, None), "{role:?}: {purpose}");
            }
        }
        assert!(!is_unexpected(KeyRole::C3, "tls13-client-auth", peer));
        assert!(is_unexpected(KeyRole::C3, "jwt", peer));
        assert!(!is_unexpected(KeyRole::Sig4, "jwt", peer));
        assert!(is_unexpected(KeyRole::Sig4, "tls13-client-auth", peer));
        assert!(is_unexpected(KeyRole::Sig4, "tls12-client-auth", None));
    }
}
