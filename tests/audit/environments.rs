//! What two environments must not share is found by `audit` of both, and nothing else.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use crate::common::audit::{Audited, bank, mode, of};
use crate::common::bank::Bank;
use crate::common::trust_framework::Kind;
use rcgen::KeyPair;

/// Both with a key; the configuration of preprod comes first.
fn pair() -> (Bank, Bank) {
    let (preprod, production) = (of(Bank::of(Kind::Sandbox)), bank());
    preprod.run(&["key", "generate"]).expect(0);
    production.run(&["key", "generate"]).expect(0);
    (preprod, production)
}

fn audit(preprod: &Bank, production: &Bank) -> Audited {
    let files = [preprod, production].map(|bank| bank.config_path().display().to_string());
    let arguments = ["audit", "--json", &files[0], &files[1]];
    // What --config says counts for nothing then.
    let audited = Audited::of(preprod.run(&arguments));
    // One of them is production, so both are held to it.
    assert_eq!(audited.report["profile"], "production");
    audited
}

#[test]
fn what_two_environments_share_is_found() {
    let (mut preprod, mut production) = pair();
    audit(&preprod, &production).golden("environments_apart_before_certificates", &[]);
    for bank in [&preprod, &production] {
        let chain = bank.issue() + &bank.framework.issuing_pem();
        bank.write("c3.pem", &chain);
    }
    let shown = [
        "environments.keys",
        "environments.issuers",
        "environments.tokens",
        "environments.pins",
    ];
    audit(&preprod, &production).golden("environments_apart", &shown);

    // The same file, by another name.
    let pin = preprod.token.pin_file();
    let link = production.path("pin");
    symlink(&pin, &link).unwrap();
    production.configure(|settings| settings.pin = format!("{{ file = \"{}\" }}", link.display()));
    audit(&preprod, &production).golden("environments_one_pin_file", &[]);
    let own = production.token.pin_file();
    production.configure(|settings| settings.pin = format!("{{ file = \"{}\" }}", own.display()));

    // Preprod was given a certificate of the production's Trust Framework.
    let good = fs::read_to_string(preprod.path("c3.pem")).unwrap();
    let wrong = production.framework.issue_client(&preprod.csr());
    preprod.write("c3.pem", &(wrong + &production.framework.issuing_pem()));
    audit(&preprod, &production).golden("environments_one_issuer", &[]);
    preprod.write("c3.pem", &good);

    // A key that somebody made outside, in both tokens: of a label that neither configuration names.
    let file: PathBuf = preprod.path("exported.pem");
    fs::write(&file, KeyPair::generate().unwrap().serialize_pem()).unwrap();
    preprod.token.import(&file, "old", "01");
    production.token.import(&file, "older", "02");
    audit(&preprod, &production).golden("environments_one_key", &[]);

    // Nobody is asked twice: where a person types the PIN, the place is not the same place.
    for bank in [&mut preprod, &mut production] {
        bank.configure(|settings| settings.pin = "\"prompt\"".to_owned());
    }
    let audited = audit(&preprod, &production);
    audited.golden("environments_both_prompt", &[]);
    let said = audited.said("environments.pins");
    assert!(said.starts_with("not-answerable: "), "{said}");
}

#[test]
fn one_token_for_two_environments_is_found() {
    let (preprod, mut production) = pair();
    let text = fs::read_to_string(production.config_path()).unwrap();
    let own = production.token.conf().display().to_string();
    let text = text.replace(&own, &preprod.token.conf().display().to_string());
    production.configure(|_| {});
    let config = production.write("bank.toml", &text);
    mode(&config, 0o644);
    audit(&preprod, &production).golden("environments_one_token", &[]);
}

#[test]
fn all_configurations_of_an_audit_are_spared() {
    let (one, other) = (Bank::new(), Bank::new());
    let (first, second) = (one.config_path(), other.config_path());
    let run = one.run(&[
        "audit",
        first.to_str().unwrap(),
        second.to_str().unwrap(),
        "--force",
        "--html",
        other.path("anchors.pem").to_str().unwrap(),
    ]);
    assert!(
        run.code == 2 && run.stderr.contains("`anchors` of [trust]"),
        "{run:?}"
    );
}
