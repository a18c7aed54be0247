//! The ledger: whether it can be written and its chain holds, and when each key was used last and for whom. Only its end is read.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use hsm_mtls::internal::config::ledger::LedgerConfig;
use hsm_mtls::internal::ledger::LedgerError;
use hsm_mtls::internal::ledger::recent_records::{RecentRecords, has_closed_files};
use hsm_mtls::internal::ledger::record_reader::Record;
use hsm_mtls::internal::ledger::verify::VerifyError;
use hsm_mtls::internal::owner_and_mode::{Protection, faults};
use hsm_mtls::internal::rfc3339;
use rustix::fs::{Access, access};
use rustix::process::geteuid;
use serde_json::{Value, json};

use super::super::rotate::{is_service, seconds};
use super::environment::Subject;
use super::pair::Pair;
use super::report::Found;
use super::state::State;

const ABOUT: &str = "ledger";
/// Some ten thousand records.
const MAX_BYTES: u64 = 8 << 20;
const DAY: u64 = 86_400;

/// Reads the records of the last day, as far as the bound goes.
pub(super) fn read(config: &LedgerConfig) -> Result<RecentRecords, VerifyError> {
    let since = a_day_ago();
    let is_older = |record: &Record| seconds(&record.time).is_some_and(|at| at < since);
    RecentRecords::read(&config.file, MAX_BYTES, is_older)
}

fn a_day_ago() -> u64 {
    rfc3339::unix_now().saturating_sub(DAY)
}

pub(super) fn add(found: &mut Found, subject: &Subject<'_>, pairs: &[Pair]) {
    let (Some(config), Some(recent)) = (&subject.config.ledger, subject.recent) else {
        found.item(
            ABOUT,
            State::Ok,
            "none is configured: uses of the key are not recorded",
        );
        return;
    };
    let file = &config.file;
    let recent = match recent {
        Ok(recent) => recent,
        Err(error) => return unreadable(found, file, error),
    };
    let last = recent.records.first().map(|record| record.time.clone());
    let whole = match recent.is_whole {
        true if has_closed_files(file) => "the chain within each of its files holds",
        true => "its chain holds",
        false => "the chain of its end holds",
    };
    match (unwritable(file), &last) {
        (Some(why), _) => {
            found.item(ABOUT, State::Critical, why);
            let text =
                "have the service's user write the ledger: nothing is signed without a record";
            found.act_now(text, None);
        }
        (None, None) => found.item(
            ABOUT,
            State::Ok,
            format!("{}: no record yet", file.display()),
        ),
        (None, Some(last)) => {
            let (file, at) = (file.display(), without_fraction(last));
            found.item(
                ABOUT,
                State::Ok,
                format!("{file}: last record {at}, {whole}"),
            );
        }
    }
    let outcomes = outcomes(&recent.records);
    let mut uses = Vec::new();
    for pair in pairs {
        let of_pair = Uses::of(recent, pair, a_day_ago(), &outcomes);
        of_pair.tell(found, pair);
        uses.push(of_pair.as_json(pair));
    }
    found.details.insert(
        ABOUT.to_owned(),
        json!({ "file": file, "last_record": last, "read_whole": recent.is_whole, "uses": uses }),
    );
}

fn unreadable(found: &mut Found, file: &Path, error: &VerifyError) {
    let kind = match error {
        VerifyError::Unreadable(LedgerError::Unreadable { source, .. }) => Some(source.kind()),
        _ => None,
    };
    match kind {
        Some(ErrorKind::NotFound) if has_closed_files(file) => {
            let text = format!(
                "{} is not there, and closed files of it are",
                file.display()
            );
            found.item(ABOUT, State::Critical, text);
            found.act_now(
                "find out who removed the ledger: `hsm-mtls ledger verify` compares all its files",
                None,
            );
        }
        Some(ErrorKind::NotFound) => {
            let text = format!(
                "{}: not there yet, and made by the first use of a key",
                file.display()
            );
            found.item(ABOUT, State::Ok, text);
        }
        Some(ErrorKind::PermissionDenied) => found.item(ABOUT, State::Unknown, error.to_string()),
        _ => {
            found.item(ABOUT, State::Critical, error.to_string());
            let text = match error {
                VerifyError::Unreadable(_) => "have the ledger readable",
                _ => {
                    "find out who changed the ledger, and keep the files as they are: they are evidence"
                }
            };
            found.act_now(text, Some("hsm-mtls ledger verify"));
        }
    }
    let detail = json!({ "file": file, "last_record": null, "read_whole": null, "uses": [] });
    found.details.insert(ABOUT.to_owned(), detail);
}

/// Why records cannot be written, as far as this user can tell: it is the file's owner, or root.
fn unwritable(file: &Path) -> Option<String> {
    let owner = fs::metadata(file).ok()?.uid();
    let user = geteuid();
    if !user.is_root() && user.as_raw() != owner {
        return None;
    }
    if let Err(error) = access(file, Access::WRITE_OK) {
        return Some(format!("{}: it cannot be written: {error}", file.display()));
    }
    // Root looks at a service's file: whose it may be is for the service to say.
    let faults = match user.as_raw() == owner {
        true => faults(file, Protection::SharedByGroup),
        false => Vec::new(),
    };
    faults
        .first()
        .map(|fault| format!("the service refuses it: {fault}"))
}

/// `2026-11-30T14:55:02Z`
fn without_fraction(time: &str) -> String {
    time.get(..19)
        .map_or_else(|| time.to_owned(), |whole| format!("{whole}Z"))
}

/// How each operation ended, by the number of its first record.
fn outcomes(records: &[Record]) -> BTreeMap<u64, &Record> {
    let outcomes = records.iter().filter(|record| record.kind == "outcome");
    outcomes
        .filter_map(|record| Some((record.of?, record)))
        .collect()
}

/// What a key was used for of late.
struct Uses {
    last: Option<Use>,
    /// The last one for each peer.
    by_peer: BTreeMap<String, String>,
    in_last_day: u64,
    /// Whether all of the last day was read.
    is_day_whole: bool,
}

struct Use {
    at: String,
    purpose: String,
    peer: Option<String>,
    /// `None`: it is not over, or its process ended before it.
    result: Option<String>,
    why: Option<String>,
    /// The public key is another than that of the certificate.
    is_of_other_key: bool,
}

impl Uses {
    fn of(
        recent: &RecentRecords,
        pair: &Pair,
        since: u64,
        outcomes: &BTreeMap<u64, &Record>,
    ) -> Self {
        let mut uses = Self {
            last: None,
            by_peer: BTreeMap::new(),
            in_last_day: 0,
            is_day_whole: recent.is_whole,
        };
        let spki = pair.certificate.as_ref().and_then(|certificate| {
            let key = certificate.public_key()?;
            Some(key.fingerprint().to_string())
        });
        for record in &recent.records {
            let at = seconds(&record.time);
            uses.is_day_whole |= at.is_some_and(|at| at < since);
            let purpose = record.purpose.as_deref().unwrap_or_default();
            if record.kind != "attempt" || !is_service(pair.role, purpose) {
                continue;
            }
            uses.in_last_day += u64::from(at.is_some_and(|at| at >= since));
            let time = without_fraction(&record.time);
            if let Some(peer) = &record.peer {
                uses.by_peer
                    .entry(peer.clone())
                    .or_insert_with(|| time.clone());
            }
            if uses.last.is_none() {
                let outcome = outcomes.get(&record.seq);
                uses.last = Some(Use {
                    at: time,
                    purpose: purpose.to_owned(),
                    peer: record.peer.clone(),
                    result: outcome.and_then(|outcome| outcome.result.clone()),
                    why: outcome.and_then(|outcome| outcome.ckr.clone().or(outcome.class.clone())),
                    is_of_other_key: spki.is_some() && record.spki.is_some() && record.spki != spki,
                });
            }
        }
        uses
    }

    fn tell(&self, found: &mut Found, pair: &Pair) {
        let about = pair.about("use");
        let Some(last) = &self.last else {
            return found.item(about, State::Ok, "none, as far back as the ledger was read");
        };
        let at_least = if self.is_day_whole { "" } else { "at least " };
        let count = format!("{at_least}{} in the last 24 h", self.in_last_day);
        let peer = last
            .peer
            .as_ref()
            .map_or(String::new(), |peer| format!(" for {peer}"));
        let result = match (last.result.as_deref(), &last.why) {
            (Some("good"), _) => "good".to_owned(),
            (Some(result), Some(why)) => format!("{result}: {why}"),
            (Some(result), None) => result.to_owned(),
            (None, _) => "without an outcome".to_owned(),
        };
        let other = match last.is_of_other_key {
            true => "; with another key than the certificate's",
            false => "",
        };
        let is_wrong = last.result.as_deref() == Some("failed");
        let is_other = last.is_of_other_key && !pair.is_in_rotation;
        let state = match is_wrong || is_other {
            true => State::Warning,
            false => State::Ok,
        };
        let text = format!(
            "{} {}{peer}: {result}; {count}{other}",
            last.at, last.purpose
        );
        found.item(about, state, text);
        if is_wrong {
            found.act_now(
                "find out why the last signature failed",
                Some("hsm-mtls token check"),
            );
        }
    }

    fn as_json(&self, pair: &Pair) -> Value {
        json!({
            "role": pair.role.section(),
            "last": self.last.as_ref().map(|last| json!({
                "at": last.at,
                "purpose": last.purpose,
                "peer": last.peer,
                "result": last.result,
            })),
            "last_by_peer": self.by_peer,
            "in_last_day": self.in_last_day,
            "last_day_read_whole": self.is_day_whole,
        })
    }
}
