//! Judges the rules of the category `module`: who can change the PKCS#11 module and the libraries that it loads, and whether
//! its hash is pinned.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use super::file_permissions;
use super::finding::{Judgements, Verdict};
use super::rules;
use hsm_mtls::internal::config::TokenConfig;
use hsm_mtls::internal::config::trust::Fingerprint;

/// The files whose code is mapped into this process: executable mappings, without shared memory and data of a module.
pub(super) fn mapped_libraries() -> BTreeSet<PathBuf> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let is_executable = |line: &&str| {
        let mode = line.split_ascii_whitespace().nth(1);
        mode.is_some_and(|mode| mode.contains('x'))
    };
    let executable = maps.lines().filter(is_executable);
    let files = executable.filter_map(|line| line.find('/').map(|at| &line[at..]));
    files.map(PathBuf::from).collect()
}

/// Judges the file of the module.
pub(super) fn judge_module_file(config: &TokenConfig, judgements: &mut Judgements) {
    match file_permissions::changeable_by_others(&config.module) {
        Err(error) => judgements.not_answerable(&rules::module::FILE, error.to_string()),
        Ok(violations) => {
            let evidence = file_permissions::path_and_mode(&config.module).unwrap_or_default();
            judgements.holds_unless(&rules::module::FILE, violations, Verdict::Seen, evidence);
        }
    }
    match (&config.module_sha256, fs::read(&config.module)) {
        (_, Err(error)) => judgements.not_answerable(&rules::module::PINNED, error.to_string()),
        (Some(pin), Ok(bytes)) if *pin == Fingerprint::of(&bytes) => {
            judgements.holds(&rules::module::PINNED, Verdict::Seen, pin.to_string());
        }
        (Some(pin), Ok(bytes)) => judgements.violated(
            &rules::module::PINNED,
            format!("it is {}, and {pin} is pinned", Fingerprint::of(&bytes)),
        ),
        (None, Ok(bytes)) => judgements.violated(
            &rules::module::PINNED,
            format!("it is {}, and nothing is pinned", Fingerprint::of(&bytes)),
        ),
    }
}

/// Judges the libraries that were mapped since `before`.
pub(super) fn judge_libraries(before: &BTreeSet<PathBuf>, judgements: &mut Judgements) {
    let after = mapped_libraries();
    let loaded: Vec<_> = after.difference(before).collect();
    if loaded.is_empty() {
        return judgements.not_answerable(&rules::module::LIBRARIES, "nothing was loaded");
    }
    let mut violations = Vec::new();
    for library in &loaded {
        match file_permissions::changeable_by_others(library) {
            Ok(reasons) => violations.extend(reasons),
            Err(error) => violations.push(format!("{}: {error}", library.display())),
        }
    }
    violations.sort();
    violations.dedup();
    let all: Vec<_> = loaded
        .iter()
        .map(|library| library.display().to_string())
        .collect();
    judgements.holds_unless(
        &rules::module::LIBRARIES,
        violations,
        Verdict::Seen,
        all.join(", "),
    );
}
