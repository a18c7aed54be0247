//! A bank that is audited: in order in every way that SoftHSM allows, so that each test makes it wrong in
//! one. What `audit` finds then is held against a golden file: the whole set, not only what is looked for.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use hsm_mtls_cli::audit::rules;
use serde_json::Value;

use super::bank::{Bank, Run};
use super::trust_framework::Kind;

/// The sections of a bank that records each use, and tells somebody where the record ends.
pub const SECTIONS: &str = "[ledger]\nfile = \"ledger.jsonl\"\nfsync = \"interval\"\n\
                            head = { command = [\"/bin/true\"] }\n";

/// A bank in production with an empty token.
pub fn bank() -> Bank {
    of(Bank::of(Kind::Production))
}

/// The same with a key and a certificate of 13 months.
pub fn certified() -> Bank {
    let bank = bank();
    bank.certify("rsa-2048");
    bank
}

/// Any bank, with a ledger, and with modes that do not depend on this machine's umask.
pub fn of(mut bank: Bank) -> Bank {
    bank.configure(|settings| settings.sections = SECTIONS.to_owned());
    for name in ["bank.toml", "anchors.pem"] {
        mode(&bank.path(name), 0o644);
    }
    bank
}

/// Sets the mode of a file or folder.
pub fn mode(path: &Path, mode: u32) {
    let mode = fs::Permissions::from_mode(mode);
    fs::set_permissions(path, mode).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// What `audit` said.
pub struct Audited {
    pub code: i32,
    pub report: Value,
}

/// Audits the bank as one in production.
pub fn audit(bank: &Bank, further: &[&str]) -> Audited {
    audit_as(bank, "production", further)
}

/// Audits the bank as one that is held to another profile.
pub fn audit_as(bank: &Bank, profile: &str, further: &[&str]) -> Audited {
    let arguments = ["audit", "--json", "--profile", profile];
    Audited::of(bank.run(&[&arguments, further].concat()))
}

impl Audited {
    /// Each rule has to be judged once, whatever was wrong: what is left out would read as good.
    pub fn of(run: Run) -> Self {
        let report = run.json();
        let subjects = report["subjects"].as_array().expect("subjects");
        for subject in subjects {
            let judged = subject["judgements"].as_array().expect("judgements");
            let judged: Vec<_> = judged.iter().map(name).collect();
            let mut wanted: Vec<_> = rules::all().map(|rule| rule.id).collect();
            wanted.retain(|id| !id.starts_with("environments."));
            // Whether both are one key is judged with the second.
            wanted.retain(|id| *id != "key.apart" || subject["role"] == "Sig4");
            assert_eq!(judged, wanted, "each rule once, in the order of the rules");
        }
        let judged = report["environments"].as_array().expect("judgements");
        let wanted: Vec<_> = rules::all()
            .filter(|rule| rule.category() == "environments")
            .map(|rule| rule.id)
            .collect();
        assert_eq!(judged.iter().map(name).collect::<Vec<_>>(), wanted);
        let said = report["findings"].as_u64().expect("a number");
        let audited = Self {
            code: run.code,
            report,
        };
        assert_eq!(audited.findings().len() as u64, said);
        audited
    }

    fn judgements(&self) -> impl Iterator<Item = &Value> {
        let subjects = self.report["subjects"].as_array().expect("subjects");
        let of_subjects = subjects
            .iter()
            .filter_map(|subject| subject["judgements"].as_array());
        let several = self.report["environments"].as_array();
        of_subjects.chain(several).flatten()
    }

    /// The judgement of a rule; of the first subject, where there are several.
    pub fn judged(&self, rule: &str) -> &Value {
        let mut all = self.judgements();
        all.find(|judged| name(judged) == rule)
            .unwrap_or_else(|| panic!("{rule} is not judged"))
    }

    /// The verdict on a rule, and what it rests on.
    pub fn said(&self, rule: &str) -> String {
        let judged = self.judged(rule);
        let evidence = judged["evidence"].as_array().expect("evidence");
        let evidence: Vec<_> = evidence.iter().filter_map(Value::as_str).collect();
        format!(
            "{}: {}",
            judged["verdict"].as_str().expect("a verdict"),
            evidence.join("; ")
        )
    }

    /// Rule and severity of each finding, sorted; those of several subjects with how many have it.
    fn findings(&self) -> Vec<String> {
        let grave = |judged: &Value| {
            let severity = judged["severity"].as_str()?;
            (severity != "note").then(|| format!("{} {severity}", name(judged)))
        };
        let mut all: Vec<_> = self.judgements().filter_map(grave).collect();
        all.sort();
        all
    }

    /// Holds the findings against the golden file of this name. `shown` are rules whose evidence is a
    /// part of it.
    pub fn golden(&self, golden: &str, shown: &[&str]) {
        let mut text = format!("exit {}\n", self.code);
        for subject in self.report["subjects"].as_array().expect("subjects") {
            let can_leave = subject["answer"]["can_leave"].as_str().expect("an answer");
            text.push_str(&format!("can leave: {can_leave}\n"));
            if let Some(exit) = subject["stopped"]["exit"].as_u64() {
                text.push_str(&format!("stopped with {exit}\n"));
            }
        }
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for finding in self.findings() {
            *counts.entry(finding).or_default() += 1;
        }
        for (finding, count) in counts {
            let times = if count > 1 { " (twice)" } else { "" };
            text.push_str(&format!("{finding}{times}\n"));
        }
        for rule in shown {
            // Two keys of one size differ by some bytes when they are encoded.
            let said: Vec<_> = self
                .said(rule)
                .split("length of ")
                .map(unmeasured)
                .collect();
            text.push_str(&format!("\n{rule}\n  {}\n", said.join("length of ")));
        }
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path("../audit/snapshots");
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.bind(|| insta::assert_snapshot!(golden, text));
    }
}

fn name(judged: &Value) -> &str {
    judged["rule"].as_str().expect("a rule")
}

/// `1232 bytes ...` without the number.
fn unmeasured(text: &str) -> String {
    match text.split_once(' ') {
        Some((number, rest)) if number.bytes().all(|byte| byte.is_ascii_digit()) => {
            format!("N {rest}")
        }
        _ => text.to_owned(),
    }
}
