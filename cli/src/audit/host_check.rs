//! Judges the rules of the category `host`: who can change configuration, trust anchors, ledger and state, who can read the
//! PIN, who can call the proxy, and whether a file holds the key.

use std::env;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::file_permissions::{changeable_by_others, path_and_mode, readable_by_others};
use super::finding::{Judgements, Verdict};
use super::key_file_search;
use super::named_paths;
use super::rule::{Rule, Severity};
use super::rules;
use hsm_mtls::internal::config::ledger::LedgerConfig;
use hsm_mtls::internal::config::listener::{Callers, ListenAddress};
use hsm_mtls::internal::config::paths::PathRole;
use hsm_mtls::internal::config::pin::PinSource;
use hsm_mtls::internal::config::{CertificateSource, Config};
use hsm_mtls::internal::key::public::PublicKey;
use hsm_mtls::internal::ledger::verify::{ChainSummary, VerifyError};
use hsm_mtls::internal::owner_and_mode::{Protection, faults_of};
use hsm_mtls::internal::signer::hardening::{MEMORY_LOCKED, Measure};

/// How many files that could not be compared are listed.
const MAX_LISTED: usize = 40;

/// Judges the rules that need neither token nor key.
pub(super) fn judge(config: &Config, judgements: &mut Judgements) {
    let mut violations = named_paths::violations(config, &rules::host::CONFIGURATION);
    violations.extend(
        config
            .check_log_folder()
            .err()
            .map(|error| error.to_string()),
    );
    judgements.holds_unless(
        &rules::host::CONFIGURATION,
        violations,
        Verdict::Seen,
        path_and_mode(&config.path).unwrap_or_default(),
    );
    judge_pin(config, judgements);
    let mut files = vec![config.trust.anchors.clone()];
    files.extend(config.trust.crl_files().map(Path::to_owned));
    if let CertificateSource::File(path) = &config.c3.certificate {
        files.extend(Some(path.clone()).filter(|path| path.exists()));
    }
    judgements.holds_unless(
        &rules::host::TRUST_ANCHORS,
        named_paths::violations(config, &rules::host::TRUST_ANCHORS),
        Verdict::Seen,
        list_files(&files),
    );
    judge_state_dir(config, judgements);
    judge_callers(config, judgements);
}

/// Why others can change a file, or why that is not known.
fn writable_reasons(path: &Path) -> Vec<String> {
    changeable_by_others(path).unwrap_or_else(|error| vec![format!("{}: {error}", path.display())])
}

/// The files with their modes, as evidence.
fn list_files(files: &[PathBuf]) -> String {
    let files: Vec<_> = files
        .iter()
        .filter_map(|path| path_and_mode(path).ok())
        .collect();
    files.join(", ")
}

/// Judges who can read or change the source of the PIN.
fn judge_pin(config: &Config, judgements: &mut Judgements) {
    const RULE: &Rule = &rules::host::PIN;
    let path = match &config.token.pin {
        PinSource::Prompt => return judgements.holds(RULE, Verdict::Seen, "a person types it"),
        PinSource::ProtectedPath => {
            return judgements.holds(RULE, Verdict::Seen, "it is typed at the token");
        }
        PinSource::None => return judgements.holds(RULE, Verdict::Seen, "no PIN is sent"),
        PinSource::Empty => {
            return judgements.holds(
                RULE,
                Verdict::Seen,
                "an empty PIN is sent: there is none to read",
            );
        }
        PinSource::Env(name) => {
            return judgements.violated_with_severity(
                RULE,
                Severity::Medium,
                format!("{name} is in the environment of every process that is started from there"),
            );
        }
        PinSource::File(path) => path.clone(),
        PinSource::Credential(name) => match env::var_os("CREDENTIALS_DIRECTORY") {
            Some(folder) => PathBuf::from(folder).join(name),
            None => {
                return judgements.not_answerable(
                    RULE,
                    "a credential of systemd's, which is there for the service only",
                );
            }
        },
        PinSource::Command(words) => return judge_pin_command(config, words, judgements),
    };
    match path_and_mode(&path) {
        Err(error) => judgements.not_answerable(RULE, format!("{}: {error}", path.display())),
        Ok(evidence) => {
            let violations = named_paths::violations(config, RULE);
            judgements.holds_unless(RULE, violations, Verdict::Seen, evidence);
        }
    }
}

/// The source of a PIN in a canonical form, which is equal for the same source. `None` for sources that are not comparable
/// between services, such as variables and credentials.
pub(super) fn comparable_pin_source(source: &PinSource) -> Option<String> {
    match source {
        PinSource::File(path) => {
            let path = fs::canonicalize(path).unwrap_or_else(|_| path.clone());
            Some(format!("file {}", path.display()))
        }
        // With arguments it is not comparable: they choose the PIN, and may be secret, so they are not printed.
        PinSource::Command(words) if words.len() == 1 => Some(source.to_string()),
        PinSource::Command(_)
        | PinSource::Env(_)
        | PinSource::Credential(_)
        | PinSource::Prompt
        | PinSource::ProtectedPath
        | PinSource::Empty
        | PinSource::None => None,
    }
}

/// Judges the program that prints the PIN: whoever can change it, or a file in its arguments, has the PIN too.
fn judge_pin_command(config: &Config, words: &[String], judgements: &mut Judgements) {
    let paths = words.iter().map(Path::new);
    let files: Vec<_> = paths
        .filter(|word| word.is_absolute() && word.is_file())
        .map(Path::to_owned)
        .collect();
    if files.is_empty() {
        return judgements
            .not_answerable(&rules::host::PIN, "the program that gives it is not there");
    }
    let mut violations = named_paths::violations(config, &rules::host::PIN);
    // Everybody may read a program, but not a file in its arguments.
    for file in files
        .iter()
        .filter(|file| words.first().map(Path::new) != Some(file))
    {
        let is_program = fs::metadata(file).is_ok_and(|metadata| metadata.mode() & 0o111 != 0);
        let users = config.file_users(&PathRole::PinArgument);
        // Root's file may be for a group in which nobody is but its reader.
        let is_private = faults_of(file, Protection::Secret, users).is_empty();
        violations.extend(
            readable_by_others(file, 0o077)
                .ok()
                .flatten()
                .filter(|_| !is_program && !is_private),
        );
    }
    judgements.holds_unless(
        &rules::host::PIN,
        violations,
        Verdict::Seen,
        list_files(&files),
    );
}

/// Judges the files of the ledger: the open one, and the closed ones where the chain was read.
pub(super) fn judge_ledger(
    config: &Config,
    ledger: &LedgerConfig,
    chain: &Result<ChainSummary, VerifyError>,
    judgements: &mut Judgements,
) {
    const RULE: &Rule = &rules::host::LEDGER;
    // Before the first record only the folder exists.
    let mut files = match (ledger.file.exists(), ledger.file.parent()) {
        (false, Some(folder)) => vec![folder.to_owned()],
        _ => vec![ledger.file.clone()],
    };
    if let Ok(chain) = chain {
        files.extend(chain.files.iter().filter(|file| file.exists()).cloned());
    }
    let mut violations = named_paths::violations(config, RULE);
    for file in &files {
        for reason in writable_reasons(file) {
            if !violations.contains(&reason) {
                violations.push(reason);
            }
        }
    }
    files.retain(|file| file.is_file());
    files.dedup();
    for file in &files {
        let world_readable = readable_by_others(file, 0o004).ok().flatten();
        violations.extend(world_readable.map(|reason| format!("everybody may read it: {reason}")));
    }
    let evidence = match files.is_empty() {
        true => "nothing is recorded yet".to_owned(),
        false => list_files(&files),
    };
    judgements.holds_unless(RULE, violations, Verdict::Seen, evidence);
}

fn judge_state_dir(config: &Config, judgements: &mut Judgements) {
    const RULE: &Rule = &rules::host::STATE;
    match config.token.state_folder() {
        None => judgements.violated(
            RULE,
            "refused PINs are remembered nowhere: set `state_dir` of [[token]]",
        ),
        Some(folder) if !folder.exists() => {
            judgements.not_answerable(RULE, format!("{} is not there yet", folder.display()))
        }
        Some(folder) => judgements.holds_unless(
            RULE,
            named_paths::violations(config, RULE),
            Verdict::Seen,
            path_and_mode(&folder).unwrap_or_default(),
        ),
    }
}

fn judge_callers(config: &Config, judgements: &mut Judgements) {
    let Some(proxy) = &config.proxy else {
        judgements.not_answerable(&rules::host::CALLERS, "there is no [proxy]");
        return judgements.not_answerable(&rules::host::LISTENS, "there is no [proxy]");
    };
    let mut violations = named_paths::violations(config, &rules::host::CALLERS);
    let mut listeners = Vec::new();
    for listener in &proxy.listeners {
        let address = &listener.address;
        let callers = match &listener.callers {
            Callers::SameUser => "processes of the user that runs it".to_owned(),
            Callers::Peers { uids, gids } => format!("uids {uids:?} and gids {gids:?}"),
            Callers::SocketMode => {
                if let ListenAddress::Unix { mode, .. } = address
                    && address.is_open_to_all()
                {
                    violations.push(format!(
                        "{address}: its mode {mode:04o} lets everybody connect"
                    ));
                }
                "whoever its mode lets connect".to_owned()
            }
            Callers::Token(path) => format!("who knows the token of {}", path.display()),
            Callers::AnyLocalProcess if !address.is_open_to_all() => {
                "whoever its mode lets connect".to_owned()
            }
            Callers::AnyLocalProcess => {
                violations.push(format!("{address}: every process of this machine may call"));
                "every process of this machine".to_owned()
            }
        };
        listeners.push(format!("{address}: {callers}"));
    }
    let listeners = listeners.join("; ");
    judgements.holds_unless(
        &rules::host::CALLERS,
        violations,
        Verdict::Seen,
        listeners.clone(),
    );
    let operations = proxy.operations.as_ref();
    let operations = operations.map_or(String::new(), |operations| {
        format!("; operations at {}", operations.address)
    });
    judgements.holds(
        &rules::host::LISTENS,
        Verdict::Seen,
        listeners + &operations,
    );
}

/// Judges whether a file holds the key, in these folders or in the certificate's file: tools export a key into the same
/// file.
pub(super) fn judge_key_files(
    folders: &[PathBuf],
    certificate: &CertificateSource,
    key: &PublicKey,
    judgements: &mut Judgements,
) {
    const RULE: &Rule = &rules::host::KEY_FILES;
    let mut paths = folders.to_vec();
    if let CertificateSource::File(path) = certificate {
        paths.extend(Some(path.clone()).filter(|path| path.exists()));
    }
    let mut search = key_file_search::search(&paths, key);
    search.copies.sort();
    search.copies.dedup();
    if !search.copies.is_empty() {
        let copies = search.copies.iter().map(|path| path.display().to_string());
        return judgements.violated_with(RULE, copies.collect());
    }
    if folders.is_empty() {
        return judgements.not_answerable(RULE, "no folder was named: --search");
    }
    let mut not_compared = search.unknown;
    not_compared.extend(search.errors);
    let more = not_compared.len().saturating_sub(MAX_LISTED);
    not_compared.truncate(MAX_LISTED);
    not_compared.extend((more > 0).then(|| format!("and {more} more")));
    let mut searched = format!(
        "{} files, {} private keys of others",
        search.files, search.other_keys
    );
    if search.links > 0 {
        searched.push_str(&format!("; {} links were not followed", search.links));
    }
    match not_compared.is_empty() {
        true => judgements.holds(RULE, Verdict::Seen, searched),
        false => {
            judgements.not_answerable(RULE, format!("{searched}; {}", not_compared.join("; ")));
        }
    }
}

/// Judges the hardening measures of a signer process.
pub(super) fn judge_hardening(measures: &[Measure], judgements: &mut Judgements) {
    let name_and_detail = |measure: &Measure| format!("{}: {}", measure.name, measure.detail);
    // Landlock for the signer is optional: a vendor's module may need files that are not known here.
    let optional = |measure: &&Measure| {
        measure.name == "Landlock" || (measure.name == MEMORY_LOCKED && !may_swap())
    };
    let missing = measures
        .iter()
        .filter(|measure| !measure.in_force && !optional(measure));
    let in_force: Vec<_> = measures
        .iter()
        .filter(|measure| measure.in_force)
        .map(|measure| measure.name.clone())
        .collect();
    judgements.holds_unless(
        &rules::host::HARDENING,
        missing.map(name_and_detail).collect(),
        Verdict::Seen,
        in_force.join(", "),
    );
}

/// Whether this machine has swap. Its list has a line of headings.
fn may_swap() -> bool {
    fs::read_to_string("/proc/swaps").map_or(true, |list| list.lines().count() > 1)
}
