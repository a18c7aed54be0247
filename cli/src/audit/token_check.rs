//! The token and the module: what they say of themselves, what the file system says of the module and
//! all that it pulls in, and what only the operator can say.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use super::file_permissions;
use super::finding::{Judgements, Verdict};
use super::rules;
use hsm_mtls::internal::config::trust::Fingerprint;
use hsm_mtls::internal::config::{Config, TokenConfig};
use hsm_mtls::internal::token::description::TokenDescription;
use hsm_mtls::internal::token::module::ModuleDescription;

/// Programs that keep keys in files, by what they say of themselves.
const SOFTWARE: [&str; 6] = [
    "softhsm",
    "kryoptic",
    "opencryptoki soft",
    "nss ",
    "mozilla foundation",
    "gnome keyring",
];

/// The files whose code is mapped into this process now. A module's shared memory and tables are no code.
pub(super) fn mapped() -> BTreeSet<PathBuf> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let runs = |line: &&str| {
        let mode = line.split_ascii_whitespace().nth(1);
        mode.is_some_and(|mode| mode.contains('x'))
    };
    let code = maps.lines().filter(runs);
    let files = code.filter_map(|line| line.find('/').map(|at| &line[at..]));
    files.map(PathBuf::from).collect()
}

/// Who could change the module.
pub(super) fn judge_module_file(config: &TokenConfig, found: &mut Judgements) {
    match file_permissions::changeable_by_others(&config.module) {
        Err(error) => found.open(&rules::module::FILE, error.to_string()),
        Ok(against) => {
            let described = file_permissions::described(&config.module).unwrap_or_default();
            found.by(&rules::module::FILE, against, Verdict::Seen, described);
        }
    }
    match (&config.module_sha256, fs::read(&config.module)) {
        (_, Err(error)) => found.open(&rules::module::PINNED, error.to_string()),
        (Some(pin), Ok(bytes)) if *pin == Fingerprint::of(&bytes) => {
            found.holds(&rules::module::PINNED, Verdict::Seen, pin.to_string());
        }
        (Some(pin), Ok(bytes)) => found.violated(
            &rules::module::PINNED,
            format!("it is {}, and {pin} is pinned", Fingerprint::of(&bytes)),
        ),
        (None, Ok(bytes)) => found.violated(
            &rules::module::PINNED,
            format!("it is {}, and nothing is pinned", Fingerprint::of(&bytes)),
        ),
    }
}

/// Who could change what was mapped with it.
pub(super) fn judge_libraries(before: &BTreeSet<PathBuf>, found: &mut Judgements) {
    let after = mapped();
    let pulled_in: Vec<_> = after.difference(before).collect();
    if pulled_in.is_empty() {
        return found.open(&rules::module::LIBRARIES, "nothing was loaded");
    }
    let mut against = Vec::new();
    for library in &pulled_in {
        match file_permissions::changeable_by_others(library) {
            Ok(reasons) => against.extend(reasons),
            Err(error) => against.push(format!("{}: {error}", library.display())),
        }
    }
    against.sort();
    against.dedup();
    let all: Vec<_> = pulled_in
        .iter()
        .map(|library| library.display().to_string())
        .collect();
    found.by(
        &rules::module::LIBRARIES,
        against,
        Verdict::Seen,
        all.join(", "),
    );
}

/// What the token says of itself, to everybody.
pub(super) fn judge_token(
    token: &TokenDescription,
    module: &ModuleDescription,
    config: &Config,
    found: &mut Judgements,
) {
    let names = [
        &token.manufacturer,
        &token.model,
        &module.manufacturer,
        &module.description,
    ];
    let software = names.iter().find(|name| {
        let name = name.to_lowercase();
        SOFTWARE.iter().any(|known| name.contains(known))
    });
    match (software, token.hardware_slot) {
        (Some(name), _) => found.violated(
            &rules::token::HARDWARE,
            format!("\"{name}\" is a program: the key is in a file of its own"),
        ),
        (None, true) => found.holds(&rules::token::HARDWARE, Verdict::Claimed, "CKF_HW_SLOT"),
        (None, false) => found.open(
            &rules::token::HARDWARE,
            "the slot does not say that it is a device (CKF_HW_SLOT), and the names are of no program that is known",
        ),
    }
    // What an operator owes of a device cannot be said of a program.
    let owed = |found: &mut Judgements, rule, why: &str| match software {
        Some(_) => found.open(rule, why),
        None => found.unanswered(rule, why),
    };
    match &config.audit.backup {
        Some(policy) => found.holds(&rules::token::BACKUP, Verdict::Asserted, policy.clone()),
        None => owed(
            found,
            &rules::token::BACKUP,
            "[audit] says nothing of backups",
        ),
    }
    match &config.audit.fips_certificate {
        Some(number) => found.holds(
            &rules::token::FIPS,
            Verdict::Asserted,
            format!("FIPS certificate {number}"),
        ),
        None => owed(
            found,
            &rules::token::FIPS,
            "no call of this module tells, and [audit] names no FIPS certificate",
        ),
    }
    match &config.audit.attestation {
        None => found.open(&rules::token::ATTESTATION, "[audit] names no attestation"),
        Some(file) => match fs::read(file) {
            Err(error) => found.violated(
                &rules::token::ATTESTATION,
                format!("{}: {error}", file.display()),
            ),
            Ok(bytes) => found.holds(
                &rules::token::ATTESTATION,
                Verdict::Asserted,
                format!("{} ({})", file.display(), Fingerprint::of(&bytes)),
            ),
        },
    }
    flags(token, found);
}

fn flags(token: &TokenDescription, found: &mut Judgements) {
    match token.login_required {
        true => found.holds(&rules::token::LOGIN, Verdict::Claimed, "CKF_LOGIN_REQUIRED"),
        false => found.violated(&rules::token::LOGIN, "CKF_LOGIN_REQUIRED is not set"),
    }
    let mut against: Vec<String> = token.pin_warnings.iter().map(ToString::to_string).collect();
    if !token.user_pin_initialized {
        against.push("CKF_USER_PIN_INITIALIZED is not set".to_owned());
    }
    let none = "no CKF_USER_PIN_ warning";
    found.by(&rules::token::USER_PIN, against, Verdict::Claimed, none);
    let against = token.so_pin_warnings.iter().map(ToString::to_string);
    let none = "no CKF_SO_PIN_ warning";
    found.by(
        &rules::token::SO_PIN,
        against.collect(),
        Verdict::Claimed,
        none,
    );
    let path = match token.protected_path {
        true => "CKF_PROTECTED_AUTHENTICATION_PATH: the PIN is typed at the device",
        false => "the PIN is given by this program",
    };
    found.holds(&rules::token::PROTECTED_PATH, Verdict::Claimed, path);
}
