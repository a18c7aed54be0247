//! This machine: who can change what the key's use rests on, who can read the PIN, and who may call.

use std::env;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::file_permissions::{changeable_by_others, described, readable_by_others};
use super::finding::{Judgements, Verdict};
use super::key_file_search as key_files;
use super::rule::{Rule, Severity};
use super::rules;
use hsm_mtls::internal::config::ledger::LedgerConfig;
use hsm_mtls::internal::config::listener::{Callers, ListenAddress};
use hsm_mtls::internal::config::pin::PinSource;
use hsm_mtls::internal::config::{CertificateSource, Config};
use hsm_mtls::internal::key::public::PublicKey;
use hsm_mtls::internal::ledger::verify::{ChainSummary, VerifyError};
use hsm_mtls::internal::signer::hardening::Measure;

/// Files that are named one by one.
const MOST_SAID: usize = 40;

/// All that files and the configuration tell.
pub(super) fn judge(config: &Config, found: &mut Judgements) {
    file(found, &rules::host::CONFIGURATION, &config.path);
    pin(&config.token.pin, found);
    let mut files = vec![config.trust.anchors.clone()];
    files.extend(config.trust.crls.iter().cloned());
    if let CertificateSource::File(path) = &config.c3.certificate {
        files.extend(Some(path.clone()).filter(|path| path.exists()));
    }
    let mut against = Vec::new();
    for path in &files {
        against.extend(not_ours(path));
    }
    against.dedup();
    found.by(
        &rules::host::TRUST_ANCHORS,
        against,
        Verdict::Seen,
        shown(&files),
    );
    state(config, found);
    callers(config, found);
}

fn file(found: &mut Judgements, rule: &'static Rule, path: &Path) {
    let said = described(path).unwrap_or_default();
    found.by(rule, not_ours(path), Verdict::Seen, said);
}

fn not_ours(path: &Path) -> Vec<String> {
    changeable_by_others(path).unwrap_or_else(|error| vec![format!("{}: {error}", path.display())])
}

fn shown(files: &[PathBuf]) -> String {
    let all: Vec<_> = files
        .iter()
        .filter_map(|path| described(path).ok())
        .collect();
    all.join(", ")
}

fn pin(source: &PinSource, found: &mut Judgements) {
    const RULE: &Rule = &rules::host::PIN;
    let secret = |path: &Path, forbidden| -> io::Result<Vec<String>> {
        let mut against = changeable_by_others(path)?;
        against.extend(readable_by_others(path, forbidden)?);
        Ok(against)
    };
    let (path, forbidden) = match source {
        PinSource::Prompt => return found.holds(RULE, Verdict::Seen, "a person types it"),
        PinSource::ProtectedPath => {
            return found.holds(RULE, Verdict::Seen, "it is typed at the token");
        }
        PinSource::Env(name) => {
            return found.violated_at(
                RULE,
                Severity::Medium,
                format!("{name} is in the environment of every process that is started from there"),
            );
        }
        PinSource::File(path) => (path.clone(), 0o077),
        PinSource::Credential(name) => match env::var_os("CREDENTIALS_DIRECTORY") {
            // systemd gives the service's user access by an ACL, which shows as the group's r.
            Some(folder) => (PathBuf::from(folder).join(name), 0o037),
            None => {
                return found.open(
                    RULE,
                    "a credential of systemd's, which is there for the service only",
                );
            }
        },
        PinSource::Command(words) => return pin_command(words, found),
    };
    match secret(&path, forbidden) {
        Err(error) => found.open(RULE, format!("{}: {error}", path.display())),
        Ok(against) => {
            found.by(
                RULE,
                against,
                Verdict::Seen,
                described(&path).unwrap_or_default(),
            );
        }
    }
}

/// Where a PIN comes from, so that two that are the same place read the same. A name in the environment, or
/// of a credential, is each service's own.
pub(super) fn pin_place(source: &PinSource) -> Option<String> {
    match source {
        PinSource::File(path) => {
            let path = fs::canonicalize(path).unwrap_or_else(|_| path.clone());
            Some(format!("file {}", path.display()))
        }
        // Its arguments stay unsaid, and they decide.
        PinSource::Command(words) if words.len() == 1 => Some(source.to_string()),
        PinSource::Command(_)
        | PinSource::Env(_)
        | PinSource::Credential(_)
        | PinSource::Prompt
        | PinSource::ProtectedPath => None,
    }
}

/// Who can change the program, or a file that it is given, gets the PIN too.
fn pin_command(words: &[String], found: &mut Judgements) {
    let named = words.iter().map(Path::new);
    let files: Vec<_> = named
        .filter(|word| word.is_absolute() && word.is_file())
        .map(Path::to_owned)
        .collect();
    if files.is_empty() {
        return found.open(&rules::host::PIN, "the program that gives it is not there");
    }
    let mut against: Vec<_> = files.iter().flat_map(|file| not_ours(file)).collect();
    // A program may be for everybody to read; what it is told to read is not.
    for file in files
        .iter()
        .filter(|file| words.first().map(Path::new) != Some(file))
    {
        let program = fs::metadata(file).is_ok_and(|meta| meta.mode() & 0o111 != 0);
        against.extend(
            readable_by_others(file, 0o077)
                .ok()
                .flatten()
                .filter(|_| !program),
        );
    }
    found.by(&rules::host::PIN, against, Verdict::Seen, shown(&files));
}

/// The files of the ledger, as far as the chain tells of them.
pub(super) fn judge_ledger(
    ledger: &LedgerConfig,
    history: &Result<ChainSummary, VerifyError>,
    found: &mut Judgements,
) {
    const RULE: &Rule = &rules::host::LEDGER;
    // Before the first record the folder decides. Files that are closed are evidence as much as the open one.
    let mut files = match (ledger.file.exists(), ledger.file.parent()) {
        (false, Some(folder)) => vec![folder.to_owned()],
        _ => vec![ledger.file.clone()],
    };
    if let Ok(history) = history {
        files.extend(history.files.iter().filter(|file| file.exists()).cloned());
    }
    let mut against = Vec::new();
    for file in &files {
        for reason in not_ours(file) {
            if !against.contains(&reason) {
                against.push(reason);
            }
        }
    }
    files.retain(|file| file.is_file());
    files.dedup();
    for file in &files {
        let everybody = readable_by_others(file, 0o004).ok().flatten();
        against.extend(everybody.map(|said| format!("everybody may read it: {said}")));
    }
    let said = match files.is_empty() {
        true => "nothing is recorded yet".to_owned(),
        false => shown(&files),
    };
    found.by(RULE, against, Verdict::Seen, said);
}

fn state(config: &Config, found: &mut Judgements) {
    const RULE: &Rule = &rules::host::STATE;
    match config.token.state_folder() {
        None => found.violated(
            RULE,
            "refused PINs are remembered nowhere: set `state_dir` of [[token]]",
        ),
        Some(folder) if !folder.exists() => {
            found.open(RULE, format!("{} is not there yet", folder.display()))
        }
        Some(folder) => file(found, RULE, &folder),
    }
}

fn callers(config: &Config, found: &mut Judgements) {
    let Some(proxy) = &config.proxy else {
        found.open(&rules::host::CALLERS, "there is no [proxy]");
        return found.open(&rules::host::LISTENS, "there is no [proxy]");
    };
    let (mut against, mut places) = (Vec::new(), Vec::new());
    for listener in &proxy.listeners {
        let place = &listener.address;
        let who = match &listener.callers {
            Callers::SameUser => "processes of the user that runs it".to_owned(),
            Callers::Peers { uids, gids } => format!("uids {uids:?} and gids {gids:?}"),
            Callers::SocketMode => {
                if let ListenAddress::Unix { mode, .. } = place
                    && place.is_open_to_all()
                {
                    against.push(format!(
                        "{place}: its mode {mode:04o} lets everybody connect"
                    ));
                }
                "whoever its mode lets connect".to_owned()
            }
            Callers::Token(path) => {
                let readable = readable_by_others(path, 0o037);
                against.extend(readable.ok().flatten());
                // Whoever can write it gives everybody a token that they know.
                against.extend(changeable_by_others(path).unwrap_or_default());
                format!("who knows the token of {}", path.display())
            }
            Callers::AnyLocalProcess if !place.is_open_to_all() => {
                "whoever its mode lets connect".to_owned()
            }
            Callers::AnyLocalProcess => {
                against.push(format!("{place}: every process of this machine may call"));
                "every process of this machine".to_owned()
            }
        };
        places.push(format!("{place}: {who}"));
    }
    let said = places.join("; ");
    found.by(&rules::host::CALLERS, against, Verdict::Seen, said.clone());
    let operations = proxy.operations.as_ref();
    let operations = operations.map_or(String::new(), |place| {
        format!("; operations at {}", place.address)
    });
    found.holds(&rules::host::LISTENS, Verdict::Seen, said + &operations);
}

/// Whether a file holds the key: one of these folders, or the certificate's, into which a key is exported
/// most easily.
pub(super) fn judge_key_files(
    folders: &[PathBuf],
    certificate: &CertificateSource,
    key: &PublicKey,
    found: &mut Judgements,
) {
    const RULE: &Rule = &rules::host::KEY_FILES;
    let mut places = folders.to_vec();
    if let CertificateSource::File(path) = certificate {
        places.extend(Some(path.clone()).filter(|path| path.exists()));
    }
    let mut seen = key_files::search(&places, key);
    seen.copies.sort();
    seen.copies.dedup();
    if !seen.copies.is_empty() {
        let copies = seen.copies.iter().map(|path| path.display().to_string());
        return found.violated_by(RULE, copies.collect());
    }
    if folders.is_empty() {
        return found.open(RULE, "no folder was named: --search");
    }
    let mut open = seen.unread;
    open.extend(seen.denied);
    // A page of them says as much as a book.
    let more = open.len().saturating_sub(MOST_SAID);
    open.truncate(MOST_SAID);
    open.extend((more > 0).then(|| format!("and {more} more")));
    let mut looked = format!(
        "{} files, {} private keys of others",
        seen.files, seen.others
    );
    if seen.links > 0 {
        looked.push_str(&format!("; {} links were not followed", seen.links));
    }
    match open.is_empty() {
        true => found.holds(RULE, Verdict::Seen, looked),
        false => found.open(RULE, format!("{looked}; {}", open.join("; "))),
    }
}

/// What is in force in a signer process that was started for this.
pub(super) fn judge_hardening(parts: &[Measure], found: &mut Judgements) {
    let said = |part: &Measure| format!("{}: {}", part.name, part.detail);
    // Landlock for the signer is the operator's choice: vendors' modules need what they need.
    let missing = parts
        .iter()
        .filter(|part| !part.in_force && part.name != "Landlock");
    let all: Vec<_> = parts
        .iter()
        .filter(|part| part.in_force)
        .map(|part| part.name.clone())
        .collect();
    found.by(
        &rules::host::HARDENING,
        missing.map(said).collect(),
        Verdict::Seen,
        all.join(", "),
    );
}
