//! What the record says that the key was used for: whether it holds, how often for what, and what is in it
//! that should not be.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::finding::{Judgements, Verdict};
use super::rules;
use hsm_mtls::internal::config::Config;
use hsm_mtls::internal::config::ledger::LedgerConfig;
use hsm_mtls::internal::engine::Purpose;
use hsm_mtls::internal::ledger::record_reader::{LedgerLine, RecordReader};
use hsm_mtls::internal::ledger::verify::{self, VerifyError};

/// How often a key was used for something on a day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyUsage {
    /// YYYY-MM-DD, UTC.
    pub day: String,
    /// What for, as the ledger has it.
    pub purpose: String,
    /// Attempts.
    pub count: u64,
}

/// What a ledger tells of uses.
#[derive(Debug, Default)]
struct Told {
    uses: BTreeMap<(String, String), u64>,
    strange: BTreeMap<String, u64>,
    refusals: BTreeMap<String, u64>,
    other_forms: u64,
    of_others: u64,
    without_peer: u64,
}

/// Judges the configured ledger, and says what the key was used for.
///
/// `key`: SHA-256 of its public key; where it is not known, all keys' uses count.
pub(super) fn judge(config: &Config, key: Option<&str>, found: &mut Judgements) -> Vec<KeyUsage> {
    let Some(ledger) = &config.ledger else {
        found.violated(&rules::ledger::KEPT, "there is no [ledger]");
        found.rest(rules::ledger::RULES.iter().copied(), "there is no [ledger]");
        found.open(&rules::host::LEDGER, "there is no [ledger]");
        return Vec::new();
    };
    let file = ledger.file.display();
    found.holds(&rules::ledger::KEPT, Verdict::Seen, format!("in {file}"));
    match &ledger.head {
        Some(_) => found.holds(
            &rules::ledger::HEAD,
            Verdict::Seen,
            "`head` of [ledger] is set",
        ),
        None => found.violated(&rules::ledger::HEAD, "`head` of [ledger] is not set"),
    }
    let history = verify::verify(&ledger.file, None);
    super::host_check::judge_ledger(ledger, &history, found);
    let history = match history {
        Ok(history) => history,
        Err(VerifyError::Unreadable(error)) => {
            found.rest(rules::ledger::RULES.iter().copied(), &error.to_string());
            return Vec::new();
        }
        Err(flaw) => {
            found.violated(&rules::ledger::CHAIN, flaw.to_string());
            found.rest(
                rules::ledger::RULES.iter().copied(),
                "the chain does not hold",
            );
            return Vec::new();
        }
    };
    let mut said = format!(
        "records {} to {} in {} files; head {}",
        history.first,
        history.last,
        history.files.len(),
        history.head
    );
    if history.first > 1 {
        said.push_str(&format!("; records before {} are not here", history.first));
    }
    if history.repairs > 0 {
        said.push_str(&format!("; {} lines that a crash tore", history.repairs));
    }
    found.holds(&rules::ledger::CHAIN, Verdict::Seen, said);
    match history.unfinished.len() {
        0 => found.holds(&rules::ledger::OUTCOMES, Verdict::Seen, "all have one"),
        count => found.violated(
            &rules::ledger::OUTCOMES,
            format!(
                "{count} have none, the first is record {}",
                history.unfinished[0]
            ),
        ),
    }
    match read(config, ledger, key) {
        Ok(told) => told.judge(found),
        Err(why) => {
            found.rest(rules::ledger::RULES.iter().copied(), &why);
            Vec::new()
        }
    }
}

fn read(config: &Config, ledger: &LedgerConfig, key: Option<&str>) -> Result<Told, String> {
    let hosts: Vec<_> = config
        .hub
        .origins()
        .map(|origin| origin.host.clone())
        .into();
    let mut told = Told::default();
    let mut reader = RecordReader::open(&ledger.file).map_err(|error| error.to_string())?;
    let read = reader.read(|seen| told.take(seen, key, &hosts));
    read.map_err(|flaw| flaw.to_string())?;
    Ok(told)
}

impl Told {
    fn take(&mut self, seen: LedgerLine<'_>, key: Option<&str>, hosts: &[String]) {
        let record = match seen {
            LedgerLine::Record(record, _) => record,
            LedgerLine::UnknownForm(_) => return self.other_forms += 1,
        };
        match record.kind.as_str() {
            "refused" => {
                let why = record.why.unwrap_or_default();
                *self.refusals.entry(why).or_default() += 1;
            }
            // Several environments, or an old key, may be on one record.
            "attempt" if key.is_some() && record.spki.as_deref() != key => self.of_others += 1,
            "attempt" => {
                let purpose = record.purpose.unwrap_or_default();
                let day = record.time.chars().take(10).collect();
                let key = (day, purpose.clone());
                *self.uses.entry(key).or_default() += 1;
                self.without_peer += u64::from(record.peer.is_none() && purpose.starts_with("tls"));
                if let Some(why) = strange(&purpose, record.peer.as_deref(), hosts) {
                    *self.strange.entry(why).or_default() += 1;
                }
            }
            _ => {}
        }
    }

    fn judge(self, found: &mut Judgements) -> Vec<KeyUsage> {
        let listed = |all: &BTreeMap<String, u64>| {
            let all = all.iter();
            let times = |count: &u64| match count {
                1 => "once".to_owned(),
                count => format!("{count} times"),
            };
            all.map(|(what, count)| format!("{}: {what}", times(count)))
                .collect::<Vec<_>>()
        };
        let mut by_purpose: BTreeMap<&str, u64> = BTreeMap::new();
        for ((_, purpose), count) in &self.uses {
            *by_purpose.entry(purpose).or_default() += count;
        }
        let counts: Vec<_> = by_purpose
            .iter()
            .map(|(purpose, count)| format!("{purpose} {count}"))
            .collect();
        let mut said = match counts.is_empty() {
            true => "not used yet".to_owned(),
            false => counts.join(", "),
        };
        if self.of_others > 0 {
            said.push_str(&format!("; {} uses of other keys", self.of_others));
        }
        if self.without_peer > 0 {
            said.push_str(&format!(
                "; {} for a peer that is not told",
                self.without_peer
            ));
        }
        if self.other_forms > 0 {
            said.push_str(&format!(
                "; {} records of a form that this version does not know",
                self.other_forms
            ));
        }
        found.by(
            &rules::ledger::PURPOSES,
            listed(&self.strange),
            Verdict::Seen,
            said,
        );
        let refusals = listed(&self.refusals);
        found.by(
            &rules::ledger::REFUSALS,
            refusals,
            Verdict::Seen,
            "nobody did",
        );
        let uses = self.uses.into_iter();
        uses.map(|((day, purpose), count)| KeyUsage {
            day,
            purpose,
            count,
        })
        .collect()
    }
}

/// Why a use is not what the key is for.
fn strange(purpose: &str, peer: Option<&str>, hosts: &[String]) -> Option<String> {
    let tls = [Purpose::Tls13ClientAuth, Purpose::Tls12ClientAuth].map(Purpose::name);
    let own = [Purpose::Csr, Purpose::Proof, Purpose::SelfTest].map(Purpose::name);
    if own.contains(&purpose) {
        return None;
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
