//! `status`: CAs, revocation lists and the published key set, with what is to be done about each.

use std::fs;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use time::Duration;

use crate::common::bank::Bank;
use crate::common::published_keys::key_set;
use crate::common::trust_framework::{Kind, TrustFramework};
use crate::jwks_check::{ours, publish, with_keystore};
use crate::status::{WEEK, checked, item, next, status};

fn leaf(bank: &Bank, name: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(&fs::read(bank.path(name)).unwrap()).unwrap()
}

#[test]
fn a_ca_near_its_end_counts_and_an_old_one_that_nobody_needs_is_a_warning() {
    let bank = Bank::new();
    bank.certify("p-256");
    // The Issuing CA has ten years, the root twenty.
    let report = status(&bank, &["--warn", "3700d", "--crit", "3660d"], 2);
    let (state, text) = item(&report, "anchor");
    assert!(
        state == "critical" && text.contains("Issuing CA - G1"),
        "{text}"
    );
    assert_eq!(
        next(&report, "have the successor")["command"],
        "hsm-mtls trust update --anchors"
    );
    let other = TrustFramework::of_generation(Kind::Sandbox, 2);
    bank.write(
        "anchors.pem",
        &(other.bundle_pem() + &bank.framework.bundle_pem()),
    );
    let report = status(&bank, &["--warn", "3700d", "--crit", "3660d"], 2);
    let items = report["environments"][0]["items"].as_array().unwrap();
    let states: Vec<_> = items
        .iter()
        .filter(|item| item["about"] == "anchor")
        .map(|item| &item["state"])
        .collect();
    assert_eq!(states, ["warning", "critical", "ok", "ok"]);
}

#[test]
fn a_list_that_names_us_or_is_old_is_said() {
    let mut bank = Bank::new();
    bank.certify("p-256");
    let report = status(&bank, &[], 0);
    assert!(
        item(&report, "crl").1.contains("none is configured"),
        "{report:#}"
    );
    let url = "http://crl.example/issuer.crl";
    let crls =
        |stale: &str| format!("crls = [{{ file = \"list.crl\", url = \"{url}\" }}]\n{stale}");
    bank.configure(|settings| settings.trust_lines = crls(""));
    assert_eq!(item(&status(&bank, &[], 2), "crl").0, "critical");
    let numbered = |bank: &Bank, age, revoked: &[&CertificateDer<'_>], until| {
        let list = bank.framework.crl_numbered(1, age, revoked, until);
        fs::write(bank.path("list.crl"), list).unwrap();
    };
    numbered(&bank, Duration::DAY, &[], WEEK);
    let report = status(&bank, &[], 0);
    assert_eq!(report["environments"][0]["pairs"][0]["revoked"], false);
    assert!(
        item(&report, "crl").1.contains("1 days old, good until "),
        "{report:#}"
    );

    // Seven hours of two days, and of a month.
    numbered(&bank, Duration::days(2), &[], Duration::hours(7));
    let report = status(&bank, &[], 1);
    let (state, text) = item(&report, "crl");
    assert!(state == "warning" && text.contains("due soon"), "{text}");
    assert_eq!(
        next(&report, "have the next list")["command"],
        "hsm-mtls trust update --crls"
    );
    numbered(&bank, Duration::hours(20), &[], Duration::hours(7));
    status(&bank, &[], 0);

    numbered(&bank, WEEK, &[], -Duration::DAY);
    let report = status(&bank, &[], 2);
    assert!(
        item(&report, "crl")
            .1
            .starts_with(&format!("{}: OUTDATED", bank.path("list.crl").display()))
    );
    assert_eq!(item(&report, "c3.revoked").0, "unknown");
    bank.configure(|settings| settings.trust_lines = crls("crl_stale = \"warn\""));
    assert_eq!(item(&status(&bank, &[], 1), "crl").0, "warning");

    let ours = leaf(&bank, "c3.pem");
    numbered(&bank, Duration::DAY, &[&ours], WEEK);
    let report = status(&bank, &[], 2);
    let (state, text) = item(&report, "c3.revoked");
    assert!(state == "critical" && text.starts_with("YES: "), "{text}");
    assert_eq!(report["environments"][0]["pairs"][0]["revoked"], true);
    assert!(next(&report, "hub refuses it")["by"].is_null());
    // Nobody's list.
    let other = TrustFramework::new(Kind::Sandbox);
    fs::write(
        bank.path("list.crl"),
        other.crl_numbered(1, Duration::DAY, &[], WEEK),
    )
    .unwrap();
    assert!(
        item(&status(&bank, &[], 2), "crl")
            .1
            .contains("no CA of `anchors` has signed it")
    );
}

#[test]
fn the_key_set_is_as_it_was_seen_last_and_fetched_only_when_asked_for() {
    let (bank, keystore) = with_keystore();
    let roots = bank.path("anchors.pem");
    let online = |code| {
        let arguments = ["status", "--json", "--online"];
        let run = bank
            .run_with(&arguments, &[("SSL_CERT_FILE", &roots)])
            .expect(code);
        checked(&bank, &run)
    };
    let report = status(&bank, &[], 3);
    assert_eq!(
        item(&report, "jwks"),
        (
            "unknown",
            "never looked at: no check of it is remembered here"
        )
    );
    assert_eq!(next(&report, "key set")["command"], "hsm-mtls jwks check");
    // Nobody has published anything: the way is open, and the answer is 404.
    assert_eq!(item(&online(3), "jwks").0, "unknown");
    publish(&keystore, &key_set(&[]));
    assert_eq!(item(&online(2), "jwks").0, "critical");
    let report = status(&bank, &[], 2);
    assert!(
        item(&report, "jwks").1.contains("our kid was NOT in it"),
        "{report:#}"
    );
    publish(&keystore, &key_set(&[&ours(&bank)]));
    // For less than ten minutes, as far as anybody knows.
    assert_eq!(item(&online(2), "jwks").0, "critical");
    let report = status(&bank, &[], 0);
    let (state, text) = item(&report, "jwks");
    assert!(
        state == "ok" && text.contains("no signatures with it before"),
        "{text}"
    );
    assert_eq!(report["environments"][0]["jwks"]["by"], "remembered");
}
