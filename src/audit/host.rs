//! This machine: who can change what the key's use rests on, who can read the PIN, and who may call.

use std::env;
use std::io;
use std::path::{Path, PathBuf};

use super::finding::{Judgements, Verdict};
use super::key_files;
use super::place::{changeable_by_others, described, readable_by_others};
use super::rule::Severity;
use crate::config::listener::{Callers, Place};
use crate::config::pin::PinSource;
use crate::config::{CertificateSource, Config};
use crate::key::public::PublicKey;
use crate::signer::hardening::Part;

/// Files that are named one by one.
const MOST_SAID: usize = 40;

/// All that files and the configuration tell.
pub(super) fn judge(config: &Config, found: &mut Judgements) {
    file(found, "host.configuration", &config.path);
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
    found.by("host.trust-anchors", against, Verdict::Seen, shown(&files));
    ledger(config, found);
    state(config, found);
    callers(config, found);
}

fn file(found: &mut Judgements, rule: &'static str, path: &Path) {
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
    const RULE: &str = "host.pin";
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
        PinSource::Command(words) => return command(words, found),
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

/// Who can change the program gets the PIN too, and so does who reads what it reads.
fn command(words: &[String], found: &mut Judgements) {
    const RULE: &str = "host.pin";
    let (mut against, mut files) = (Vec::new(), 0);
    for (number, word) in words.iter().enumerate() {
        let path = Path::new(word);
        if number > 0 && !(path.is_absolute() && path.exists()) {
            continue;
        }
        files += usize::from(number > 0);
        against.extend(not_ours(path));
        if number > 0 {
            against.extend(readable_by_others(path, 0o077).ok().flatten());
        }
    }
    let program = words.first().map_or("", String::as_str);
    let said = described(Path::new(program)).unwrap_or_default();
    match (against.is_empty(), files) {
        (false, _) => found.violated_by(RULE, against),
        (true, 0) => found.open(
            RULE,
            format!("{said}: where it has the PIN from cannot be seen here"),
        ),
        (true, _) => found.holds(
            RULE,
            Verdict::Seen,
            format!("{said}, and the files that it is told"),
        ),
    }
}

fn ledger(config: &Config, found: &mut Judgements) {
    const RULE: &str = "host.ledger";
    let Some(ledger) = &config.ledger else {
        return found.open(RULE, "there is no [ledger]");
    };
    match changeable_by_others(&ledger.file) {
        Err(error) => found.open(RULE, format!("{}: {error}", ledger.file.display())),
        Ok(mut against) => {
            let readable = readable_by_others(&ledger.file, 0o004);
            let everybody = readable.ok().flatten();
            against.extend(everybody.map(|said| format!("everybody may read it: {said}")));
            let said = described(&ledger.file).unwrap_or_default();
            found.by(RULE, against, Verdict::Seen, said);
        }
    }
}

fn state(config: &Config, found: &mut Judgements) {
    const RULE: &str = "host.state";
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
        found.open("host.callers", "there is no [proxy]");
        return found.open("host.listens", "there is no [proxy]");
    };
    let (mut against, mut places) = (Vec::new(), Vec::new());
    for listener in &proxy.listeners {
        let place = &listener.place;
        let who = match &listener.callers {
            Callers::Own => "processes of the user that runs it".to_owned(),
            Callers::Peers { uids, gids } => format!("uids {uids:?} and gids {gids:?}"),
            Callers::SocketMode => {
                if let Place::Unix { mode, .. } = place
                    && mode & 0o002 != 0
                {
                    against.push(format!(
                        "{place}: its mode {mode:04o} lets everybody connect"
                    ));
                }
                "whoever its mode lets connect".to_owned()
            }
            Callers::Token(path) => {
                against.extend(not_ours(path));
                against.extend(readable_by_others(path, 0o037).ok().flatten());
                format!("who knows the token of {}", path.display())
            }
            Callers::AnyLocalProcess => {
                against.push(format!("{place}: every process of this machine may call"));
                "every process of this machine".to_owned()
            }
        };
        places.push(format!("{place}: {who}"));
    }
    let said = places.join("; ");
    found.by("host.callers", against, Verdict::Seen, said.clone());
    let operations = proxy.operations.as_ref();
    let operations = operations.map_or(String::new(), |place| {
        format!("; operations at {}", place.place)
    });
    found.holds("host.listens", Verdict::Seen, said + &operations);
}

/// Whether a file holds the key.
pub(super) fn judge_key_files(folders: &[PathBuf], key: &PublicKey, found: &mut Judgements) {
    const RULE: &str = "host.key-files";
    if folders.is_empty() {
        return found.open(RULE, "no folder was named: --search");
    }
    let seen = key_files::search(folders, key);
    if !seen.copies.is_empty() {
        let copies = seen.copies.iter().map(|path| path.display().to_string());
        return found.violated_by(RULE, copies.collect());
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
    if seen.long > 0 {
        looked.push_str(&format!("; of {} only the first MiB", seen.long));
    }
    if seen.links > 0 {
        looked.push_str(&format!("; {} links were not followed", seen.links));
    }
    match open.is_empty() {
        true => found.holds(RULE, Verdict::Seen, looked),
        false => found.open(RULE, format!("{looked}; {}", open.join("; "))),
    }
}

/// What is in force in a signer process that was started for this.
pub(super) fn judge_hardening(parts: &[Part], found: &mut Judgements) {
    let said = |part: &Part| format!("{}: {}", part.name, part.detail);
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
        "host.hardening",
        missing.map(said).collect(),
        Verdict::Seen,
        all.join(", "),
    );
}
