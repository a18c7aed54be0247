//! Key material is not shared between environments: `config check` of both names the key that is.

use std::process::Command;

use crate::common::bank::Bank;
use crate::common::trust_framework::Kind;

#[test]
fn a_key_in_both_environments_is_named() {
    let (preprod, production) = (Bank::of(Kind::Sandbox), Bank::of(Kind::Production));
    preprod.run(&["key", "generate"]).expect(0);
    production.run(&["key", "generate"]).expect(0);
    let both = production.config_path();
    let check = || {
        let files = [preprod.config_path(), both.clone()];
        let files: Vec<_> = files
            .iter()
            .map(|path| path.to_str().unwrap().to_owned())
            .collect();
        preprod.run(&["config", "check", &files[0], &files[1]])
    };
    let apart = check().expect(0);
    assert!(apart.stdout.contains("keys compared: 1 in"), "{apart:?}");

    // Somebody made a key outside and put it into both tokens.
    let pem = preprod.path("exported.pem");
    let made = Command::new("openssl")
        .args([
            "genpkey",
            "-algorithm",
            "EC",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-out",
        ])
        .arg(&pem)
        .status()
        .expect("openssl");
    assert!(made.success());
    preprod.token.import(&pem, "old", "01");
    production.token.import(&pem, "c3-old", "02");
    let shared = check().expect(2);
    for place in [
        "object=old;id=%01",
        "object=c3-old;id=%02",
        "preprod:",
        "production:",
    ] {
        assert!(shared.stdout.contains(place), "{place}: {}", shared.stdout);
    }
    assert!(
        shared.stdout.contains("is in two environments"),
        "{}",
        shared.stdout
    );
}

#[test]
fn a_sandbox_certificate_does_not_fit_production() {
    let (preprod, production) = (Bank::of(Kind::Sandbox), Bank::of(Kind::Production));
    production.run(&["key", "generate"]).expect(0);
    let leaf = preprod.framework.issue_client(&production.csr());
    let file = production.write("leaf.pem", &(leaf + &preprod.framework.issuing_pem()));
    let run = production
        .run(&["cert", "install", file.to_str().unwrap()])
        .expect(2);
    assert!(
        run.stderr
            .contains("which is not of the production anchors"),
        "{run:?}"
    );
    assert!(
        run.stderr.contains("Al Tareq Sandbox Trust Framework"),
        "{run:?}"
    );
    assert!(!production.path("c3.pem").exists(), "nothing was installed");
}
