//! The names of the steps of `token check`, in their order: those of one key, and, where there is `[sig4]`, those of the second
//! key behind them.

use hsm_mtls::internal::config::{Config, KeyRole};

/// The names of the steps that concern one key.
pub(super) struct StepNames {
    pub(super) module: &'static str,
    pub(super) profile: &'static str,
    pub(super) token: &'static str,
    pub(super) login: &'static str,
    pub(super) key: &'static str,
    pub(super) logins: &'static str,
    pub(super) attributes: &'static str,
    pub(super) mechanisms: &'static str,
    pub(super) certificate: &'static str,
    pub(super) pair: &'static str,
    pub(super) signatures: &'static str,
}

/// The step of the ledger, which both keys have in common.
pub(super) const LEDGER: &str = "ledger";

/// The step that compares both keys.
pub(super) const TWO_KEYS: &str = "two keys";

/// The steps that are for the report only.
pub(super) const REPORT_STEPS: [&str; 2] = ["signature schemes", "key generation"];

pub(super) const C3: StepNames = StepNames {
    module: "module",
    profile: "profile",
    token: "token",
    login: "login",
    key: "key",
    logins: "logins",
    attributes: "key attributes",
    mechanisms: "mechanisms",
    certificate: "certificate",
    pair: "pair",
    signatures: "signatures",
};

/// With `--sig4`, where no other key is checked.
pub(super) const ONLY_SIG4: StepNames = StepNames {
    signatures: "PS256",
    ..C3
};

/// Behind the steps of C3.
pub(super) const SIG4: StepNames = StepNames {
    module: "Sig4 module",
    profile: "Sig4 profile",
    token: "Sig4 token",
    login: "Sig4 login",
    key: "Sig4 key",
    logins: "Sig4 logins",
    attributes: "Sig4 key attributes",
    mechanisms: "Sig4 mechanisms",
    certificate: "Sig4 certificate",
    pair: "Sig4 pair",
    signatures: "Sig4 PS256",
};

impl StepNames {
    /// The steps of every check that belong to the token.
    fn of_token(&self) -> [&'static str; 3] {
        [self.module, self.token, self.login]
    }

    /// The steps of every check that belong to the key.
    fn of_key(&self) -> [&'static str; 6] {
        [
            self.key,
            self.attributes,
            self.mechanisms,
            self.certificate,
            self.pair,
            self.signatures,
        ]
    }
}

/// The steps of every check with this configuration, in their order. `last` comes after the steps of the keys.
pub(super) fn all_steps(
    config: &Config,
    role: KeyRole,
    last: Option<&'static str>,
) -> Vec<&'static str> {
    let names = match role {
        KeyRole::C3 => C3,
        KeyRole::Sig4 => ONLY_SIG4,
    };
    let [module, token, login] = names.of_token();
    let mut all = vec![module, LEDGER, token, login];
    all.extend(names.of_key());
    if role == KeyRole::C3 && config.sig4.is_some() {
        if config.sig4_token.is_some() {
            all.extend(SIG4.of_token());
        }
        all.extend(SIG4.of_key());
        all.push(TWO_KEYS);
    }
    all.extend(last);
    all
}
