//! The key: what the module claims of it beside what was tried, rule by rule.

use super::finding::{Judgements, Verdict};
use super::probe_result::{Claim, judge_probes, together};
use super::report::KeySeen;
use super::rule::Rule;
use super::rules;
use hsm_mtls::internal::key::custody_attributes::CustodyAttributes;
use hsm_mtls::internal::key::extraction_probes::{Probe, ProbeOutcome};
use hsm_mtls::internal::key::public::PublicKey;
use hsm_mtls::internal::key::scheme::KeyAlgorithm;
use hsm_mtls::internal::rfc3339;

/// What the token says of a key, and what was tried with it.
#[derive(Debug)]
pub(super) struct Custody {
    pub(super) claims: CustodyAttributes,
    pub(super) reads: Vec<Probe>,
    /// For each wrapping key that can be seen.
    pub(super) wraps: Vec<Vec<Probe>>,
    pub(super) public_key: Option<PublicKey>,
    /// Every private key that the user can see.
    pub(super) keys: Vec<KeySeen>,
    /// Other private keys with the same public key.
    pub(super) twins: Vec<Twin>,
    /// Certificates in the token of the same public key and another subject.
    pub(super) other_certificates: Vec<String>,
}

/// Another object that holds the same private key.
#[derive(Debug)]
pub(super) struct Twin {
    pub(super) uri: String,
    pub(super) claims: CustodyAttributes,
    pub(super) reads: Vec<Probe>,
    pub(super) wraps: Vec<Vec<Probe>>,
}

/// What could be seen of the key in a session without a login.
#[derive(Clone, Copy, Debug)]
pub(super) enum WithoutLogin {
    /// It was found.
    Shown,
    /// It was not.
    Hidden,
    /// Nothing that means something was to be tried.
    NotTried(&'static str),
}

impl WithoutLogin {
    fn judge(self, found: &mut Judgements) {
        const RULE: &Rule = &rules::key::HIDDEN;
        let said = "C_FindObjects did not find it in a session without a login";
        match self {
            Self::Shown => {
                found.violated(RULE, "C_FindObjects found it in a session without a login")
            }
            Self::Hidden => found.holds(RULE, Verdict::TriedAndRefused, said),
            Self::NotTried(why) => found.open(RULE, why),
        }
    }
}

impl Custody {
    /// All but whether it signs.
    pub(super) fn judge(&self, without_login: WithoutLogin, found: &mut Judgements) {
        without_login.judge(found);
        self.trials(found);
        self.flags(found);
        self.usage(found);
        self.limits(found);
        self.neighbours(found);
    }

    fn trials(&self, found: &mut Judgements) {
        let claimed = match self.claims.flag("CKA_SENSITIVE") {
            Some(true) => Claim::Yes("the module claims CKA_SENSITIVE true"),
            Some(false) => Claim::No("the module claims CKA_SENSITIVE false"),
            None => Claim::No("the module does not tell CKA_SENSITIVE"),
        };
        judge_probes(
            found,
            &rules::key::READABLE,
            &self.reads,
            claimed,
            "nothing was to be asked for",
        );
        let claimed = match self.claims.flag("CKA_EXTRACTABLE") {
            Some(false) => Claim::Yes("the module claims CKA_EXTRACTABLE false"),
            Some(true) => Claim::No("the module claims CKA_EXTRACTABLE true"),
            None => Claim::No("the module does not tell CKA_EXTRACTABLE"),
        };
        let none = "no wrapping key can be seen here; --active tries it with one of its own";
        let wraps = together(&self.wraps);
        judge_probes(found, &rules::key::WRAPPABLE, &wraps, claimed, none);
    }

    fn flags(&self, found: &mut Judgements) {
        for (rule, attribute, wanted) in [
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
                None => found.open(rule, format!("the module does not tell {attribute}")),
                Some(value) if value == wanted => {
                    found.holds(rule, Verdict::Claimed, format!("{attribute} {value}"));
                }
                Some(value) => found.violated(rule, format!("{attribute} {value}")),
            }
        }
        let extractable = self.claims.flag("CKA_EXTRACTABLE");
        let with_trusted = self.claims.flag("CKA_WRAP_WITH_TRUSTED");
        match (extractable, with_trusted) {
            (Some(false), _) => found.holds(
                &rules::key::WRAP_WITH_TRUSTED,
                Verdict::Claimed,
                "CKA_EXTRACTABLE false: it is not to be wrapped at all",
            ),
            (_, Some(true)) => found.holds(
                &rules::key::WRAP_WITH_TRUSTED,
                Verdict::Claimed,
                "CKA_WRAP_WITH_TRUSTED true",
            ),
            (Some(true), Some(false)) => found.violated(
                &rules::key::WRAP_WITH_TRUSTED,
                "CKA_EXTRACTABLE true and CKA_WRAP_WITH_TRUSTED false",
            ),
            _ => found.open(
                &rules::key::WRAP_WITH_TRUSTED,
                "the module does not tell it",
            ),
        }
        match self.claims.flag("CKA_ALWAYS_AUTHENTICATE") {
            Some(true) => found.holds(
                &rules::key::ALWAYS_AUTHENTICATE,
                Verdict::Claimed,
                "each signature wants a PIN of its own",
            ),
            Some(false) => found.holds(
                &rules::key::ALWAYS_AUTHENTICATE,
                Verdict::Claimed,
                "one login is enough for all signatures of a process",
            ),
            None => found.open(
                &rules::key::ALWAYS_AUTHENTICATE,
                "the module does not tell it",
            ),
        }
    }

    fn usage(&self, found: &mut Judgements) {
        let flag = |name| self.claims.flag(name);
        let mut against = Vec::new();
        if flag("CKA_SIGN") == Some(false) {
            against.push("CKA_SIGN false".to_owned());
        }
        let others = ["CKA_DECRYPT", "CKA_UNWRAP", "CKA_DERIVE"];
        let set = others.iter().filter(|name| flag(name) == Some(true));
        against.extend(set.map(|name| format!("{name} true")));
        // What a type of key cannot do anyway need not be told.
        let derives = !matches!(
            self.public_key.as_ref().map(PublicKey::algorithm),
            Some(KeyAlgorithm::Rsa { .. })
        );
        let told = match derives {
            true => [flag("CKA_DERIVE"), Some(false)],
            false => ["CKA_DECRYPT", "CKA_UNWRAP"].map(flag),
        };
        if against.is_empty() && (flag("CKA_SIGN").is_none() || told.contains(&None)) {
            return found.open(&rules::key::USAGE, "the module does not tell all usages");
        }
        found.by(
            &rules::key::USAGE,
            against,
            Verdict::Claimed,
            "CKA_SIGN only",
        );
    }

    fn limits(&self, found: &mut Judgements) {
        match (
            &self.claims.key_gen_mechanism,
            self.claims.flag("CKA_LOCAL"),
        ) {
            (Some(kind), Some(false)) if kind.contains("KEY_PAIR_GEN") => {
                let said = format!("{kind}, and yet CKA_LOCAL false");
                found.violated(&rules::key::GENERATED, said);
            }
            (Some(kind), _) if kind.contains("KEY_PAIR_GEN") => {
                found.holds(&rules::key::GENERATED, Verdict::Claimed, kind.clone());
            }
            // An imported key has none (CK_UNAVAILABLE_INFORMATION): `key.local` says so already.
            (_, Some(false)) => found.holds(
                &rules::key::GENERATED,
                Verdict::Claimed,
                "none, as of a key that was not made here",
            ),
            (Some(kind), _) => {
                found.violated(&rules::key::GENERATED, format!("{kind} makes no key pair"))
            }
            (None, _) => found.open(&rules::key::GENERATED, "the module does not tell it"),
        }
        match &self.claims.allowed_mechanisms {
            None => found.open(
                &rules::key::ALLOWED_MECHANISMS,
                "no limit is set: the usages decide",
            ),
            Some(allowed) => {
                let strange = allowed.iter().filter(|kind| !signs(kind));
                let strange: Vec<_> = strange
                    .map(|kind| format!("{kind} is no signature"))
                    .collect();
                let all = allowed.join(", ");
                found.by(
                    &rules::key::ALLOWED_MECHANISMS,
                    strange,
                    Verdict::Claimed,
                    all,
                );
            }
        }
        self.dates(found);
        match self.public_key.as_ref().map(PublicKey::algorithm) {
            Some(KeyAlgorithm::Rsa { bits: 2048 }) => {
                found.holds(&rules::key::TYPE, Verdict::Seen, "RSA, 2048 bits");
            }
            Some(other) => found.violated(&rules::key::TYPE, format!("{other}")),
            None => found.open(
                &rules::key::TYPE,
                "the token tells no public key of a kind that is supported",
            ),
        }
    }

    fn dates(&self, found: &mut Judgements) {
        let (Some(start), Some(end)) = (&self.claims.start_date, &self.claims.end_date) else {
            let untold = "the module does not tell CKA_START_DATE and CKA_END_DATE";
            return found.open(&rules::key::DATES, untold);
        };
        let today: String = rfc3339::now().chars().take(10).collect();
        let mut against = Vec::new();
        if *start > today {
            against.push(format!("it begins {start}"));
        }
        if !end.is_empty() && *end < today {
            against.push(format!("it ended {end}"));
        }
        let said = match (start.as_str(), end.as_str()) {
            ("", "") => "no dates are set".to_owned(),
            ("", end) => format!("until {end}"),
            (start, "") => format!("from {start}"),
            (start, end) => format!("from {start} to {end}"),
        };
        found.by(&rules::key::DATES, against, Verdict::Claimed, said);
    }

    fn neighbours(&self, found: &mut Judgements) {
        if self.public_key.is_none() {
            for rule in [
                &rules::key::TWIN,
                &rules::key::TWIN_HELD,
                &rules::key::PURPOSE,
            ] {
                found.open(
                    rule,
                    "the token tells no public key of a kind that is supported",
                );
            }
            return;
        }
        let twins = self.twins.iter().map(|twin| format!("{} too", twin.uri));
        let untold = self.keys.iter().filter(|key| key.public_key.is_none());
        let untold: Vec<_> = untold.map(|key| key.uri.clone()).collect();
        match (self.twins.is_empty(), untold.is_empty()) {
            (true, false) => {
                let said = format!("no public key is told of {}", untold.join(", "));
                found.open(&rules::key::TWIN, said.clone());
                found.open(&rules::key::TWIN_HELD, said);
            }
            _ => {
                let none = "no other has it";
                found.by(&rules::key::TWIN, twins.collect(), Verdict::Seen, none);
                self.twins_held(found);
            }
        }
        let others = self.other_certificates.clone();
        let none = "no other certificate of it lies in the token";
        found.by(&rules::key::PURPOSE, others, Verdict::Seen, none);
    }
}

impl Custody {
    fn twins_held(&self, found: &mut Judgements) {
        const RULE: &Rule = &rules::key::TWIN_HELD;
        if self.twins.is_empty() {
            return found.holds(RULE, Verdict::Seen, "there is none");
        }
        let (mut leave, mut open, mut held) = (Vec::new(), Vec::new(), Vec::new());
        for twin in &self.twins {
            let done = |trial: &&Probe| matches!(trial.outcome, ProbeOutcome::Allowed(_));
            let mut leaves: Vec<_> = twin
                .reads
                .iter()
                .chain(twin.wraps.iter().flatten())
                .filter(done)
                .map(|trial| trial.call.clone())
                .collect();
            let claims = ["CKA_SENSITIVE", "CKA_EXTRACTABLE"].map(|name| twin.claims.flag(name));
            match claims {
                [Some(false), _] => leaves.push("CKA_SENSITIVE false".to_owned()),
                [_, Some(true)] => leaves.push("CKA_EXTRACTABLE true".to_owned()),
                [Some(true), Some(false)] => {}
                _ => open.push(format!("{}: the module does not tell", twin.uri)),
            }
            match leaves.is_empty() {
                true => held.push(twin.uri.clone()),
                false => leave.push(format!("{}: {}", twin.uri, leaves.join(", "))),
            }
        }
        match (leave.is_empty(), open.is_empty()) {
            (false, _) => found.violated_by(RULE, leave),
            (true, false) => found.open(RULE, open.join("; ")),
            (true, true) => found.holds(RULE, Verdict::Claimed, held.join(", ")),
        }
    }
}

/// Whether a mechanism makes signatures of the kinds that TLS has.
fn signs(mechanism: &str) -> bool {
    let plain = ["CKM_RSA_PKCS", "CKM_RSA_PKCS_PSS", "CKM_EDDSA"];
    let hashes = mechanism.starts_with("CKM_SHA") || mechanism.starts_with("CKM_ECDSA");
    plain.contains(&mechanism)
        || (hashes && (mechanism.contains("RSA_PKCS") || mechanism.contains("ECDSA")))
}

#[cfg(test)]
#[path = "key_check_tests.rs"]
mod tests;
