//! Judges the rules of the category `token`: what token and module report, and what the operator asserts in `[audit]`.

use std::fs;

use super::finding::{Judgements, Verdict};
use super::rules;
use hsm_mtls::internal::config::Config;
use hsm_mtls::internal::config::trust::Fingerprint;
use hsm_mtls::internal::token::description::TokenDescription;
use hsm_mtls::internal::token::module::ModuleDescription;

/// Substrings of manufacturer, model and description of software tokens, which keep keys in files.
const SOFTWARE_TOKENS: [&str; 8] = [
    "softhsm",
    "kryoptic",
    "opencryptoki soft",
    "ibm softtok",
    // The reference implementation of a TPM, as swtpm runs it.
    "sw   tpm",
    "nss ",
    "mozilla foundation",
    "gnome keyring",
];

/// Judges all rules of the category. None of them needs a login.
pub(super) fn judge(
    token: &TokenDescription,
    module: &ModuleDescription,
    config: &Config,
    judgements: &mut Judgements,
) {
    let names = [
        &token.manufacturer,
        &token.model,
        &module.manufacturer,
        &module.description,
    ];
    let software = names.iter().find(|name| {
        let name = name.to_lowercase();
        SOFTWARE_TOKENS.iter().any(|known| name.contains(known))
    });
    match (software, token.hardware_slot) {
        (Some(name), _) => judgements.violated(
            &rules::token::HARDWARE,
            format!("\"{name}\" is a program: the key is in a file of its own"),
        ),
        (None, true) => judgements.holds(&rules::token::HARDWARE, Verdict::Claimed, "CKF_HW_SLOT"),
        (None, false) => judgements.not_answerable(
            &rules::token::HARDWARE,
            "the slot does not say that it is a device (CKF_HW_SLOT), and the names are of no program that is known",
        ),
    }
    // Only for a device the operator has to state these: for a software token they have no answer.
    let not_stated = |judgements: &mut Judgements, rule, reason: &str| match software {
        Some(_) => judgements.not_answerable(rule, reason),
        None => judgements.answer_missing(rule, reason),
    };
    match &config.audit.backup {
        Some(policy) => judgements.holds(&rules::token::BACKUP, Verdict::Asserted, policy.clone()),
        None => not_stated(
            judgements,
            &rules::token::BACKUP,
            "[audit] says nothing of backups",
        ),
    }
    match &config.audit.fips_certificate {
        Some(number) => judgements.holds(
            &rules::token::FIPS,
            Verdict::Asserted,
            format!("FIPS certificate {number}"),
        ),
        None => not_stated(
            judgements,
            &rules::token::FIPS,
            "no call of this module tells, and [audit] names no FIPS certificate",
        ),
    }
    match &config.audit.attestation {
        None => {
            judgements.not_answerable(&rules::token::ATTESTATION, "[audit] names no attestation")
        }
        Some(file) => match fs::read(file) {
            Err(error) => judgements.violated(
                &rules::token::ATTESTATION,
                format!("{}: {error}", file.display()),
            ),
            Ok(bytes) => judgements.holds(
                &rules::token::ATTESTATION,
                Verdict::Asserted,
                format!("{} ({})", file.display(), Fingerprint::of(&bytes)),
            ),
        },
    }
    judge_flags(token, judgements);
}

/// Judges the flags of CK_TOKEN_INFO.
fn judge_flags(token: &TokenDescription, judgements: &mut Judgements) {
    match token.login_required {
        true => judgements.holds(&rules::token::LOGIN, Verdict::Claimed, "CKF_LOGIN_REQUIRED"),
        false => judgements.violated(&rules::token::LOGIN, "CKF_LOGIN_REQUIRED is not set"),
    }
    let mut violations: Vec<String> = token.pin_warnings.iter().map(ToString::to_string).collect();
    if !token.user_pin_initialized {
        violations.push("CKF_USER_PIN_INITIALIZED is not set".to_owned());
    }
    let evidence = "no CKF_USER_PIN_ warning";
    judgements.holds_unless(
        &rules::token::USER_PIN,
        violations,
        Verdict::Claimed,
        evidence,
    );
    let violations = token.so_pin_warnings.iter().map(ToString::to_string);
    let evidence = "no CKF_SO_PIN_ warning";
    judgements.holds_unless(
        &rules::token::SO_PIN,
        violations.collect(),
        Verdict::Claimed,
        evidence,
    );
    let evidence = match token.protected_path {
        true => "CKF_PROTECTED_AUTHENTICATION_PATH: the PIN is typed at the device",
        false => "the PIN is given by this program",
    };
    judgements.holds(&rules::token::PROTECTED_PATH, Verdict::Claimed, evidence);
}
