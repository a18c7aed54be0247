//! What other users could do with the paths that a configuration names, for the rule that judges each. It is the check that
//! other commands refuse a configuration with.

use super::rule::Rule;
use super::rules;
use hsm_mtls::internal::config::Config;
use hsm_mtls::internal::config::paths::PathRole;
use hsm_mtls::internal::owner_and_mode::faults_of;

/// What is wrong with the paths that this rule judges, each thing once.
pub(super) fn violations(config: &Config, rule: &Rule) -> Vec<String> {
    let mut all = Vec::new();
    for named in config.named_paths() {
        let Some(protection) = named.protection else {
            continue;
        };
        if rule_of(&named.role).id != rule.id {
            continue;
        }
        for fault in faults_of(&named.path, protection, config.file_users(&named.role)) {
            let text = fault.to_string();
            if !all.contains(&text) {
                all.push(text);
            }
        }
    }
    all
}

/// The rule that judges the paths of this role.
fn rule_of(role: &PathRole) -> &'static Rule {
    match role {
        PathRole::Configuration
        | PathRole::WorkingDir
        | PathRole::WorkingDirFile
        | PathRole::ModuleVariable(_)
        | PathRole::SignerFolder
        | PathRole::AccessLog
        | PathRole::ProxyCredentials
        | PathRole::Attestation => &rules::host::CONFIGURATION,
        PathRole::PinFile
        | PathRole::PinCredential
        | PathRole::PinProgram
        | PathRole::PinArgument => &rules::host::PIN,
        PathRole::Certificate
        | PathRole::Sig4Certificate
        | PathRole::Anchors
        | PathRole::Crl
        | PathRole::ProxyAnchors => &rules::host::TRUST_ANCHORS,
        PathRole::Ledger
        | PathRole::HeadSocket
        | PathRole::HeadProgram
        | PathRole::HeadArgument => &rules::host::LEDGER,
        PathRole::StateDir => &rules::host::STATE,
        PathRole::Socket | PathRole::CallerToken => &rules::host::CALLERS,
        PathRole::Module => &rules::module::FILE,
    }
}
