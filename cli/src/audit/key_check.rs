//! Judges the rules of the category `key`: claims of the module beside the results of probes. `run` judges whether the
//! key signs, and the probes of `--active`.

use super::finding::{Judgements, Verdict};
use super::key_twin::{self, Twin};
use super::probe_result::{Claim, conclusive_wraps, judge_probes};
use super::report::VisibleKey;
use super::rule::Rule;
use super::rules;
use hsm_mtls::internal::key::custody_attributes::CustodyAttributes;
use hsm_mtls::internal::key::extraction_probes::Probe;
use hsm_mtls::internal::key::public::PublicKey;
use hsm_mtls::internal::key::scheme::KeyAlgorithm;
use hsm_mtls::internal::regime::Regime;
use hsm_mtls::internal::rfc3339;

/// The claims about a key, and the results of probes of it.
#[derive(Debug)]
pub(super) struct KeyEvidence {
    pub(super) claims: CustodyAttributes,
    /// CKA_LOCAL of a key that was just made in the token, where `--active` made one.
    pub(super) local_of_new_key: Option<bool>,
    pub(super) reads: Vec<Probe>,
    /// One list for each wrapping key of the token.
    pub(super) wraps: Vec<Vec<Probe>>,
    pub(super) public_key: Option<PublicKey>,
    /// Every private key that the user can see.
    pub(super) keys: Vec<VisibleKey>,
    /// Other private keys with the same public key.
    pub(super) twins: Vec<Twin>,
    /// Certificates in the token with the same public key and another subject.
    pub(super) other_certificates: Vec<String>,
}

/// Why CKA_LOCAL false does not show that a key was imported.
const LOCAL_OF_NO_KEY: &str =
    "the module says CKA_LOCAL false also of a key that was just made in it";

/// Whether the key is visible in a session without a login.
#[derive(Clone, Copy, Debug)]
pub(super) enum WithoutLogin {
    Visible,
    Hidden,
    /// It was not tried, for this reason.
    NotTried(&'static str),
}

impl WithoutLogin {
    fn judge(self, judgements: &mut Judgements) {
        const RULE: &Rule = &rules::key::HIDDEN;
        match self {
            Self::Visible => {
                judgements.violated(RULE, "C_FindObjects found it in a session without a login")
            }
            Self::Hidden => judgements.holds(
                RULE,
                Verdict::TriedAndRefused,
                "C_FindObjects did not find it in a session without a login",
            ),
            Self::NotTried(reason) => judgements.not_answerable(RULE, reason),
        }
    }
}

impl KeyEvidence {
    /// Judges all rules but whether the key signs.
    pub(super) fn judge(
        &self,
        regime: &Regime,
        without_login: WithoutLogin,
        judgements: &mut Judgements,
    ) {
        without_login.judge(judgements);
        self.judge_extraction_probes(judgements);
        self.judge_flags(judgements);
        self.judge_usage(judgements);
        self.judge_mechanisms(judgements);
        self.judge_type(regime, judgements);
        self.judge_other_objects(judgements);
    }

    fn judge_extraction_probes(&self, judgements: &mut Judgements) {
        let claim = match self.claims.flag("CKA_SENSITIVE") {
            Some(true) => Claim::Yes("the module claims CKA_SENSITIVE true"),
            Some(false) => Claim::No("the module claims CKA_SENSITIVE false"),
            None => Claim::No("the module does not tell CKA_SENSITIVE"),
        };
        judge_probes(
            judgements,
            &rules::key::READABLE,
            &self.reads,
            claim,
            "nothing was to be asked for",
        );
        let claim = match self.claims.flag("CKA_EXTRACTABLE") {
            Some(false) => Claim::Yes("the module claims CKA_EXTRACTABLE false"),
            Some(true) => Claim::No("the module claims CKA_EXTRACTABLE true"),
            None => Claim::No("the module does not tell CKA_EXTRACTABLE"),
        };
        let reason = "no wrapping key can be seen here; --active tries it with one of its own";
        let wraps = conclusive_wraps(&self.wraps);
        judge_probes(judgements, &rules::key::WRAPPABLE, &wraps, claim, reason);
    }

    /// The module says CKA_LOCAL false also of a key that it made itself a moment ago (NSS softokn 3.87).
    fn local_says_nothing(&self) -> bool {
        self.local_of_new_key == Some(false)
    }

    fn judge_flags(&self, judgements: &mut Judgements) {
        for (rule, attribute, expected) in [
            (&rules::key::SENSITIVE, "CKA_SENSITIVE", true),
            (&rules::key::EXTRACTABLE, "CKA_EXTRACTABLE", false),
            (&rules::key::ALWAYS_SENSITIVE, "CKA_ALWAYS_SENSITIVE", true),
            (
                &rules::key::NEVER_EXTRACTABLE,
                "CKA_NEVER_EXTRACTABLE",
                true,
            ),
            (&rules::key::LOCAL, "CKA_LOCAL", true),
            (&rules::key::PRIVATE, "CKA_PRIVATE", true),
            (&rules::key::SIGN_RECOVER, "CKA_SIGN_RECOVER", false),
            (&rules::key::MODIFIABLE, "CKA_MODIFIABLE", false),
            (&rules::key::COPYABLE, "CKA_COPYABLE", false),
            (&rules::key::DESTROYABLE, "CKA_DESTROYABLE", false),
        ] {
            match self.claims.flag(attribute) {
                Some(false) if attribute == "CKA_LOCAL" && self.local_says_nothing() => {
                    judgements.not_answerable(rule, LOCAL_OF_NO_KEY);
                }
                None => {
                    judgements.not_answerable(rule, format!("the module does not tell {attribute}"))
                }
                Some(value) if value == expected => {
                    judgements.holds(rule, Verdict::Claimed, format!("{attribute} {value}"));
                }
                Some(value) => judgements.violated(rule, format!("{attribute} {value}")),
            }
        }
        let extractable = self.claims.flag("CKA_EXTRACTABLE");
        let with_trusted = self.claims.flag("CKA_WRAP_WITH_TRUSTED");
        match (extractable, with_trusted) {
            (Some(false), _) => judgements.holds(
                &rules::key::WRAP_WITH_TRUSTED,
                Verdict::Claimed,
                "CKA_EXTRACTABLE false: it is not to be wrapped at all",
            ),
            (_, Some(true)) => judgements.holds(
                &rules::key::WRAP_WITH_TRUSTED,
                Verdict::Claimed,
                "CKA_WRAP_WITH_TRUSTED true",
            ),
            (Some(true), Some(false)) => judgements.violated(
                &rules::key::WRAP_WITH_TRUSTED,
                "CKA_EXTRACTABLE true and CKA_WRAP_WITH_TRUSTED false",
            ),
            _ => judgements.not_answerable(
                &rules::key::WRAP_WITH_TRUSTED,
                "the module does not tell it",
            ),
        }
        match self.claims.flag("CKA_ALWAYS_AUTHENTICATE") {
            Some(true) => judgements.holds(
                &rules::key::ALWAYS_AUTHENTICATE,
                Verdict::Claimed,
                "each signature wants a PIN of its own",
            ),
            Some(false) => judgements.holds(
                &rules::key::ALWAYS_AUTHENTICATE,
                Verdict::Claimed,
                "one login is enough for all signatures of a process",
            ),
            None => judgements.not_answerable(
                &rules::key::ALWAYS_AUTHENTICATE,
                "the module does not tell it",
            ),
        }
    }

    fn judge_usage(&self, judgements: &mut Judgements) {
        let flag = |name| self.claims.flag(name);
        let mut violations = Vec::new();
        if flag("CKA_SIGN") == Some(false) {
            violations.push("CKA_SIGN false".to_owned());
        }
        let other_usages = ["CKA_DECRYPT", "CKA_UNWRAP", "CKA_DERIVE"];
        let allowed = other_usages.iter().filter(|name| flag(name) == Some(true));
        violations.extend(allowed.map(|name| format!("{name} true")));
        // Only usages that the type of key supports have to be known.
        let can_derive = !matches!(
            self.public_key.as_ref().map(PublicKey::algorithm),
            Some(KeyAlgorithm::Rsa { .. })
        );
        let required = match can_derive {
            true => [flag("CKA_DERIVE"), Some(false)],
            false => ["CKA_DECRYPT", "CKA_UNWRAP"].map(flag),
        };
        if violations.is_empty() && (flag("CKA_SIGN").is_none() || required.contains(&None)) {
            return judgements
                .not_answerable(&rules::key::USAGE, "the module does not tell all usages");
        }
        judgements.holds_unless(
            &rules::key::USAGE,
            violations,
            Verdict::Claimed,
            "CKA_SIGN only",
        );
    }

    fn judge_mechanisms(&self, judgements: &mut Judgements) {
        match (
            &self.claims.key_gen_mechanism,
            self.claims.flag("CKA_LOCAL"),
        ) {
            (Some(mechanism), Some(false)) if mechanism.contains("KEY_PAIR_GEN") => {
                let evidence = format!("{mechanism}, and yet CKA_LOCAL false");
                judgements.violated(&rules::key::GENERATED, evidence);
            }
            (Some(mechanism), _) if mechanism.contains("KEY_PAIR_GEN") => {
                judgements.holds(&rules::key::GENERATED, Verdict::Claimed, mechanism.clone());
            }
            (None, Some(false)) if self.local_says_nothing() => {
                judgements.not_answerable(&rules::key::GENERATED, "the module does not tell it");
            }
            // An imported key has no mechanism (CK_UNAVAILABLE_INFORMATION); `key.local` is violated already.
            (_, Some(false)) => judgements.holds(
                &rules::key::GENERATED,
                Verdict::Claimed,
                "none, as of a key that was not made here",
            ),
            (Some(mechanism), _) => judgements.violated(
                &rules::key::GENERATED,
                format!("{mechanism} makes no key pair"),
            ),
            (None, _) => {
                judgements.not_answerable(&rules::key::GENERATED, "the module does not tell it")
            }
        }
        match &self.claims.allowed_mechanisms {
            None => judgements.not_answerable(
                &rules::key::ALLOWED_MECHANISMS,
                "no limit is set: the usages decide",
            ),
            Some(allowed) => {
                let others = allowed
                    .iter()
                    .filter(|mechanism| !is_tls_signature(mechanism));
                let violations = others.map(|mechanism| format!("{mechanism} is no signature"));
                let all = allowed.join(", ");
                judgements.holds_unless(
                    &rules::key::ALLOWED_MECHANISMS,
                    violations.collect(),
                    Verdict::Claimed,
                    all,
                );
            }
        }
        self.judge_dates(judgements);
    }

    fn judge_type(&self, regime: &Regime, judgements: &mut Judgements) {
        const RULE: &Rule = &rules::key::TYPE;
        let Some(algorithm) = self.public_key.as_ref().map(PublicKey::algorithm) else {
            let reason = "the token tells no public key of a kind that is supported";
            return judgements.not_answerable(RULE, reason);
        };
        let (evidence, accepted) = (algorithm.to_string(), &regime.keys.accepted);
        match accepted.contains(&evidence) {
            true => judgements.holds(RULE, Verdict::Seen, evidence),
            false if accepted.is_empty() => {
                let reason = format!("{evidence}; regime {:?} prescribes no type", regime.name);
                judgements.not_answerable(RULE, reason);
            }
            false => judgements.violated(RULE, evidence),
        }
    }

    fn judge_dates(&self, judgements: &mut Judgements) {
        let (Some(start), Some(end)) = (&self.claims.start_date, &self.claims.end_date) else {
            let reason = "the module does not tell CKA_START_DATE and CKA_END_DATE";
            return judgements.not_answerable(&rules::key::DATES, reason);
        };
        let today: String = rfc3339::now().chars().take(10).collect();
        let mut violations = Vec::new();
        if *start > today {
            violations.push(format!("it begins {start}"));
        }
        if !end.is_empty() && *end < today {
            violations.push(format!("it ended {end}"));
        }
        let evidence = match (start.as_str(), end.as_str()) {
            ("", "") => "no dates are set".to_owned(),
            ("", end) => format!("until {end}"),
            (start, "") => format!("from {start}"),
            (start, end) => format!("from {start} to {end}"),
        };
        judgements.holds_unless(&rules::key::DATES, violations, Verdict::Claimed, evidence);
    }

    fn judge_other_objects(&self, judgements: &mut Judgements) {
        if self.public_key.is_none() {
            for rule in [
                &rules::key::TWIN,
                &rules::key::TWIN_HELD,
                &rules::key::PURPOSE,
            ] {
                judgements.not_answerable(
                    rule,
                    "the token tells no public key of a kind that is supported",
                );
            }
            return;
        }
        let twins = self.twins.iter().map(|twin| format!("{} too", twin.uri));
        let withheld = self.keys.iter().filter(|key| key.public_key.is_none());
        let withheld: Vec<_> = withheld.map(|key| key.uri.clone()).collect();
        match (self.twins.is_empty(), withheld.is_empty()) {
            (true, false) => {
                let reason = format!("no public key is told of {}", withheld.join(", "));
                judgements.not_answerable(&rules::key::TWIN, reason.clone());
                judgements.not_answerable(&rules::key::TWIN_HELD, reason);
            }
            _ => {
                let evidence = "no other has it";
                judgements.holds_unless(
                    &rules::key::TWIN,
                    twins.collect(),
                    Verdict::Seen,
                    evidence,
                );
                key_twin::judge_twins(&self.twins, judgements);
            }
        }
        let others = self.other_certificates.clone();
        let evidence = "no other certificate of it lies in the token";
        judgements.holds_unless(&rules::key::PURPOSE, others, Verdict::Seen, evidence);
    }
}

/// Whether a mechanism makes signatures that TLS uses.
fn is_tls_signature(mechanism: &str) -> bool {
    let without_hash = ["CKM_RSA_PKCS", "CKM_RSA_PKCS_PSS", "CKM_EDDSA"];
    let with_hash = mechanism.starts_with("CKM_SHA") || mechanism.starts_with("CKM_ECDSA");
    without_hash.contains(&mechanism)
        || (with_hash && (mechanism.contains("RSA_PKCS") || mechanism.contains("ECDSA")))
}

#[cfg(test)]
#[path = "key_check_tests.rs"]
mod tests;
